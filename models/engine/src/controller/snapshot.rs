//! Snapshots, and going back to one (control.go, revert.go).

use std::collections::BTreeMap;
use std::sync::Arc;

use longhorn_replica::ReplicaClient;
use longhorn_replica::format::{MAXIMUM_SNAPSHOTS, names, now};
use longhorn_rpc::{Identity, ptypes, rpc_text};

use super::backend::Backend;
use super::error::ReplicaFailure;
use super::{Controller, ControllerError, Mode, State};

impl Controller {
    /// Takes a snapshot; its name.
    ///
    /// # Errors
    /// There are too many, they are too large, one of that name is there, or no good replica is left.
    pub async fn snapshot(&self, name: &str, labels: BTreeMap<String, String>) -> Result<String, ControllerError> {
        let name = if name.is_empty() { crate::uuid() } else { name.to_owned() };
        // Looked at before the system is synced, and again when nothing can change any more.
        self.check_snapshot_limits(&*self.0.state.read().await).await?;
        let mut state = self.0.state.write().await;
        self.check_snapshot_limits(&state).await?;
        let request = ptypes::ReplicaSnapshotRequest { name: name.clone(), user_created: true, created: now(), labels };
        if let Err(error) = self.snapshot_all(&state, &request).await {
            self.handle_in(&mut state, error)?;
        }
        Ok(name)
    }

    pub(super) async fn snapshot_all(
        &self,
        state: &State,
        request: &ptypes::ReplicaSnapshotRequest,
    ) -> Result<(), ControllerError> {
        let snapshots = state.used().map(|(replica, backend)| async move {
            let failed = backend.snapshot(request.clone()).await.err()?;
            Some(ReplicaFailure { address: replica.address.clone(), text: failed })
        });
        let failed: Vec<_> = futures_util::future::join_all(snapshots).await.into_iter().flatten().collect();
        if failed.is_empty() { Ok(()) } else { Err(ControllerError::Replicas(failed)) }
    }

    /// Whether one snapshot more is allowed, going by the replica that has most.
    pub(super) async fn check_snapshot_limits(&self, state: &State) -> Result<(), ControllerError> {
        let (mut usage, mut total, mut size, mut head) = (0, 0, 0, 0);
        let mut told = false;
        for (_, backend) in state.used() {
            match backend.info().await {
                Ok(info) if matches!(info.state.as_str(), "open" | "dirty" | "rebuilding") => {
                    told = true;
                    usage = usage.max(i64::from(info.snapshot_count_usage));
                    total = total.max(info.snapshot_count_total);
                    size = size.max(info.snapshot_size_usage);
                    head = head.max(info.head_file_size);
                }
                Ok(info) => tracing::error!(info.state, "invalid state for counting snapshots"),
                Err(error) => tracing::error!(error = error.text, "failed to count snapshots"),
            }
        }
        if !told {
            return Err("cannot get an valid result for snapshot usage".into());
        }
        let limit = state.snapshot_max_count;
        if usage >= limit {
            let text = format!("snapshot count usage {usage} is equal or larger than snapshotMaxCount {limit}");
            return Err(text.into());
        }
        if total >= MAXIMUM_SNAPSHOTS as i32 {
            return Err(format!("snapshot count total is already too big: {total}").into());
        }
        let left = state.snapshot_max_size_bytes - size;
        if state.snapshot_max_size_bytes != 0 && head > left {
            return Err(format!("snapshot free space {left} is not enough for head file {head}").into());
        }
        Ok(())
    }

    /// Changes how many snapshots there may be.
    ///
    /// # Errors
    /// There are more already, or a replica could not be told.
    pub async fn set_snapshot_max_count(&self, count: i32) -> Result<(), ControllerError> {
        let mut state = self.0.state.write().await;
        let usage = most(&state, |info| i64::from(info.snapshot_count_usage)).await?;
        if i64::from(count) < usage {
            return Err(format!("cannot set snapshotMaxCount={count} smaller than current snapshot count usage={usage}, please purge snapshots first").into());
        }
        state.snapshot_max_count = count.into();
        for (replica, backend) in state.used() {
            let set =
                backend.client().control().snapshot_max_count_set(ptypes::SnapshotMaxCountSetRequest { count }).await;
            set.map_err(|status| {
                let (address, error) = (&replica.address, rpc_text(&status));
                format!("failed to set flag SnapshotMaxCount to {count} in replica {address}, err: {error}")
            })?;
        }
        Ok(())
    }

    /// Changes how large all snapshots together may become.
    ///
    /// # Errors
    /// They are larger already, or a replica could not be told.
    pub async fn set_snapshot_max_size(&self, size: i64) -> Result<(), ControllerError> {
        let mut state = self.0.state.write().await;
        let usage = most(&state, |info| info.snapshot_size_usage).await?;
        if size < usage {
            return Err(format!("cannot set snapshotMaxSize={size} smaller than current snapshot size usage={usage}, please purge snapshots first").into());
        }
        state.snapshot_max_size_bytes = size;
        for (replica, backend) in state.used() {
            let set =
                backend.client().control().snapshot_max_size_set(ptypes::SnapshotMaxSizeSetRequest { size }).await;
            set.map_err(|status| {
                let (address, error) = (&replica.address, rpc_text(&status));
                format!("failed to set flag SnapshotMaxSize to {size} in replica {address}, err: {error}")
            })?;
        }
        Ok(())
    }

    /// Goes back to a snapshot on all replicas. The frontend must be down.
    ///
    /// # Errors
    /// There is no such snapshot, the volume is in use or being rebuilt, or no replica could go back.
    pub async fn revert(&self, name: &str) -> Result<(), ControllerError> {
        let modes: Vec<(Mode, String)> = {
            let state = self.0.state.read().await;
            state.replicas.iter().map(|replica| (replica.mode, replica.address.clone())).collect()
        };
        let has = |mode| modes.iter().any(|(found, _)| *found == mode);
        if !has(Mode::ReadWrite) || has(Mode::WriteOnly) {
            return Err("not valid state to revert, rebuilding in process or all replica are in ERR state".into());
        }
        let disk = names::snapshot_disk(name);
        let good: Vec<String> =
            modes.iter().filter(|(mode, _)| *mode == Mode::ReadWrite).map(|(_, address)| address.clone()).collect();
        let mut found = false;
        for address in &good {
            let (disks, _) = disks_and_head(address, &self.identity()).await?;
            match disks.get(&disk) {
                Some(info) if info.removed => return Err(format!("cannot revert to removed snapshot {name}").into()),
                Some(_) => {
                    found = true;
                    break;
                }
                None => {}
            }
        }
        if !found {
            return Err(format!("cannot do revert since the target snapshot {name} is not found").into());
        }
        let mut state = self.0.state.write().await;
        if state.frontend.as_ref().is_some_and(|frontend| frontend.is_up()) {
            return Err("volume frontend enabled, aborting snapshot revert".into());
        }
        self.revert_all(&mut state, &disk).await
    }

    async fn revert_all(&self, state: &mut State, disk: &str) -> Result<(), ControllerError> {
        let created = now();
        let good: Vec<Arc<Backend>> = state
            .used()
            .filter(|(replica, _)| replica.mode == Mode::ReadWrite)
            .map(|(_, backend)| Arc::clone(backend))
            .collect();
        let mut any = false;
        for backend in good {
            let request = ptypes::ReplicaRevertRequest { name: disk.to_owned(), created: created.clone() };
            match backend.client().control().replica_revert(request).await {
                Ok(_) => any = true,
                Err(status) => {
                    tracing::error!(address = backend.address, error = rpc_text(&status), "failed to revert");
                    state.set_mode(&backend.address, Mode::Error);
                }
            }
        }
        if any { Ok(()) } else { Err(format!("failed to revert to {disk} on all replicas").into()) }
    }
}

/// The most that any replica tells of something.
async fn most(state: &State, of: impl Fn(&ptypes::Replica) -> i64) -> Result<i64, ControllerError> {
    let mut found = None;
    for (_, backend) in state.used() {
        if let Ok(info) = backend.info().await {
            found = found.max(Some(of(&info)));
        }
    }
    found.ok_or_else(|| "cannot get an valid result for snapshot usage".into())
}

/// A replica's disks without head and backing file, and its head.
pub(crate) async fn disks_and_head(
    address: &str,
    identity: &Identity,
) -> Result<(BTreeMap<String, ptypes::DiskInfo>, String), String> {
    let client = ReplicaClient::new(address, identity)?;
    let info = client.get().await;
    let mut info = info.map_err(|status| {
        format!("cannot get replica for {address}: failed to get replica {address}: {}", rpc_text(&status))
    })?;
    let head = info.chain.first().cloned();
    let head = head.ok_or_else(|| format!("replica on {address} does not have any non-removed disks"))?;
    info.disks.remove(&head);
    info.disks.remove(&info.backing_file);
    Ok((info.disks, head))
}
