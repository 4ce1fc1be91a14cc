//! Which replicas there are, and how each is used.

use std::sync::Arc;

use longhorn_rpc::ptypes;

use super::backend::Backend;
use super::{Controller, ControllerError, Mode, Replica, State};

impl State {
    pub(crate) fn replica(&self, address: &str) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.address == address)
    }

    /// The replicas that are used, with what they are used by.
    pub(crate) fn used(&self) -> impl Iterator<Item = (&Replica, &Arc<Backend>)> {
        let used = self.replicas.iter().filter(|replica| replica.mode != Mode::Error);
        used.filter_map(|replica| Some((replica, replica.backend.as_ref()?)))
    }

    /// Changes how a replica is used. One that has failed stays so.
    pub(crate) fn set_mode(&mut self, address: &str, mode: Mode) {
        let replica = self.replicas.iter_mut().find(|replica| replica.address == address);
        let Some(replica) = replica.filter(|replica| replica.mode != Mode::Error) else { return };
        // For oracles and people: when a replica was promoted, and when it was given up.
        let text = format!("replica {address} {} -> {mode}", replica.mode);
        host::journal::record(host::journal::Event::Note { text: text.as_str().into() });
        tracing::info!(address, %mode, "setting a replica's mode");
        replica.mode = mode;
        if let Some(backend) = replica.backend.as_ref().filter(|_| mode == Mode::Error) {
            backend.stop_watching();
        }
    }

    /// Whether the disks of all good replicas are full. If so they stay as they are, for no bytes were written to any;
    /// if not, those whose disks are full have fallen behind the others. One that is being rebuilt has in any case.
    pub(crate) fn all_full(&mut self, full: &[&str]) -> bool {
        let mode = |mode| move |replica: &&Replica| replica.mode == mode;
        let good = self.replicas.iter().filter(mode(Mode::ReadWrite)).count();
        let is_full = |replica: &Replica| full.contains(&replica.address.as_str());
        let full_good = self.replicas.iter().filter(mode(Mode::ReadWrite)).filter(|replica| is_full(replica)).count();
        let all = full_good == good && good > 0;
        let behind: Vec<String> = self
            .replicas
            .iter()
            .filter(|replica| is_full(replica))
            .filter(|replica| replica.mode == Mode::WriteOnly || (replica.mode == Mode::ReadWrite && !all))
            .map(|replica| replica.address.clone())
            .collect();
        for address in behind {
            self.set_mode(&address, Mode::Error);
        }
        all
    }

    /// Whether a replica may be added now; `Ok(false)` if it is there already.
    pub(crate) fn can_add(&self, address: &str) -> Result<bool, ControllerError> {
        if self.replica(address).is_some() {
            return Ok(false);
        }
        if self.replicas.iter().any(|replica| replica.mode == Mode::WriteOnly) {
            return Err("can only have one WO replica at a time".into());
        }
        if self.is_expanding {
            return Err("cannot add WO replica during expansion".into());
        }
        Ok(true)
    }
}

impl Controller {
    /// Adds a replica. With `snapshot` all replicas take one first, so that the new one has a head of its own.
    ///
    /// # Errors
    /// Another one is being added, or a replica failed.
    pub async fn add_replica(&self, address: &str, snapshot: bool, mode: Mode) -> Result<(), ControllerError> {
        let mut state = self.0.state.write().await;
        if !state.can_add(address)? {
            return Ok(());
        }
        let opened = Backend::open(address, &self.identity(), Arc::clone(&self.0.timeouts)).await;
        let backend = Arc::new(opened.map_err(|error| error.text)?);
        let size = backend.size().await;
        let size = size.map_err(|error| format!("failed to get the size before adding a replica: {}", error.text))?;
        if state.size == 0 && state.replicas.is_empty() {
            state.size = size;
        }
        let added = self.add_opened(&mut state, address, Some(Arc::clone(&backend)), snapshot, mode).await;
        if added.is_err()
            && let Err(error) = backend.close().await
        {
            tracing::error!(%error, "failed to close backend");
        }
        added
    }

    pub(super) async fn add_opened(
        &self,
        state: &mut State,
        address: &str,
        backend: Option<Arc<Backend>>,
        snapshot: bool,
        mode: Mode,
    ) -> Result<(), ControllerError> {
        if !state.can_add(address)? {
            return Ok(());
        }
        if let Some(backend) = backend.as_ref().filter(|_| snapshot && mode != Mode::Error) {
            if state.used().next().is_some() {
                self.check_snapshot_limits(state).await?;
            }
            let request = ptypes::ReplicaSnapshotRequest {
                name: crate::uuid(),
                user_created: false,
                created: longhorn_replica::format::now(),
                labels: Default::default(),
            };
            self.snapshot_all(state, &request).await?;
            backend.snapshot(request).await?;
        }
        if let Some(backend) = backend.as_ref().filter(|_| mode != Mode::Error) {
            let (controller, address) = (self.clone(), address.to_owned());
            backend.watch(move |error| async move {
                tracing::error!(address, error, "monitoring failed");
                controller.0.state.write().await.set_mode(&address, Mode::Error);
            });
        }
        state.replicas.push(Replica { address: address.to_owned(), mode, backend });
        Ok(())
    }

    /// Removes a replica if it is there.
    ///
    /// # Errors
    /// It is the last one, and the volume is in use.
    pub async fn remove_replica(&self, address: &str) -> Result<(), ControllerError> {
        let mut state = self.0.state.write().await;
        let Some(index) = state.replicas.iter().position(|replica| replica.address == address) else { return Ok(()) };
        if state.replicas.len() == 1 && state.frontend.as_ref().is_some_and(|frontend| frontend.is_up()) {
            return Err("cannot remove last replica if volume is up".into());
        }
        if let Some(backend) = state.replicas.remove(index).backend {
            backend.stop_watching();
            // The other side may be gone for good.
            host::spawn(async move {
                if let Err(error) = backend.close().await {
                    tracing::error!(%error, "failed to close backend");
                }
            });
        }
        Ok(())
    }

    /// Changes how a replica is used.
    ///
    /// # Errors
    /// It cannot be made write-only.
    pub async fn set_replica_mode(&self, address: &str, mode: Mode) -> Result<(), ControllerError> {
        if mode == Mode::WriteOnly {
            return Err(format!("cannot set to mode {mode}").into());
        }
        self.0.state.write().await.set_mode(address, mode);
        Ok(())
    }
}
