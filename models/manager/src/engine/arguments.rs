//! The command lines of engines and replicas (`engineapi/instance_manager.go`), by the version of the binary's interface.

use longhorn_api::kinds::engine::Engine;
use longhorn_api::kinds::volume::DataLocality;
use longhorn_api::{Replica, names};
use longhorn_rpc::imrpc::ProcessInstanceSpec;

use super::instance_manager::{EngineSettings, ReplicaSettings};
use crate::runtime::backups::name;

/// Where the host's file system is in an instance manager's container.
const HOST: &str = "/host";
/// Ports of a replica that are not its sync agent's: control, data, sync agent itself.
const OWN_REPLICA_PORTS: i32 = 3;

/// Folder of a replica on its disk.
pub fn replica_folder(disk_path: &str, folder: &str) -> String {
    format!("{}/replicas/{folder}", disk_path.trim_end_matches('/'))
}

/// File of a backing image on a disk, as a replica sees it.
pub fn backing_file(disk_path: &str, image: &str, uuid: &str) -> String {
    format!("{HOST}{}/backing-images/{image}-{uuid}/backing", disk_path.trim_end_matches('/'))
}

/// The controller of a volume.
pub(super) fn engine_process(engine: &Engine, frontend: &str, settings: &EngineSettings) -> ProcessInstanceSpec {
    let (spec, version) = (&engine.spec, settings.cli_api_version);
    let mut line = Line::default();
    if version >= 9 {
        line.option("--engine-instance-name", name(&engine.metadata));
    }
    line.word("controller").word(&spec.volume_name).option("--frontend", frontend);
    line.flag("--disableRevCounter", spec.revision_counter_disabled);
    line.flag("--salvageRequested", spec.salvage_requested);
    if version >= 6 {
        line.option("--size", spec.volume_size).option("--current-size", engine.status.current_size);
    }
    if version >= 7 {
        line.option("--engine-replica-timeout", settings.replica_timeout_seconds);
        line.option("--file-sync-http-client-timeout", settings.file_sync_timeout_seconds);
        line.local(&settings.data_locality);
        line.flag("--unmap-mark-snap-chain-removed", spec.unmap_mark_snap_chain_removed_enabled);
    }
    if version >= 10 {
        line.option("--snapshot-max-count", spec.snapshot_max_count);
        line.option("--snapshot-max-size", spec.snapshot_max_size);
    }
    for address in engine.status.current_replica_address_map.values() {
        line.option("--replica", format!("tcp://{address}"));
    }
    ProcessInstanceSpec {
        binary: format!("/engine-binaries/{}/longhorn", names::image_folder(&spec.image)),
        args: line.0,
    }
}

/// A replica of a volume.
pub(super) fn replica_process(replica: &Replica, settings: &ReplicaSettings, ports: i32) -> ProcessInstanceSpec {
    let (spec, version) = (&replica.spec, settings.cli_api_version);
    let mut line = Line::default();
    if version >= 9 {
        line.option("--volume-name", &spec.volume_name);
    }
    line.word("replica").word(format!("{HOST}{}", replica_folder(&spec.disk_path, &spec.data_directory_name)));
    line.option("--size", spec.volume_size);
    if !settings.backing_file.is_empty() {
        line.option("--backing-file", &settings.backing_file);
    }
    line.flag("--disableRevCounter", spec.revision_counter_disabled);
    if version >= 7 {
        if version < 9 {
            line.option("--volume-name", &spec.volume_name);
        }
        line.local(&settings.data_locality);
        line.flag("--unmap-mark-disk-chain-removed", spec.unmap_mark_disk_chain_removed_enabled);
    }
    if version >= 9 {
        line.option("--replica-instance-name", name(&replica.metadata));
    }
    if version >= 10 {
        line.option("--snapshot-max-count", spec.snapshot_max_count);
        line.option("--snapshot-max-size", spec.snapshot_max_size);
    }
    line.option("--sync-agent-port-count", ports - OWN_REPLICA_PORTS);
    let folder = names::image_folder(&spec.image);
    ProcessInstanceSpec { binary: format!("{HOST}/var/lib/longhorn/engine-binaries/{folder}/longhorn"), args: line.0 }
}

#[derive(Default)]
struct Line(Vec<String>);

impl Line {
    fn word(&mut self, word: impl Into<String>) -> &mut Self {
        self.0.push(word.into());
        self
    }

    fn option(&mut self, name: &str, value: impl ToString) -> &mut Self {
        self.word(name).word(value.to_string())
    }

    fn flag(&mut self, name: &str, set: bool) {
        if set {
            self.word(name);
        }
    }

    /// Engine and replica on one node speak through a file.
    fn local(&mut self, locality: &DataLocality) {
        if *locality == DataLocality::StrictLocal {
            self.option("--data-server-protocol", "unix");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ReplicaSettings {
        ReplicaSettings {
            disk_name: String::new(),
            backing_file: String::new(),
            data_locality: DataLocality::Disabled,
            cli_api_version: 10,
        }
    }

    #[test]
    fn a_replica_is_started_as_by_the_real_manager() {
        let mut replica = Replica::default();
        replica.metadata.name = Some("v1-r-0a1b2c3d".to_owned());
        replica.spec.volume_name = "v1".to_owned();
        replica.spec.volume_size = (64 << 20).into();
        replica.spec.disk_path = "/var/lib/longhorn/".to_owned();
        replica.spec.data_directory_name = "v1-deadbeef".to_owned();
        replica.spec.image = "longhornio/longhorn-engine:v1.9.2".to_owned();
        replica.spec.revision_counter_disabled = true;
        replica.spec.snapshot_max_count = 250;
        let process = replica_process(&replica, &settings(), 10);
        assert_eq!(process.binary, "/host/var/lib/longhorn/engine-binaries/longhornio-longhorn-engine-v1.9.2/longhorn");
        assert_eq!(
            process.args.join(" "),
            "--volume-name v1 replica /host/var/lib/longhorn/replicas/v1-deadbeef --size 67108864 --disableRevCounter \
             --replica-instance-name v1-r-0a1b2c3d --snapshot-max-count 250 --snapshot-max-size 0 --sync-agent-port-count 7"
        );
    }

    #[test]
    fn an_engine_is_told_its_replicas() {
        let mut engine = Engine::default();
        engine.metadata.name = Some("v1-e-0".to_owned());
        engine.spec.volume_name = "v1".to_owned();
        engine.spec.volume_size = (64 << 20).into();
        engine.spec.image = "longhornio/longhorn-engine:v1.9.2".to_owned();
        engine.spec.snapshot_max_count = 250;
        engine.status.current_replica_address_map.insert("v1-r-a", "10.42.0.8:10000".to_owned());
        let settings = EngineSettings {
            replica_timeout_seconds: 8,
            file_sync_timeout_seconds: 30,
            data_locality: DataLocality::Disabled,
            cli_api_version: 10,
            address: String::new(),
        };
        let process = engine_process(&engine, "tgt-blockdev", &settings);
        assert_eq!(process.binary, "/engine-binaries/longhornio-longhorn-engine-v1.9.2/longhorn");
        assert_eq!(
            process.args.join(" "),
            "--engine-instance-name v1-e-0 controller v1 --frontend tgt-blockdev --size 67108864 --current-size 0 \
             --engine-replica-timeout 8 --file-sync-http-client-timeout 30 --snapshot-max-count 250 --snapshot-max-size 0 \
             --replica tcp://10.42.0.8:10000"
        );
    }
}
