//! The controller's part in a rebuild (rebuild.go): what a new replica needs, and whether it has it in the end.

use longhorn_replica::format::names::META_SUFFIX;
use longhorn_replica::{LONG_TIMEOUT, ReplicaClient};
use longhorn_rpc::{Identity, ptypes, rpc_text};

use super::snapshot::disks_and_head;
use super::{Controller, ControllerError, Mode, State};

/// A replica's mode, and the address of another one that is good.
fn with_good_one(state: &State, address: &str) -> Result<(Mode, String), ControllerError> {
    let replica = state.replica(address).ok_or_else(|| format!("cannot find replica {address}"))?;
    // Upstream's loop ends with the last one.
    let good = state.replicas.iter().rfind(|other| other.address != address && other.mode == Mode::ReadWrite);
    let good = good.ok_or("cannot find any healthy replica")?;
    Ok((replica.mode, good.address.clone()))
}

impl Controller {
    /// Lets a new replica forget what the others do not have, gives it the metadata of their head, and lists the files
    /// that it needs. Nothing is written meanwhile.
    ///
    /// # Errors
    /// The replica is not a new one, there is no good one, or a replica failed.
    pub async fn prepare_rebuild(
        &self,
        address: &str,
        instance: &str,
    ) -> Result<Vec<ptypes::SyncFileInfo>, ControllerError> {
        let state = self.0.state.write().await;
        if !self.0.settings.revision_counter_disabled {
            let backend = state.replica(address).and_then(|replica| replica.backend.as_ref());
            let backend = backend.ok_or_else(|| {
                format!("failed to set revision counter for {address}: cannot find backend {address}")
            })?;
            let set = backend.set_revision(0).await;
            set.map_err(|error| format!("failed to set revision counter for {address}: {error}"))?;
        }
        let (mode, good) = with_good_one(&state, address)?;
        if mode != Mode::WriteOnly {
            return Err(format!("invalid mode {mode} for replica {address} to prepare rebuild").into());
        }
        let named = Identity::new(self.volume_name(), instance);
        let (from_disks, from_head) = disks_and_head(&good, &self.identity()).await?;
        let (mut extra, to_head) = disks_and_head(address, &named).await?;
        let mut files = Vec::new();
        for (disk, info) in &from_disks {
            let size = info.size.parse().map_err(|_| format!("invalid size {:?}", info.size))?;
            let file = |name: String, actual_size| ptypes::SyncFileInfo {
                from_file_name: name.clone(),
                to_file_name: name,
                actual_size,
            };
            files.push(file(disk.clone(), size));
            files.push(file(format!("{disk}{META_SUFFIX}"), 0));
            extra.remove(disk);
        }
        for disk in extra.into_keys() {
            let client = ReplicaClient::new(address, &named)?;
            let request = ptypes::DiskRemoveRequest { name: disk.clone(), force: true };
            client.control().disk_remove(request).await.map_err(|status| {
                let error = rpc_text(&status);
                format!("failed to remove extra disks in replica {address}: cannot remove disk {disk}: {error}")
            })?;
        }
        let (from, to) = (format!("{from_head}{META_SUFFIX}"), format!("{to_head}{META_SUFFIX}"));
        self.send_file(&good, &from, address, &named, &to).await?;
        Ok(files)
    }

    async fn send_file(
        &self,
        from_address: &str,
        from: &str,
        to_address: &str,
        to_identity: &Identity,
        to: &str,
    ) -> Result<(), String> {
        let receiver = ReplicaClient::new(to_address, to_identity)?;
        let request = ptypes::ReceiverLaunchRequest { to_file_name: to.to_owned() };
        let launched = receiver.sync().receiver_launch(request).await;
        let port = launched
            .map_err(|status| format!("failed to launch receiver for {to}: {}", rpc_text(&status)))?
            .into_inner()
            .port;
        let sender = ReplicaClient::new(from_address, &self.identity())?;
        let timeout = i32::try_from(self.0.settings.file_sync_timeout.as_secs()).unwrap_or(i32::MAX);
        let request = ptypes::FileSendRequest {
            from_file_name: from.to_owned(),
            host: receiver.host().to_owned(),
            port,
            fast_sync: false,
            file_sync_http_client_timeout: timeout,
        };
        let sent = sender.long_sync(LONG_TIMEOUT).file_send(request).await;
        sent.map(drop).map_err(|status| {
            format!("failed to send file {from} to {}:{port}: {}", receiver.host(), rpc_text(&status))
        })
    }

    /// Takes a new replica into full use once it has what a good one has. If it has not, it has failed.
    ///
    /// # Errors
    /// It lacks a disk, is not a new one, or a replica failed.
    pub async fn verify_rebuild(&self, address: &str, instance: &str) -> Result<(), ControllerError> {
        let mut state = self.0.state.write().await;
        let verified = self.verify(&state, address, instance).await;
        match &verified {
            Ok(false) => {}
            Ok(true) => state.set_mode(address, Mode::ReadWrite),
            Err(error) => {
                tracing::error!(address, %error, "failed to verify a rebuilt replica");
                state.set_mode(address, Mode::Error);
            }
        }
        verified.map(drop)
    }

    /// Whether it is to be taken into use; it may be already.
    async fn verify(&self, state: &State, address: &str, instance: &str) -> Result<bool, ControllerError> {
        let (mode, good) = with_good_one(state, address)?;
        match mode {
            Mode::ReadWrite => return Ok(false),
            Mode::WriteOnly => {}
            Mode::Error => return Err(format!("invalid mode {mode} for replica {address} to check").into()),
        }
        let (from_disks, _) = disks_and_head(&good, &self.identity()).await?;
        let (to_disks, _) = disks_and_head(address, &Identity::new(self.volume_name(), instance)).await?;
        let names = |disks: &std::collections::BTreeMap<String, ptypes::DiskInfo>| {
            disks.keys().cloned().collect::<Vec<_>>().join(" ")
        };
        if from_disks.len() != to_disks.len() {
            let (to, from) = (names(&to_disks), names(&from_disks));
            return Err(format!(
                "replica {address}'s disk number is not equal to that of RW replica {good}: {to} vs {from}"
            )
            .into());
        }
        if from_disks.keys().any(|disk| !to_disks.contains_key(disk)) {
            let (to, from) = (names(&to_disks), names(&from_disks));
            return Err(
                format!("replica {address}'s chain not equal to RW replica {good}'s chain: {to} vs {from}").into()
            );
        }
        if !self.0.settings.revision_counter_disabled {
            let backend = |address: &str| state.replica(address).and_then(|replica| replica.backend.as_ref());
            if let (Some(from), Some(to)) = (backend(&good), backend(address)) {
                let counter = from.revision().await;
                let counter =
                    counter.map_err(|error| format!("failed to get revision counter of RW Replica {good}: {error}"))?;
                let set = to.set_revision(counter).await;
                set.map_err(|error| format!("failed to set revision counter for {address}: {error}"))?;
            }
        }
        Ok(true)
    }
}
