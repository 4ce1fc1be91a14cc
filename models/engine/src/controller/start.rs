//! Starting a volume: which replicas can be used (`Start` in control.go).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use longhorn_rpc::ptypes;

use super::backend::{Backend, Unreachable, size_of};
use super::error::{REPLICA_ERROR, UNAVAILABLE};
use super::{Controller, ControllerError, Mode, State};

/// Replicas that were written to so shortly before the newest may be as good.
const SALVAGE_WINDOW: Duration = Duration::from_secs(5);

/// The size a volume has: the one asked for if all replicas have it, else the one it had before.
fn volume_size(nominal: i64, current: i64, replicas: &BTreeSet<i64>) -> i64 {
    if current == 0 || (replicas.len() == 1 && replicas.contains(&nominal)) { nominal } else { current }
}

/// Go prints a list of texts so.
fn go_list(addresses: &[String]) -> String {
    format!("[{}]", addresses.join(" "))
}

impl Controller {
    /// Starts the volume with these replicas, unless it is started.
    ///
    /// # Errors
    /// An address comes twice, or no replica can be used.
    pub async fn start(&self, nominal: i64, current: i64, addresses: &[String]) -> Result<(), ControllerError> {
        let mut state = self.0.state.write().await;
        if addresses.is_empty() {
            return Ok(());
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = addresses.iter().find(|address| !seen.insert(*address)) {
            return Err(format!("invalid ReplicaAddress: duplicate replica addresses {twice}").into());
        }
        if !state.replicas.is_empty() {
            return Ok(());
        }
        let (mut available, sizes, unavailable) = self.open_all(&mut state, addresses).await;
        state.size = volume_size(nominal, current, &sizes);
        let size = state.size;
        let mut fitting = BTreeMap::new();
        for (address, backend) in std::mem::take(&mut available) {
            match backend.size().await {
                Ok(found) if found == size => drop(fitting.insert(address, backend)),
                Ok(found) => tracing::warn!(address, found, size, "a replica's size does not match"),
                Err(error) => tracing::warn!(address, error = error.text, "failed to get a replica's size"),
            }
        }
        let none = fitting.is_empty();
        for address in addresses {
            let backend = fitting.remove(address);
            let mode = if backend.is_some() { Mode::ReadWrite } else { Mode::Error };
            self.add_opened(&mut state, address, backend, false, mode).await?;
        }
        if none {
            let reason = if unavailable { UNAVAILABLE } else { REPLICA_ERROR };
            return Err(format!("{reason} from the addresses {}", go_list(addresses)).into());
        }
        self.align_unmap_mark(&mut state).await?;
        if !self.0.settings.is_upgrade {
            self.check_contents(&mut state).await?;
        }
        self.start_frontend_of(&state).await
    }

    /// Opens what can be opened; also the sizes found, and whether somebody could not be reached.
    async fn open_all(
        &self,
        state: &mut State,
        addresses: &[String],
    ) -> (BTreeMap<String, Arc<Backend>>, BTreeSet<i64>, bool) {
        let (mut available, mut sizes, mut unavailable) = (BTreeMap::new(), BTreeSet::new(), false);
        let mut sector_size = None;
        for address in addresses {
            match self.open_one(address, addresses.len() == 1).await {
                Ok((backend, info, size)) => {
                    if *sector_size.get_or_insert(info.sector_size) != info.sector_size {
                        tracing::warn!(address, "a replica's sector size does not match");
                        continue;
                    }
                    available.insert(address.clone(), Arc::new(backend));
                    sizes.insert(size);
                }
                Err(error) => {
                    tracing::warn!(address, error = error.text, "a replica cannot be used");
                    unavailable |= error.unavailable;
                }
            }
        }
        state.sector_size = sector_size.unwrap_or_default();
        (available, sizes, unavailable)
    }

    async fn open_one(&self, address: &str, is_only: bool) -> Result<(Backend, ptypes::Replica, i64), Unreachable> {
        let backend = Backend::open(address, &self.identity(), Arc::clone(&self.0.timeouts)).await?;
        if is_only {
            // There is nobody to rebuild the only replica from: a rebuild that broke off long ago is forgotten.
            match backend.info().await {
                Ok(info) if info.rebuilding => {
                    if let Err(error) = backend.set_rebuilding(false).await {
                        tracing::warn!(address, error, "failed to reset invalid rebuild");
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(address, error = error.text, "failed to reset invalid rebuild"),
            }
        }
        let info = backend.info().await?;
        let size = size_of(&info)?;
        if !matches!(info.state.as_str(), "open" | "dirty") {
            return Err(format!("the replica is in the invalid state {}", info.state).into());
        }
        Ok((backend, info, size))
    }

    /// Lets all replicas treat unmaps alike.
    pub(super) async fn align_unmap_mark(&self, state: &mut State) -> Result<(), ControllerError> {
        let expected = state.unmap_mark_chain_removed;
        let used: Vec<Arc<Backend>> = state.used().map(|(_, backend)| Arc::clone(backend)).collect();
        let mut all_failed = true;
        for backend in used {
            let info = backend.info().await.map_err(|error| error.text)?;
            if info.unmap_mark_disk_chain_removed == expected {
                all_failed = false;
                continue;
            }
            let request = ptypes::UnmapMarkDiskChainRemovedSetRequest { enabled: expected };
            match backend.client().control().unmap_mark_disk_chain_removed_set(request).await {
                Ok(_) => all_failed = false,
                Err(_) => state.set_mode(&backend.address, Mode::Error),
            }
        }
        if all_failed {
            return Err(format!(
                "failed to correct Unmatched flag UnmapMarkSnapChainRemoved for all replicas, expect {expected}"
            )
            .into());
        }
        Ok(())
    }

    /// Sorts out replicas whose contents cannot be those of the others, as far as that can be told.
    async fn check_contents(&self, state: &mut State) -> Result<(), ControllerError> {
        let settings = &self.0.settings;
        let mut found = Vec::new();
        let used: Vec<Arc<Backend>> = state.used().map(|(_, backend)| Arc::clone(backend)).collect();
        for backend in used {
            let info = backend.info().await.map_err(|error| error.text)?;
            if info.revision_counter_disabled == settings.revision_counter_disabled {
                found.push((backend.address.clone(), info));
            } else {
                state.set_mode(&backend.address, Mode::Error);
            }
        }
        if !settings.revision_counter_disabled {
            let newest = found.iter().map(|(_, info)| info.revision_counter).max().unwrap_or_default();
            for (address, _) in found.iter().filter(|(_, info)| info.revision_counter != newest) {
                tracing::error!(address, newest, "revision conflict detected");
                state.set_mode(address, Mode::Error);
            }
        } else if settings.salvage_requested {
            let best = best_to_salvage(&found).ok_or("cannot find any replica for salvage")?.to_owned();
            let others: Vec<String> = state
                .replicas
                .iter()
                .map(|replica| replica.address.clone())
                .filter(|address| *address != best)
                .collect();
            for address in others {
                state.set_mode(&address, Mode::Error);
            }
        }
        Ok(())
    }
}

/// Of the replicas written to last, the one with the largest head, or else the newest.
fn best_to_salvage(found: &[(String, ptypes::Replica)]) -> Option<&str> {
    let newest = found.iter().map(|(_, info)| info.last_modify_time).max()?;
    let window = SALVAGE_WINDOW.as_nanos() as i64;
    let recent = found.iter().filter(|(_, info)| info.last_modify_time.saturating_add(window) > newest);
    let mut best: Option<&(String, ptypes::Replica)> = None;
    for candidate in recent {
        let rank = |info: &ptypes::Replica| (info.head_file_size, info.last_modify_time);
        if best.is_none_or(|best| rank(&candidate.1) > rank(&best.1)) {
            best = Some(candidate);
        }
    }
    best.map(|(address, _)| address.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(address: &str, seconds: i64, head: i64) -> (String, ptypes::Replica) {
        let info = ptypes::Replica {
            last_modify_time: seconds * 1_000_000_000,
            head_file_size: head,
            ..ptypes::Replica::default()
        };
        (address.to_owned(), info)
    }

    #[test]
    fn the_largest_head_of_the_last_seconds_is_salvaged() {
        let found = [replica("a", 100, 9), replica("b", 104, 5), replica("c", 105, 3)];
        assert_eq!(best_to_salvage(&found), Some("b"));
        assert_eq!(best_to_salvage(&[replica("a", 1, 1), replica("b", 2, 1)]), Some("b"));
        assert_eq!(best_to_salvage(&[]), None);
    }

    #[test]
    fn a_volume_has_the_size_that_all_replicas_have() {
        assert_eq!(volume_size(20, 0, &BTreeSet::new()), 20);
        assert_eq!(volume_size(20, 10, &BTreeSet::from([20])), 20);
        assert_eq!(volume_size(20, 10, &BTreeSet::from([10, 20])), 10);
        assert_eq!(volume_size(20, 10, &BTreeSet::from([10])), 10);
    }
}
