//! How an engine's instance is created, deleted and looked at.

use longhorn_api::kinds::instance::{InstanceState, InstanceType};
use longhorn_api::kinds::instance_manager::InstanceManagerState;
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{Engine, InstanceManager, Release, settings};
use std::sync::Arc;

use crate::controllers::instance::{Driver, notes_starts};
use crate::engine::instance_manager::{EngineSettings, InstanceManagerClient};
use crate::engine::proxy::cli_api_version;
use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::{Context, Datastore, Error, Result};

/// Reaches the instances of engines.
pub(crate) struct EngineDriver<'a> {
    pub manager: &'a Manager,
}

impl Driver<Engine> for EngineDriver<'_> {
    async fn create(&self, engine: &mut Engine) -> Result<()> {
        let datastore = &self.manager.datastore;
        let (engine_name, spec) = (name(&engine.metadata).to_owned(), engine.spec.clone());
        if spec.volume_name.is_empty() || spec.node_id.is_empty() {
            return Err(Error::message(format!("missing parameters for engine instance creation: {engine_name}")));
        }
        let manager = datastore.instance_manager_for(&spec.node_id, &spec.data_engine)?;
        if notes_starts(datastore) {
            note_manager(&mut engine.status.instance_manager_name, name(&manager.metadata), "engine")?;
        }
        let mut client = InstanceManagerClient::connect(&manager, false).await?;
        let volume = datastore.volumes.get(&spec.volume_name)?;
        let pod = datastore.pods.get(name(&manager.metadata));
        let pod = pod.context(|| format!("failed to get pod for instance manager {}", name(&manager.metadata)))?;
        let settings = EngineSettings {
            replica_timeout_seconds: datastore.setting_number(settings::ENGINE_REPLICA_TIMEOUT)?,
            file_sync_timeout_seconds: datastore.setting_number(settings::REPLICA_FILE_SYNC_HTTP_CLIENT_TIMEOUT)?,
            data_locality: volume.spec.data_locality.clone(),
            cli_api_version: cli_api_version(datastore, &spec.image, &spec.data_engine)?,
            address: pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default(),
        };
        if notes_starts(datastore) {
            engine.status.starting = true;
            // The object keeps its old version: what the reconcile writes next meets a conflict, as upstream's.
            let noted = datastore.engines.update_status(engine).await;
            noted.context(|| {
                format!("failed to update engine {engine_name} status.starting to true before sending instance create request")
            })?;
        }
        client.create_engine(engine, &settings).await
    }

    async fn delete(&self, engine: &Engine) -> Result<()> {
        let datastore = &self.manager.datastore;
        let found = manager_to_delete_in(
            datastore,
            &engine.status.instance_manager_name,
            &engine.spec.node_id,
            &engine.spec.data_engine,
        );
        let Some(manager) = found else { return Ok(()) };
        if !may_be_reached(datastore, &manager) {
            return Ok(());
        }
        let deleted = async {
            let mut client = InstanceManagerClient::connect(&manager, true).await?;
            let engine_name = name(&engine.metadata);
            client.delete(&engine.spec.data_engine, engine_name, "", InstanceType::Engine, "", true).await
        };
        forgive(deleted.await, &manager, name(&engine.metadata))
    }

    async fn get(&self, engine: &Engine) -> Result<()> {
        let datastore = &self.manager.datastore;
        let manager = manager_of(
            datastore,
            &engine.status.instance_manager_name,
            &engine.spec.node_id,
            &engine.spec.data_engine,
        )?;
        let mut client = InstanceManagerClient::connect(&manager, false).await?;
        let engine_name = name(&engine.metadata);
        let found = client.get(&engine.spec.data_engine, engine_name, InstanceType::Engine).await?;
        if found.spec.data_engine == DataEngine::V2 && found.status.state == InstanceState::Stopped {
            return Err(Error::message(format!("instance {engine_name} is stopped")));
        }
        Ok(())
    }

    async fn print_log(&self, engine: &Engine) -> Result<()> {
        let manager = self.manager.datastore.instance_managers.get(&engine.status.instance_manager_name)?;
        let mut client = InstanceManagerClient::connect(&manager, false).await?;
        client.print_log(&engine.spec.data_engine, name(&engine.metadata), InstanceType::Engine).await
    }
}

/// Notes the manager that an instance is created in; another one than before is refused.
pub(crate) fn note_manager(noted: &mut String, manager: &str, what: &str) -> Result<()> {
    if noted.is_empty() {
        *noted = manager.to_owned();
    }
    if noted != manager {
        return Err(Error::message(format!(
            "found instance manager name conflict {noted} vs {manager} during {what} instance creation"
        )));
    }
    Ok(())
}

/// The manager that an instance was created in, else the one it would be created in.
pub(crate) fn manager_of(
    datastore: &Datastore,
    noted: &str,
    node: &str,
    engine: &DataEngine,
) -> Result<Arc<InstanceManager>> {
    if noted.is_empty() { datastore.instance_manager_for(node, engine) } else { datastore.instance_managers.get(noted) }
}

/// The manager to delete an instance in; none if there is nobody to ask.
pub(crate) fn manager_to_delete_in(
    datastore: &Datastore,
    noted: &str,
    node: &str,
    engine: &DataEngine,
) -> Option<Arc<InstanceManager>> {
    if noted.is_empty() && node.is_empty() {
        return None;
    }
    match manager_of(datastore, noted, node, engine) {
        Ok(manager) => Some(manager),
        Err(error) => {
            tracing::warn!(%error, "Failed to detect instance manager, will skip the actual instance deletion");
            None
        }
    }
}

/// Whether an instance's deletion is asked for at all. Since v1.8.0 a manager of unknown state is asked too, for luck.
pub(crate) fn may_be_reached(datastore: &Datastore, manager: &InstanceManager) -> bool {
    match manager.status.current_state {
        InstanceManagerState::Running => true,
        InstanceManagerState::Unknown => datastore.release().at_least(Release::V1_8_0_RC1),
        _ => false,
    }
}

/// An instance that is not there is deleted; a manager of unknown state need not answer.
pub(crate) fn forgive(deleted: Result<()>, manager: &InstanceManager, instance: &str) -> Result<()> {
    match deleted {
        Err(error) if error.says_cannot_find() => Ok(()),
        Err(error) if manager.status.current_state == InstanceManagerState::Unknown => {
            tracing::warn!(%error, "Ignored the failure to delete {instance} because instance manager is in unknown state");
            Ok(())
        }
        other => other,
    }
}
