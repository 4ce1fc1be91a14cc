//! Attaching and detaching: the state machine over where the volume should be and where it is, and the opening and closing of its engine
//! and replicas.

use corral_kube_client::EventType;
use longhorn_api::go::Map;
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::instance::InstanceState;
use longhorn_api::kinds::instance_manager::InstanceManagerState;
use longhorn_api::kinds::volume::{VolumeRobustness, VolumeState};
use longhorn_api::{Engine, Replica, Volume};

use super::VolumeController;
use super::picture::Picture;
use super::replicas::{Replicas, set_failed};
use crate::runtime::backups::name;
use crate::runtime::{Context, Error, Result, clock};
use crate::scheduler::MAXIMUM_REBUILD_RETRIES;

impl VolumeController {
    /// One step from where the volume is to where it should be (`reconcileAttachDetachStateMachine`).
    pub(super) fn step(&self, picture: &mut Picture, engine: &str, is_new: bool) -> Result<()> {
        let (spec, status) = (&picture.volume.spec, &mut picture.volume.status);
        if is_new || status.state == VolumeState::Unset {
            status.state = VolumeState::Creating;
            return Ok(());
        }
        let (wanted, current) = (!spec.node_id.is_empty(), !status.current_node_id.is_empty());
        let settled = wanted && spec.node_id == status.current_node_id;
        match status.state.clone() {
            VolumeState::Detaching => self.finish_detaching(picture, engine),
            VolumeState::Attached if settled => {
                self.open(picture, engine)?;
                if !is_open(&picture.engines[engine], &picture.replicas) {
                    tracing::warn!("Volume is attached but dependent resources are not opened");
                }
            }
            VolumeState::Detached if !wanted && !current => self.close(picture, engine),
            VolumeState::Detached if wanted && !current => {
                self.open(picture, engine)?;
                picture.volume.status.state = VolumeState::Attaching;
            }
            VolumeState::Attaching if wanted && !current => {
                self.open(picture, engine)?;
                self.finish_attaching(picture, engine);
            }
            // A volume that is wanted somewhere keeps the state that it is created in, until it has been taken down once.
            VolumeState::Creating if wanted || current => {}
            VolumeState::Attached | VolumeState::Attaching | VolumeState::Creating | VolumeState::Detached => {
                self.close(picture, engine);
                picture.volume.status.state = VolumeState::Detaching;
            }
            _ => {}
        }
        Ok(())
    }

    fn finish_detaching(&self, picture: &mut Picture, engine: &str) {
        self.close(picture, engine);
        if !is_closed(&picture.engines[engine], &picture.replicas) {
            return;
        }
        let volume = &mut picture.volume;
        volume.status.current_node_id.clear();
        volume.status.state = VolumeState::Detached;
        let message = format!("volume {} has been detached", name(&volume.metadata));
        self.events.event(&*volume, EventType::Normal, "Detached", message);
    }

    fn finish_attaching(&self, picture: &mut Picture, engine: &str) {
        if !is_open(&picture.engines[engine], &picture.replicas) {
            return;
        }
        let volume = &mut picture.volume;
        volume.status.current_node_id.clone_from(&volume.spec.node_id);
        volume.status.state = VolumeState::Attached;
        let message = format!("volume {} has been attached to {}", name(&volume.metadata), volume.spec.node_id);
        self.events.event(&*volume, EventType::Normal, "Attached", message);
    }

    /// Has replicas started, and the engine when all of them run that could.
    fn open(&self, picture: &mut Picture, engine: &str) -> Result<()> {
        let volume = &picture.volume;
        if volume.status.state == VolumeState::Detached && volume.status.current_image != volume.spec.image {
            tracing::info!("Waiting for offline volume upgrade to finish");
            return Ok(());
        }
        for replica in picture.replicas.values_mut() {
            if !replica.spec.node_id.is_empty() {
                self.start_replica(&picture.volume, replica)?;
            }
        }
        let Some(addresses) = usable_addresses(picture, engine) else { return Ok(()) };
        if addresses.is_empty() {
            return Err(Error::message("no healthy or scheduled replica for starting"));
        }
        let (volume, spec) = (&picture.volume, &mut picture.engines.get_mut(engine).expect("the current engine").spec);
        if !spec.node_id.is_empty() && spec.node_id != volume.spec.node_id {
            let (node, current) = (&spec.node_id, &volume.status.current_node_id);
            return Err(Error::message(format!("engine is on node {node} vs volume on {current}, must detach first")));
        }
        spec.node_id.clone_from(&volume.spec.node_id);
        spec.replica_address_map = addresses;
        spec.desire_state = InstanceState::Running;
        spec.disable_frontend = volume.status.frontend_disabled;
        spec.frontend = volume.spec.frontend.clone();
        Ok(())
    }

    fn start_replica(&self, volume: &Volume, replica: &mut Replica) -> Result<()> {
        if self.can_be_launched(replica)? {
            let spec = &mut replica.spec;
            let current = spec.failed_at.is_empty() && spec.image == volume.status.current_image;
            if current && replica.status.current_state == InstanceState::Stopped {
                spec.desire_state = InstanceState::Running;
            }
            return Ok(());
        }
        if volume.status.current_image != volume.spec.image {
            return Ok(());
        }
        // While the volume is attached, the engine tells whether the replica can be reached.
        let deleted = self.manager.datastore.is_node_deleted(&replica.spec.node_id)?;
        if volume.status.state != VolumeState::Attached || deleted {
            tracing::warn!("Replica {} is marked as failed: its node cannot run it", name(&replica.metadata));
            if replica.spec.failed_at.is_empty() {
                set_failed(replica, &clock::now_text());
            }
            replica.spec.desire_state = InstanceState::Stopped;
        }
        Ok(())
    }

    /// Whether the replica's node has an instance manager that runs or will.
    fn can_be_launched(&self, replica: &Replica) -> Result<bool> {
        let datastore = &self.manager.datastore;
        if datastore.is_node_down_or_deleted(&replica.spec.node_id)? {
            return Ok(false);
        }
        if !replica.status.instance_manager_name.is_empty() {
            return Ok(true);
        }
        let manager = datastore.instance_manager_for(&replica.spec.node_id, &replica.spec.data_engine);
        let manager =
            manager.context(|| format!("failed to find instance manager for replica {}", name(&replica.metadata)))?;
        let state = &manager.status.current_state;
        Ok(matches!(state, InstanceManagerState::Running | InstanceManagerState::Starting))
    }

    /// Has the engine stopped, and then the replicas: in the other order data would be lost.
    fn close(&self, picture: &mut Picture, engine: &str) {
        let now = clock::now_text();
        let status = &mut picture.volume.status;
        status.conditions.set_condition("Restore", ConditionStatus::False, "", "", &now);
        let faulted = status.robustness == VolumeRobustness::Faulted;
        let restores = status.restore_required || status.is_standby;
        if !faulted {
            status.robustness = VolumeRobustness::Unknown;
        } else if restores {
            let message = "All replica restore failed and the volume became Faulted";
            status.conditions.set_condition("Restore", ConditionStatus::False, "RestoreFailure", message, &now);
        }
        let current = picture.engines.get_mut(engine).expect("the current engine");
        let spec = &mut current.spec;
        if spec.desire_state != InstanceState::Stopped || !spec.node_id.is_empty() {
            spec.log_requested |= faulted;
            // A restore that was interrupted goes on with what it began with.
            if !restores {
                spec.backup_volume.clear();
            }
            spec.requested_backup_restore.clear();
            spec.node_id.clear();
            spec.desire_state = InstanceState::Stopped;
        }
        if current.status.current_state == InstanceState::Stopped {
            stop_replicas(&mut picture.replicas, faulted, &now);
        }
    }
}

/// Stops all replicas. One that never became healthy beside others that were was being rebuilt: it failed.
fn stop_replicas(replicas: &mut Replicas, faulted: bool, now: &str) {
    let has_data = replicas.values().any(|replica| !replica.spec.healthy_at.is_empty());
    for replica in replicas.values_mut() {
        if replica.spec.healthy_at.is_empty() && replica.spec.failed_at.is_empty() && has_data {
            set_failed(replica, now);
            if replica.spec.node_id.is_empty() || replica.spec.disk_id.is_empty() {
                replica.spec.rebuild_retry_count = MAXIMUM_REBUILD_RETRIES;
            }
        }
        if replica.spec.desire_state != InstanceState::Stopped {
            replica.spec.log_requested |= faulted;
            replica.spec.desire_state = InstanceState::Stopped;
        }
    }
}

/// Where the engine's replicas answer; none while one of them still starts.
fn usable_addresses(picture: &Picture, engine: &str) -> Option<Map<String>> {
    let mut addresses = Map::from(std::collections::BTreeMap::new());
    for (replica_name, replica) in &picture.replicas {
        let (spec, status) = (&replica.spec, &replica.status);
        let candidate = !spec.node_id.is_empty()
            && spec.image == picture.volume.status.current_image
            && spec.engine_name == engine
            && spec.failed_at.is_empty()
            && status.current_state != InstanceState::Error;
        if !candidate {
            continue;
        }
        if status.current_state != InstanceState::Running {
            return None;
        }
        if status.ip.is_empty() || status.storage_ip.is_empty() || status.port == 0 {
            tracing::warn!("Replica {replica_name} is running but has no address yet");
            continue;
        }
        addresses.insert(replica_name.clone(), format!("{}:{}", status.storage_ip, status.port));
    }
    Some(addresses)
}

fn is_open(engine: &Engine, replicas: &Replicas) -> bool {
    let runs = |replica: &Replica| replica.status.current_state == InstanceState::Running;
    engine.status.current_state == InstanceState::Running && replicas.values().any(runs)
}

fn is_closed(engine: &Engine, replicas: &Replicas) -> bool {
    let stopped = |replica: &Replica| replica.status.current_state == InstanceState::Stopped;
    engine.status.current_state == InstanceState::Stopped && replicas.values().all(stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(state: InstanceState, port: i64) -> Replica {
        let mut replica = Replica::default();
        replica.spec.node_id = "n1".to_owned();
        replica.spec.engine_name = "v-e-0".to_owned();
        replica.status.current_state = state;
        if port > 0 {
            (replica.status.ip, replica.status.storage_ip) = ("10.0.0.1".to_owned(), "10.0.0.1".to_owned());
            replica.status.port = port;
        }
        replica
    }

    #[test]
    fn a_rebuilding_replica_fails_with_the_detachment() {
        let mut replicas: Replicas = Replicas::new();
        replicas.insert("old".to_owned(), replica(InstanceState::Running, 1));
        replicas.get_mut("old").unwrap().spec.healthy_at = "2026-11-20T10:00:00Z".to_owned();
        replicas.insert("new".to_owned(), replica(InstanceState::Running, 2));
        stop_replicas(&mut replicas, false, "2026-11-20T11:00:00Z");
        assert_eq!(replicas["new"].spec.failed_at, "2026-11-20T11:00:00Z");
        assert_eq!(replicas["new"].spec.rebuild_retry_count, MAXIMUM_REBUILD_RETRIES, "it was never placed on a disk");
        assert!(replicas["old"].spec.failed_at.is_empty());
        assert!(replicas.values().all(|replica| replica.spec.desire_state == InstanceState::Stopped));
    }

    #[test]
    fn a_volume_is_open_with_one_replica_and_closed_without_any() {
        let mut engine = Engine::default();
        engine.status.current_state = InstanceState::Running;
        let mut replicas: Replicas = Replicas::new();
        replicas.insert("a".to_owned(), replica(InstanceState::Running, 1));
        replicas.insert("b".to_owned(), replica(InstanceState::Error, 0));
        assert!(is_open(&engine, &replicas) && !is_closed(&engine, &replicas));
        engine.status.current_state = InstanceState::Stopped;
        replicas.values_mut().for_each(|replica| replica.status.current_state = InstanceState::Stopped);
        assert!(is_closed(&engine, &replicas));
    }
}
