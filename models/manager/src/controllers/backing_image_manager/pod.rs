//! The pod of a backing image manager, and the state that follows from it (`syncBackingImageManagerPod`).
//!
//! It is bound to its node by name and never restarted: if its container ends, the controller makes another pod, with nothing of what the
//! old one remembered.

use corral_kube_client::{DeleteParams, EventType};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use longhorn_api::kinds::backing_image::BackingImageState;
use longhorn_api::kinds::backing_image_manager::BackingImageManagerState;
use longhorn_api::{BackingImageManager, labels};
use serde_json::{Value, json};

use super::super::system_pod::{self, SystemPod};
use super::BackingImageManagerController;
use crate::pods::node_of;
use crate::runtime::backups::{name, owner_reference};
use crate::runtime::{Context, Result};

impl BackingImageManagerController {
    pub(super) async fn follow_pod(&self, manager: &mut BackingImageManager) -> Result<()> {
        let datastore = &self.manager.datastore;
        let manager_name = name(&manager.metadata).to_owned();
        self.follow_state(manager, datastore.pods.find(&manager_name).as_deref());
        self.note_versions(manager).await?;
        if manager.spec.image != datastore.backing_image_manager_image()? {
            return Ok(());
        }
        if manager.status.current_state == BackingImageManagerState::Running {
            self.start_monitor(manager).await;
        } else {
            self.stop_monitor(&manager_name);
        }
        use BackingImageManagerState::{Error, Stopped};
        if !matches!(manager.status.current_state, Error | Stopped) {
            return Ok(());
        }
        for file in manager.status.backing_image_file_map.values_mut() {
            if file.state != BackingImageState::Failed {
                file.state = BackingImageState::Unknown;
                file.message = "Backing image manager pod is not running".to_owned();
            }
        }
        match datastore.pods.find(&manager_name) {
            Some(pod) if pod.metadata.deletion_timestamp.is_none() => self.delete_pod(&manager_name).await,
            Some(_terminating) => Ok(()),
            // A node that its pods are driven from gets none from elsewhere.
            None if self.manager.node() != manager.spec.node_id => Ok(()),
            None => {
                self.create_pod(manager).await.context(|| "failed to create backing image manager pod")?;
                manager.status.current_state = BackingImageManagerState::Starting;
                let (disk, node) = (&manager.spec.disk_uuid, &manager.spec.node_id);
                let message = format!(
                    "Creating backing image manager pod {manager_name} for disk {disk} on node {node}. Backing image manager state \
                     will become starting"
                );
                self.events.event(manager, EventType::Normal, "Create", message);
                Ok(())
            }
        }
    }

    fn follow_state(&self, manager: &mut BackingImageManager, pod: Option<&Pod>) {
        use BackingImageManagerState as State;
        let before = manager.status.current_state.clone();
        let next = match pod {
            None if matches!(before, State::Unset | State::Stopped) => State::Stopped,
            None => State::Error,
            Some(pod) if node_of(pod) != manager.spec.node_id || pod.metadata.deletion_timestamp.is_some() => {
                State::Error
            }
            Some(pod) => match (system_pod::phase(pod), system_pod::is_ready(pod)) {
                ("Pending", _) if before == State::Running => State::Error,
                ("Pending", _) => State::Starting,
                ("Running", true) => State::Running,
                ("Running", false) if before == State::Running => State::Error,
                ("Running", false) => before.clone(),
                _ => State::Error,
            },
        };
        if next == State::Running
            && let Some(pod) = pod
        {
            let ip = system_pod::address(pod).to_owned();
            manager.status.storage_ip.clone_from(&ip);
            manager.status.ip = ip;
        }
        if next != before && matches!(next, State::Running | State::Error) {
            let kind = if next == State::Running { EventType::Normal } else { EventType::Warning };
            let message = format!("Backing image manager becomes state {next}, was {before}");
            self.events.event(manager, kind, "Update", message);
        }
        manager.status.current_state = next;
    }

    pub(super) async fn delete_pod(&self, pod: &str) -> Result<()> {
        match self.manager.datastore.pods.api().delete(pod, &DeleteParams::default()).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn create_pod(&self, manager: &BackingImageManager) -> Result<()> {
        let spec = &manager.spec;
        let owner =
            OwnerReference { controller: Some(true), block_owner_deletion: Some(true), ..owner_reference(manager) };
        let pod = SystemPod {
            name: name(&manager.metadata),
            container: "backing-image-manager",
            image: &spec.image,
            labels: labels::of_backing_image_manager(&spec.node_id, &spec.disk_uuid),
            owner,
            node: &spec.node_id,
            disk_path: &spec.disk_path,
            port: crate::engine::backing_image_manager::PORT,
            command: command(),
        };
        match self.manager.datastore.pods.api().create(&pod.manifest(&self.manager)?).await {
            Err(error) if !error.is_already_exists() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn command() -> Value {
    json!(["backing-image-manager", "--debug", "daemon", "--listen", "0.0.0.0:8000", "--sync-listen", "0.0.0.0:8001"])
}
