//! The kubernetes-node controller: a Longhorn Node goes when its Kubernetes node is gone, and gets its first disks and tags from labels and
//! annotations of the Kubernetes node (`controller/kubernetes_node_controller.go`).

use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::Event;
use k8s_openapi::api::core::v1::Node as KubernetesNode;
use longhorn_api::kinds::node::{DiskDriver, DiskSpec, DiskType};
use longhorn_api::{Node, Setting, labels, settings};
use serde::Deserialize;

use super::node::default_disk;
use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Context, Error, Result};

/// The controller.
pub struct KubernetesNodeController {
    manager: Arc<Manager>,
    queue: Queue,
}

/// Starts it: Kubernetes' nodes with resync, Longhorn's and the setting of labelled disks without.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    let on_kubernetes_node = queue.clone();
    let handler = move |event: Event<KubernetesNode>| {
        if !matches!(event, Event::Added { .. }) {
            on_kubernetes_node.add(name(&event.object().metadata));
        }
    };
    manager.datastore.kubernetes_node_informer().add_handler(handler);
    manager.datastore.nodes.informer().add_handler_with_resync(Duration::ZERO, queue.handler::<Node>());
    let (of, to) = (manager.clone(), queue.clone());
    let on_setting = move |event: Event<Setting>| {
        if name(&event.object().metadata) == settings::CREATE_DEFAULT_DISK_LABELED_NODES {
            to.add(of.node());
        }
    };
    manager.datastore.settings.informer().add_handler_with_resync(Duration::ZERO, on_setting);
    let controller = KubernetesNodeController { manager: manager.clone(), queue: queue.clone() };
    Runner::new(queue, Arc::new(controller)).start();
}

impl Reconcile for KubernetesNodeController {
    const NAME: &'static str = "longhorn-kubernetes-node";

    async fn reconcile(&self, node_name: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        let Some(kubernetes_node) = datastore.kubernetes_nodes.get(node_name) else {
            tracing::info!("Cleaning up Longhorn node {node_name} since failed to find the related kubernetes node");
            return datastore.nodes.delete(node_name).await.context(|| format!("failed to sync node {node_name}"));
        };
        let Some(node) = datastore.nodes.find(node_name).filter(|_| node_name == self.manager.node()) else {
            return Ok(());
        };
        let mut changed = (*node).clone();
        self.give_disks(&mut changed, &kubernetes_node).await.context(|| format!("failed to sync node {node_name}"))?;
        give_tags(&mut changed, &kubernetes_node);
        if changed.spec == node.spec {
            return Ok(());
        }
        match datastore.nodes.update(&changed).await {
            Err(error) if error.is_conflict() => {
                self.queue.add(node_name);
                Ok(())
            }
            other => other.map(drop),
        }
    }
}

impl KubernetesNodeController {
    /// The disks that the node's label asks for, if nodes get theirs by label and this one has none.
    async fn give_disks(&self, node: &mut Node, kubernetes_node: &KubernetesNode) -> Result<()> {
        let datastore = &self.manager.datastore;
        if !datastore.setting_flag(settings::CREATE_DEFAULT_DISK_LABELED_NODES)? || !node.spec.disks.is_empty() {
            return Ok(());
        }
        let label = labels::get(&kubernetes_node.metadata, labels::NODE_CREATE_DEFAULT_DISK).map(str::to_lowercase);
        match label.as_deref() {
            Some(labels::TRUE) => {
                let path = datastore.existing_setting_value(settings::DEFAULT_DATA_PATH)?;
                let (disk_name, disk) = default_disk(&self.manager, &path).await?;
                node.spec.disks.insert(disk_name, disk);
            }
            Some("config") => {
                let annotations = kubernetes_node.metadata.annotations.as_ref();
                let Some(text) = annotations.and_then(|all| all.get(labels::NODE_DEFAULT_DISKS_CONFIG)) else {
                    return Ok(());
                };
                match self.configured_disks(text).await {
                    Ok(disks) => {
                        disks.into_iter().for_each(|(disk_name, disk)| drop(node.spec.disks.insert(disk_name, disk)))
                    }
                    Err(error) => tracing::warn!(%error, "Failed to create disk from annotation"),
                }
            }
            Some(other) => tracing::warn!("Got invalid label value for {}: {other}", labels::NODE_CREATE_DEFAULT_DISK),
            None => {}
        }
        Ok(())
    }

    async fn configured_disks(&self, text: &str) -> Result<Vec<(String, DiskSpec)>> {
        let configured: Vec<ConfiguredDisk> =
            serde_json::from_str(text).map_err(|error| Error::message(format!("invalid annotation: {error}")))?;
        let mut disks = Vec::new();
        for one in configured {
            let (own_name, default) = default_disk(&self.manager, &one.path).await?;
            let disk = DiskSpec {
                disk_type: if one.disk_type.is_empty() {
                    default.disk_type
                } else {
                    DiskType::from(one.disk_type.as_str())
                },
                disk_driver: DiskDriver::from(one.disk_driver.as_str()),
                allow_scheduling: one.allow_scheduling,
                storage_reserved: one.storage_reserved.unwrap_or(default.storage_reserved),
                tags: one.tags.into_iter().collect(),
                path: one.path,
                ..DiskSpec::default()
            };
            let disk_name = if one.name.is_empty() { own_name } else { one.name };
            if disks.iter().any(|(known, other): &(String, DiskSpec)| *known == disk_name || other.path == disk.path) {
                return Err(Error::message(format!(
                    "invalid disk {disk_name}: the name or the path {} is there twice",
                    disk.path
                )));
            }
            disks.push((disk_name, disk));
        }
        Ok(disks)
    }
}

/// A disk in the annotation of a Kubernetes node.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfiguredDisk {
    #[serde(default)]
    name: String,
    path: String,
    #[serde(default)]
    allow_scheduling: bool,
    storage_reserved: Option<i64>,
    #[serde(default)]
    disk_type: String,
    #[serde(default)]
    disk_driver: String,
    #[serde(default)]
    tags: Vec<String>,
}

/// The tags that the node's annotation names, if it has none.
fn give_tags(node: &mut Node, kubernetes_node: &KubernetesNode) {
    let annotations = kubernetes_node.metadata.annotations.as_ref();
    let Some(text) =
        annotations.and_then(|all| all.get(labels::NODE_DEFAULT_TAGS)).filter(|_| node.spec.tags.is_empty())
    else {
        return;
    };
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(tags) => node.spec.tags = tags.into_iter().collect(),
        Err(error) => tracing::warn!(%error, "Failed to set default node tags for node {}", name(&node.metadata)),
    }
}
