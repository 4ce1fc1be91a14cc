//! `longhorn controller` and `longhorn replica`: the processes that instance managers run (app/cmd/controller.go,
//! replica.go).

use std::time::Duration;

use longhorn_api::Defect;
use longhorn_backupstore::url::is_valid_name;
use longhorn_replica::format::{BackingFile, Directory, MAXIMUM_SNAPSHOTS, Options};
use longhorn_rpc::Identity;

use crate::Invocation;
use crate::controller::{self, Settings};
use crate::flags::{Flag, Parsed};
use crate::outcome::{Failure, Outcome};

const CONTROLLER_FLAGS: [Flag; 16] = [
    Flag::with_value("listen"),
    Flag::with_value("size"),
    Flag::with_value("current-size"),
    Flag::with_value("frontend"),
    Flag::with_value("enable-backend"),
    Flag::with_value("replica"),
    Flag::switch("upgrade"),
    Flag::switch("disableRevCounter"),
    Flag::switch("salvageRequested"),
    Flag::with_value("engine-replica-timeout"),
    Flag::with_value("data-server-protocol"),
    Flag::switch("unmap-mark-snap-chain-removed"),
    Flag::with_value("file-sync-http-client-timeout"),
    Flag::with_value("snapshot-max-count"),
    Flag::with_value("snapshot-max-size"),
    Flag::HELP,
];

const REPLICA_FLAGS: [Flag; 12] = [
    Flag::with_value("listen"),
    Flag::with_value("backing-file"),
    Flag::switch("sync-agent"),
    Flag::with_value("size"),
    Flag::with_value("sync-agent-port-count"),
    Flag::switch("disableRevCounter"),
    Flag::with_value("data-server-protocol"),
    Flag::switch("unmap-mark-disk-chain-removed"),
    Flag::with_value("replica-instance-name"),
    Flag::with_value("snapshot-max-count"),
    Flag::with_value("snapshot-max-size"),
    Flag::HELP,
];

const DEFAULT_REPLICA_TIMEOUT_SECONDS: i64 = 8;
const REPLICA_TIMEOUT_SECONDS: std::ops::RangeInclusive<i64> = 8..=30;

fn seconds(number: i64) -> Duration {
    Duration::from_secs(number.unsigned_abs())
}

/// A time-out that is not allowed is replaced by the default.
fn replica_timeout(asked: i64) -> Duration {
    seconds(if REPLICA_TIMEOUT_SECONDS.contains(&asked) { asked } else { DEFAULT_REPLICA_TIMEOUT_SECONDS })
}

/// The limits of snapshots: how many, and how large together.
fn snapshot_limits(parsed: &Parsed) -> Result<(i64, i64), String> {
    let count = parsed.number("snapshot-max-count", MAXIMUM_SNAPSHOTS as i64)?;
    Ok((count, parsed.size("snapshot-max-size")?.unwrap_or_default()))
}

impl Invocation {
    pub(crate) async fn controller(&self, arguments: &[String]) -> Outcome {
        let parsed = Parsed::anywhere(&CONTROLLER_FLAGS, arguments).map_err(Failure::usage)?;
        if parsed.has("help") {
            return Ok("NAME:\n   longhorn controller\n".to_owned());
        }
        let process = self.engine_process(&parsed);
        let process = process.map_err(|error| Failure::panic(error).fatal("Error running controller command"))?;
        match process.run().await {
            // Asked to stop, and stopped in order.
            Ok(0) => Ok(String::new()),
            Ok(status) => Err(Failure::panic("failed to shut down").with_status(status)),
            Err(error) => {
                let status = controller::exit_status(&error);
                Err(Failure::panic(error).with_status(status))
            }
        }
    }

    fn engine_process(&self, parsed: &Parsed) -> Result<controller::Process, String> {
        let volume = parsed.arguments.first().ok_or("volume name is required")?;
        if !is_valid_name(volume) {
            return Err("invalid target name".to_owned());
        }
        let frontend = parsed.value("frontend");
        if !frontend.is_empty() && crate::frontend::Frontend::named(frontend, volume).is_none() {
            return Err(format!("failed to find frontend: {frontend}: unsupported frontend type: {frontend}"));
        }
        let (snapshot_max_count, snapshot_max_size_bytes) = snapshot_limits(parsed)?;
        let size = parsed.size("size")?.ok_or("size is required")?;
        let current_size = parsed.size("current-size")?.ok_or("current-size is required")?;
        let timeout = parsed.number("engine-replica-timeout", DEFAULT_REPLICA_TIMEOUT_SECONDS)?;
        Ok(controller::Process {
            settings: Settings {
                volume: volume.clone(),
                build: self.engine.build.clone(),
                frontend: frontend.to_owned(),
                is_upgrade: parsed.has("upgrade"),
                revision_counter_disabled: parsed.has("disableRevCounter"),
                salvage_requested: parsed.has("salvageRequested"),
                unmap_mark_chain_removed: parsed.has("unmap-mark-snap-chain-removed"),
                replica_timeout: replica_timeout(timeout),
                file_sync_timeout: seconds(parsed.number("file-sync-http-client-timeout", 5)?),
                snapshot_max_count,
                snapshot_max_size_bytes,
            },
            instance: self.instance.clone(),
            listen: parsed.value_or("listen", "localhost:9501").to_owned(),
            size,
            current_size,
            replicas: parsed.values("replica"),
        })
    }

    pub(crate) async fn replica(&self, arguments: &[String]) -> Outcome {
        let parsed = Parsed::anywhere(&REPLICA_FLAGS, arguments).map_err(Failure::usage)?;
        if parsed.has("help") {
            return Ok("NAME:\n   longhorn replica\n".to_owned());
        }
        let run = async {
            let process = self.replica_process(&parsed).await?;
            // A replica that is asked to stop just stops: whoever uses it closes it before.
            tokio::select! {
                biased;
                () = host::process::terminated() => Ok(()),
                ended = process.run() => ended,
            }
        };
        let ended = run.await;
        ended
            .map(|()| String::new())
            .map_err(|error| Failure::panic(error).fatal("Error running start replica command"))
    }

    async fn replica_process(&self, parsed: &Parsed) -> Result<longhorn_replica::Process, String> {
        let [directory] = parsed.arguments.as_slice() else { return Err("directory name is required".to_owned()) };
        let backing = match parsed.value("backing-file") {
            "" => None,
            path => Some(BackingFile::find(path).await.map_err(|error| error.to_string())?),
        };
        let size = parsed.size("size")?;
        if let (Some(size), Some(backing)) = (size, &backing)
            && size.unsigned_abs() < backing.size
        {
            return Err(format!("replica size {size} < backing image virtual size {}", backing.size));
        }
        let directory = Directory::new(directory).synced(!self.engine.build.has(Defect::FoundUnsyncedReplica));
        let (snapshot_max_count, snapshot_max_size_bytes) = snapshot_limits(parsed)?;
        let ports = parsed.number("sync-agent-port-count", 10)?;
        Ok(longhorn_replica::Process {
            directory,
            listen: parsed.value_or("listen", "localhost:9502").to_owned(),
            size,
            options: Options {
                backing,
                revision_counter_disabled: parsed.has("disableRevCounter"),
                unmap_mark_disk_chain_removed: parsed.has("unmap-mark-disk-chain-removed"),
                snapshot_max_count,
                snapshot_max_size_bytes,
            },
            identity: Identity::new(self.volume.clone(), parsed.value("replica-instance-name")),
            sync_ports: u16::try_from(ports).map_err(|_| format!("invalid sync-agent-port-count {ports}"))?,
            backups: self.context.clone(),
        })
    }
}
