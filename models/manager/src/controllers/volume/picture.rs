//! A volume with its engines and replicas, as one reconcile sees and changes them.
//!
//! What changed is written at the end, whether the reconcile succeeded or not: specs of replicas, then of engines, then the volume's
//! status; a failure stops it. Salvage relies on this order: a status that says "detached" proves that the wish to salvage is stored.

use std::collections::BTreeMap;

use longhorn_api::kinds::engine::EngineSpec;
use longhorn_api::kinds::replica::ReplicaSpec;
use longhorn_api::kinds::volume::VolumeStatus;
use longhorn_api::{Engine, Replica, Volume};

use super::replicas::Replicas;
use crate::runtime::backups::name;
use crate::runtime::{Datastore, Error, Result};

/// A volume and what belongs to it.
pub struct Picture {
    pub volume: Volume,
    pub engines: BTreeMap<String, Engine>,
    pub replicas: Replicas,
    status_before: VolumeStatus,
    engines_before: BTreeMap<String, EngineSpec>,
    replicas_before: BTreeMap<String, ReplicaSpec>,
}

impl Picture {
    /// What the cache has.
    pub fn of(volume: Volume, datastore: &Datastore) -> Self {
        let volume_name = name(&volume.metadata);
        let engines = datastore.engines_of_volume(volume_name);
        let replicas = datastore.replicas_of_volume(volume_name);
        Self {
            status_before: volume.status.clone(),
            engines_before: engines.iter().map(|(name, engine)| (name.clone(), engine.spec.clone())).collect(),
            replicas_before: replicas.iter().map(|(name, replica)| (name.clone(), replica.spec.clone())).collect(),
            engines: engines.into_iter().map(|(name, engine)| (name, (*engine).clone())).collect(),
            replicas: replicas.into_iter().map(|(name, replica)| (name, (*replica).clone())).collect(),
            volume,
        }
    }

    /// The volume's name.
    pub fn volume_name(&self) -> &str {
        name(&self.volume.metadata)
    }

    /// Name of the engine that serves the volume; none if it has no engine yet (`PickVolumeCurrentEngine`).
    ///
    /// That is the active one. If none is, an engine where the volume is or should be becomes it, or the only one that is nowhere.
    pub fn current_engine(&mut self) -> Result<Option<String>> {
        if self.engines.is_empty() {
            return Ok(None);
        }
        let mut active = self.engines.iter().filter(|(_, engine)| engine.spec.active).map(|(name, _)| name.clone());
        if let Some(current) = active.next() {
            return match active.next() {
                None => Ok(Some(current)),
                Some(other) => {
                    Err(Error::message(format!("BUG: found the second active engine {other} besides {current}")))
                }
            };
        }
        let nodes = [&self.volume.spec.node_id, &self.volume.status.current_node_id];
        let is_there = |engine: &Engine| {
            let node = &engine.spec.node_id;
            engine.metadata.deletion_timestamp.is_none() && !node.is_empty() && nodes.contains(&node)
        };
        let Some((current, engine)) = self.engines.iter_mut().find(|(_, engine)| is_there(engine)) else {
            let volume = name(&self.volume.metadata);
            return Err(Error::message(format!(
                "cannot find the current engine for the switching after iterating and cleaning up all engines for volume {volume}, \
                 all engines may be detached or in a transient state"
            )));
        };
        engine.spec.active = true;
        Ok(Some(current.clone()))
    }

    /// Writes what changed.
    pub async fn write(&mut self, datastore: &Datastore) -> Result<()> {
        let mut last_error = Ok(());
        for (replica_name, replica) in datastore.in_map_order(&self.replicas) {
            if self.replicas_before.get(replica_name) != Some(&replica.spec)
                && let Err(error) = datastore.update_replica(replica).await
            {
                last_error = Err(error);
            }
        }
        last_error?;
        let mut last_error = Ok(());
        for (engine_name, engine) in datastore.in_map_order(&self.engines) {
            if self.engines_before.get(engine_name) != Some(&engine.spec)
                && let Err(error) = datastore.update_engine(engine).await
            {
                last_error = Err(error);
            }
        }
        last_error?;
        self.keep_transition_times();
        if self.volume.status != self.status_before {
            datastore.volumes.update_status(&self.volume).await?;
        }
        Ok(())
    }

    /// Conditions that say what they said before keep their times, however often they changed on the way.
    fn keep_transition_times(&mut self) {
        for condition in self.volume.status.conditions.iter_mut() {
            let same = self.status_before.conditions.iter().find(|before| {
                before.condition_type == condition.condition_type
                    && before.status == condition.status
                    && before.reason == condition.reason
                    && before.message == condition.message
            });
            if let Some(before) = same {
                *condition = before.clone();
            }
        }
    }

    /// Deletes a replica: what is known of it is stored first, so that its last state is not lost.
    pub async fn delete_replica(&mut self, replica_name: &str, datastore: &Datastore) -> Result<()> {
        let Some(replica) = self.replicas.get(replica_name) else { return Ok(()) };
        datastore.update_replica(replica).await?;
        datastore.replicas.delete(replica_name).await?;
        self.replicas.remove(replica_name);
        Ok(())
    }

    /// The replica of this name.
    pub fn replica(&mut self, replica_name: &str) -> &mut Replica {
        self.replicas.get_mut(replica_name).expect("a name out of this picture")
    }
}
