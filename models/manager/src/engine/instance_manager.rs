//! The client of an instance manager's instance service: creates, deletes and looks at instances (`engineapi/instance_manager.go`,
//! longhorn-instance-manager `pkg/client/instance.go`).
//!
//! Each use opens a connection of its own, after TLS (which there is not) has failed at its missing files, and makes sure of it with a health
//! check and a question for the version.

use std::time::Duration;

use longhorn_api::kinds::engine::Engine;
use longhorn_api::kinds::instance::{InstanceState, InstanceType};
use longhorn_api::kinds::instance_manager::{InstanceManagerState, InstanceProcess};
use longhorn_api::kinds::volume::{DataEngine, DataLocality, VolumeFrontend};
use longhorn_api::{InstanceManager, Replica};
use longhorn_rpc::imrpc::instance_service_client::InstanceServiceClient;
use longhorn_rpc::{Channel, imrpc};

use super::arguments;
use super::connection::{call, failure, open};
use super::news::News;
use crate::runtime::backups::name;
use crate::runtime::{Context, Error, Result};

/// Port of the instance service.
const PORT: u16 = 8503;
/// How long a call may take (instance manager `types.GRPCServiceTimeout`).
const TIMEOUT: Duration = Duration::from_secs(180);
/// What each port of a process is appended to in its arguments.
const PORT_ARGUMENT: &str = "--listen,0.0.0.0:";
const ENGINE_PORTS: i32 = 1;
const REPLICA_PORTS_V1: i32 = 10;
const REPLICA_PORTS_V2: i32 = 5;

/// A connection to one instance manager.
pub struct InstanceManagerClient {
    service: InstanceServiceClient<Channel>,
    channel: Channel,
}

/// What the creation of an engine is told beside the engine itself.
pub struct EngineSettings {
    /// Seconds after which an engine gives a silent replica up.
    pub replica_timeout_seconds: i64,
    /// Seconds after which a file transfer between replicas is given up.
    pub file_sync_timeout_seconds: i64,
    /// Whether the data stay on one node.
    pub data_locality: DataLocality,
    /// Version of the binary's command line.
    pub cli_api_version: i64,
    /// Address of the instance manager, to both ends of a v2 engine.
    pub address: String,
}

/// What the creation of a replica is told beside the replica itself.
pub struct ReplicaSettings {
    /// Name of its disk, for v2.
    pub disk_name: String,
    /// Its backing image's file, or nothing.
    pub backing_file: String,
    /// Whether the data stay on one node.
    pub data_locality: DataLocality,
    /// Version of the binary's command line.
    pub cli_api_version: i64,
}

impl InstanceManagerClient {
    /// Connects to a running manager; to one of unknown state if the caller may try.
    pub async fn connect(manager: &InstanceManager, even_if_unknown: bool) -> Result<Self> {
        let (manager_name, status) = (name(&manager.metadata), &manager.status);
        let state = &status.current_state;
        let usable =
            *state == InstanceManagerState::Running || (even_if_unknown && *state == InstanceManagerState::Unknown);
        if status.ip.is_empty() || !usable {
            let ip = &status.ip;
            return Err(Error::message(format!("invalid instance manager {manager_name}, state {state}, IP {ip}")));
        }
        let failed =
            || format!("failed to check Instance Manager Instance Service Client connection for {manager_name}");
        let connection = open(&status.ip, PORT, TIMEOUT).await.context(failed)?;
        let mut client = Self { service: InstanceServiceClient::new(connection.clone()), channel: connection };
        call(client.service.version_get(())).await.context(failed)?;
        Ok(client)
    }

    /// Which interfaces it speaks.
    pub async fn versions(&mut self) -> Result<longhorn_rpc::process_manager::VersionResponse> {
        call(self.service.version_get(())).await.context(|| "failed to get version")
    }

    /// How much the instance manager (V1), or the second data engine in it, logs.
    pub async fn set_log_level(&mut self, engine: &DataEngine, level: &str) -> Result<()> {
        let request = imrpc::LogSetLevelRequest { data_engine: engine_number(engine), level: level.to_owned() };
        call(self.service.log_set_level(request)).await.context(|| "failed to set log level")
    }

    /// What of the second data engine is logged.
    pub async fn set_log_flags(&mut self, engine: &DataEngine, flags: &str) -> Result<()> {
        let request = imrpc::LogSetFlagsRequest { data_engine: engine_number(engine), flags: flags.to_owned() };
        call(self.service.log_set_flags(request)).await.context(|| "failed to set log flags")
    }

    /// The stream that says when instances change, as long as the manager lives.
    pub async fn watch(&mut self) -> Result<News> {
        let mut service = InstanceServiceClient::new(self.channel.clone().without_timeout());
        let opened = call(service.instance_watch(())).await;
        Ok(News(opened.context(|| "failed to open instance update stream")?))
    }

    /// Starts an engine.
    pub async fn create_engine(&mut self, engine: &Engine, settings: &EngineSettings) -> Result<()> {
        let spec = &engine.spec;
        let frontend = frontend_name(
            &spec.data_engine,
            if spec.disable_frontend { &VolumeFrontend::None } else { &spec.frontend },
        )?;
        let mut instance =
            self.instance(name(&engine.metadata), InstanceType::Engine, &spec.volume_name, &spec.data_engine);
        instance.port_count = ENGINE_PORTS;
        instance.initiator_address.clone_from(&settings.address);
        instance.target_address.clone_from(&settings.address);
        if spec.data_engine == DataEngine::V2 {
            instance.spdk_instance_spec = Some(imrpc::SpdkInstanceSpec {
                size: spec.volume_size.0.unsigned_abs(),
                replica_address_map: (*engine.status.current_replica_address_map).clone(),
                frontend: frontend.to_owned(),
                salvage_requested: spec.salvage_requested,
                ..imrpc::SpdkInstanceSpec::default()
            });
        } else {
            instance.process_instance_spec = Some(arguments::engine_process(engine, frontend, settings));
        }
        self.create(instance).await
    }

    /// Starts a replica.
    pub async fn create_replica(&mut self, replica: &Replica, settings: &ReplicaSettings) -> Result<()> {
        let spec = &replica.spec;
        let mut instance =
            self.instance(name(&replica.metadata), InstanceType::Replica, &spec.volume_name, &spec.data_engine);
        if spec.data_engine == DataEngine::V2 {
            instance.port_count = REPLICA_PORTS_V2;
            instance.spdk_instance_spec = Some(imrpc::SpdkInstanceSpec {
                size: spec.volume_size.0.unsigned_abs(),
                disk_name: settings.disk_name.clone(),
                disk_uuid: spec.disk_id.clone(),
                backing_image_name: spec.backing_image.clone(),
                ..imrpc::SpdkInstanceSpec::default()
            });
        } else {
            instance.port_count = REPLICA_PORTS_V1;
            instance.process_instance_spec = Some(arguments::replica_process(replica, settings, REPLICA_PORTS_V1));
        }
        self.create(instance).await
    }

    fn instance(
        &self,
        instance_name: &str,
        instance_type: InstanceType,
        volume: &str,
        engine: &DataEngine,
    ) -> imrpc::InstanceSpec {
        imrpc::InstanceSpec {
            backend_store_driver: engine_number(engine),
            data_engine: engine_number(engine),
            name: instance_name.to_owned(),
            r#type: instance_type.as_str().to_owned(),
            volume_name: volume.to_owned(),
            port_args: vec![PORT_ARGUMENT.to_owned()],
            ..imrpc::InstanceSpec::default()
        }
    }

    async fn create(&mut self, instance: imrpc::InstanceSpec) -> Result<()> {
        let request = imrpc::InstanceCreateRequest { spec: Some(instance) };
        call(self.service.instance_create(request)).await.context(|| "failed to create instance").map(drop)
    }

    /// Has an instance stopped and forgotten; for a replica of v2, with its data if `cleanup` says so. `uuid` says which start of it, if
    /// it is not empty.
    pub async fn delete(
        &mut self,
        engine: &DataEngine,
        instance_name: &str,
        uuid: &str,
        instance_type: InstanceType,
        disk_uuid: &str,
        cleanup: bool,
    ) -> Result<()> {
        let request = imrpc::InstanceDeleteRequest {
            backend_store_driver: engine_number(engine),
            data_engine: engine_number(engine),
            name: instance_name.to_owned(),
            uuid: uuid.to_owned(),
            r#type: instance_type.as_str().to_owned(),
            disk_uuid: disk_uuid.to_owned(),
            cleanup_required: cleanup,
        };
        let deleted = call(self.service.instance_delete(request)).await;
        deleted.context(|| format!("failed to delete instance {instance_name}")).map(drop)
    }

    /// An instance; an error that says "cannot find" if there is none of this name.
    pub async fn get(
        &mut self,
        engine: &DataEngine,
        instance_name: &str,
        instance_type: InstanceType,
    ) -> Result<InstanceProcess> {
        let request = imrpc::InstanceGetRequest {
            backend_store_driver: engine_number(engine),
            data_engine: engine_number(engine),
            name: instance_name.to_owned(),
            r#type: instance_type.as_str().to_owned(),
        };
        let found = call(self.service.instance_get(request)).await;
        Ok(process_of(found.context(|| format!("failed to get instance {instance_name}"))?))
    }

    /// All instances, by name.
    pub async fn list(&mut self) -> Result<std::collections::BTreeMap<String, InstanceProcess>> {
        let listed = call(self.service.instance_list(())).await.context(|| "failed to list instances")?;
        Ok(listed.instances.into_iter().map(|(name, instance)| (name, process_of(instance))).collect())
    }

    /// Puts the log of an instance into this manager's.
    pub async fn print_log(
        &mut self,
        engine: &DataEngine,
        instance_name: &str,
        instance_type: InstanceType,
    ) -> Result<()> {
        let request = imrpc::InstanceLogRequest {
            backend_store_driver: engine_number(engine),
            data_engine: engine_number(engine),
            name: instance_name.to_owned(),
            r#type: instance_type.as_str().to_owned(),
        };
        let opened = call(self.service.instance_log(request)).await;
        let mut lines = opened.context(|| format!("failed to get log of instance {instance_name}"))?;
        while let Some(line) = lines.message().await.map_err(|status| failure(&status))? {
            tracing::warn!("{instance_name}: {}", line.line);
        }
        Ok(())
    }
}

/// An instance as the InstanceManager resource lists it. One that does not say what it is, is what its name says.
pub fn process_of(instance: imrpc::InstanceResponse) -> InstanceProcess {
    let (spec, status) = (instance.spec.unwrap_or_default(), instance.status.unwrap_or_default());
    let mut process = InstanceProcess::default();
    process.spec.data_engine =
        if spec.data_engine == engine_number(&DataEngine::V2) { DataEngine::V2 } else { DataEngine::V1 };
    process.status.instance_type = match InstanceType::from(spec.r#type.as_str()) {
        InstanceType::None if is_engine_name(&spec.name) => InstanceType::Engine,
        InstanceType::None => InstanceType::Replica,
        said => said,
    };
    process.spec.name = spec.name;
    process.status.state = InstanceState::from(status.state.as_str());
    process.status.error_message = status.error_msg;
    if !status.conditions.is_empty() {
        process.status.conditions = status.conditions.into_iter().collect();
    }
    process.status.port_start = status.port_start;
    process.status.port_end = status.port_end;
    process.status.target_port_start = status.target_port_start;
    process.status.target_port_end = status.target_port_end;
    process.status.ublk_id = status.ublk_id;
    process.status.uuid = status.uuid;
    process
}

/// Whether a name ends like an engine's: `-e-` and a number.
fn is_engine_name(instance_name: &str) -> bool {
    let suffix = instance_name.rsplit_once("-e-").map(|(_, suffix)| suffix);
    suffix.is_some_and(|suffix| !suffix.is_empty() && suffix.chars().all(|digit| digit.is_ascii_hexdigit()))
}

/// A data engine's number on the wire.
pub(super) fn engine_number(engine: &DataEngine) -> i32 {
    match engine {
        DataEngine::V2 => imrpc::DataEngine::V2.into(),
        _ => imrpc::DataEngine::V1.into(),
    }
}

/// What engines call a frontend (`GetEngineInstanceFrontend`).
pub fn frontend_name(engine: &DataEngine, frontend: &VolumeFrontend) -> Result<&'static str> {
    Ok(match (frontend, engine) {
        (VolumeFrontend::BlockDevice, DataEngine::V2) => "spdk-tcp-blockdev",
        (VolumeFrontend::BlockDevice, _) => "tgt-blockdev",
        (VolumeFrontend::Iscsi, _) => "tgt-iscsi",
        (VolumeFrontend::Nvmf, _) => "spdk-tcp-nvmf",
        (VolumeFrontend::Ublk, _) => "ublk",
        (VolumeFrontend::None, _) => "",
        (other, _) => return Err(Error::message(format!("unknown volume frontend {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_engines_from_replicas() {
        assert!(is_engine_name("pvc-1-e-0"));
        assert!(!is_engine_name("pvc-1-r-0a1b2c3d") && !is_engine_name("pvc-e-x"));
    }

    #[test]
    fn a_listed_instance_has_no_conditions_rather_than_none() {
        let process = process_of(imrpc::InstanceResponse::default());
        assert!(process.status.conditions.is_nil());
        assert_eq!(process.status.instance_type, InstanceType::Replica);
    }
}
