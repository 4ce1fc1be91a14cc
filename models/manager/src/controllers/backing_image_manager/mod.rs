//! The backing-image-manager controller: keeps the pod of one disk's backing images, and has it fetch, copy and delete files
//! (`controller/backing_image_manager_controller.go`). Its monitor writes the files that the pod has into the status.

mod files;
mod monitor;
mod pod;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_kube_client::{Event, EventRecorder, EventType, Stop};
use k8s_openapi::api::core::v1::Pod;
use longhorn_api::kinds::backing_image::BackingImageState;
use longhorn_api::kinds::backing_image_manager::{BackingImageFileInfo, BackingImageManagerState};
use longhorn_api::{BackingImage, BackingImageManager, Node, labels};

use crate::engine::backing_image_manager::{BackingImageManagerClient, UNKNOWN_API_VERSION, is_compatible};
use crate::manager::Manager;
use crate::runtime::backoff::Backoff;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Context, Result, ownership};

const SHORTEST_BACKOFF: Duration = Duration::from_secs(60);
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// The backoff of the files of one manager.
type FileBackoff = Arc<Mutex<Backoff>>;

/// The controller.
pub struct BackingImageManagerController {
    manager: Arc<Manager>,
    queue: Queue,
    events: EventRecorder,
    /// Stops of the monitors that run, by backing image manager.
    monitors: Arc<Mutex<BTreeMap<String, Stop>>>,
    backoffs: Mutex<BTreeMap<String, FileBackoff>>,
    /// Copies that are being made on this node: the disk of each, by disk and image.
    replenishing: Mutex<BTreeMap<String, String>>,
}

/// Starts it: BackingImageManagers with resync; BackingImages, Nodes and the managers' pods without.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    let datastore = &manager.datastore;
    datastore.backing_image_managers.informer().add_handler(queue.handler());
    let (of, to) = (manager.clone(), queue.clone());
    let on_image = move |event: Event<BackingImage>| {
        let image = name(&event.object().metadata);
        for manager in of.datastore.backing_image_managers.list() {
            if manager.spec.backing_images.contains_key(image) {
                to.add(name(&manager.metadata));
            }
        }
    };
    datastore.backing_images.informer().add_handler_with_resync(Duration::ZERO, on_image);
    let (of, to) = (manager.clone(), queue.clone());
    let on_node = move |event: Event<Node>| {
        let node = name(&event.object().metadata);
        for manager in of.datastore.backing_image_managers.list_labelled(&[(labels::COMPONENT_NODE, node)]) {
            to.add(name(&manager.metadata));
        }
    };
    datastore.nodes.informer().add_handler_with_resync(Duration::ZERO, on_node);
    let (of, to) = (manager.clone(), queue.clone());
    let on_pod = move |event: Event<Pod>| {
        let pod = event.object();
        let is_own = labels::get(&pod.metadata, labels::COMPONENT) == Some("backing-image-manager");
        if is_own && of.datastore.backing_image_managers.find(name(&pod.metadata)).is_some() {
            to.add(name(&pod.metadata));
        }
    };
    datastore.pods.informer().add_handler_with_resync(Duration::ZERO, on_pod);
    let controller = BackingImageManagerController {
        manager: manager.clone(),
        queue: queue.clone(),
        events: manager.events(BackingImageManagerController::NAME),
        monitors: Arc::default(),
        backoffs: Mutex::default(),
        replenishing: Mutex::default(),
    };
    Runner::new(queue, Arc::new(controller)).start();
}

impl Reconcile for BackingImageManagerController {
    const NAME: &'static str = "longhorn-backing-image-manager";

    async fn reconcile(&self, manager_name: &str) -> Result<()> {
        let result = self.sync(manager_name).await;
        result.context(|| format!("BackingImageManagerController failed to sync {manager_name}"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BackingImageManagerController {
    async fn sync(&self, manager_name: &str) -> Result<()> {
        let (datastore, me) = (&self.manager.datastore, self.manager.node());
        let Some(found) = datastore.backing_image_managers.find(manager_name) else { return Ok(()) };
        if !datastore.is_responsible_on(me, &found.spec.node_id, &found.status.owner_id) {
            return Ok(());
        }
        let taken = ownership::take(&datastore.backing_image_managers, (*found).clone(), me).await?;
        let Some(mut manager) = taken else { return Ok(()) };
        if manager.metadata.deletion_timestamp.is_some() {
            self.clean_up(&manager).await?;
            return datastore.backing_image_managers.remove_finalizer(manager).await;
        }
        let before = manager.status.clone();
        let mut result = self.follow(&mut manager).await;
        if result.is_ok() && manager.status != before {
            result = datastore.backing_image_managers.update_status(&manager).await.map(drop);
        }
        match result {
            Err(error) if error.is_conflict() => {
                self.queue.add(manager_name);
                Ok(())
            }
            other => other,
        }
    }

    async fn follow(&self, manager: &mut BackingImageManager) -> Result<()> {
        manager.status.backing_image_file_map.make();
        let place = self.manager.datastore.ready_disk(&manager.spec.disk_uuid);
        let is_there =
            place.is_some_and(|place| place.node == manager.spec.node_id && place.path == manager.spec.disk_path);
        if !is_there {
            self.lose(manager);
            return Ok(());
        }
        self.follow_pod(manager).await.context(|| "failed to sync backing image manager pod")?;
        self.handle_files(manager).await
    }

    /// The node or the disk is not ready, or the disk is elsewhere: nobody knows what became of the files.
    fn lose(&self, manager: &mut BackingImageManager) {
        if manager.status.current_state == BackingImageManagerState::Unknown {
            return;
        }
        let state = &manager.status.current_state;
        let message = format!("Node or disk is not ready, will update state from {state} to unknown then return");
        self.events.event(manager, EventType::Warning, "Unknown", message);
        manager.status.current_state = BackingImageManagerState::Unknown;
        let manager_name = name(&manager.metadata).to_owned();
        self.stop_monitor(&manager_name);
        lock(&self.backoffs).remove(&manager_name);
        for file in manager.status.backing_image_file_map.values_mut() {
            if file.state != BackingImageState::Failed {
                file.state = BackingImageState::Unknown;
            }
        }
        for image_name in manager.spec.backing_images.keys() {
            if manager.status.backing_image_file_map.contains_key(image_name) {
                continue;
            }
            let Some(image) = self.manager.datastore.backing_images.find(image_name) else { continue };
            let file = BackingImageFileInfo {
                name: image_name.clone(),
                uuid: image.status.uuid.clone(),
                state: BackingImageState::Unknown,
                ..BackingImageFileInfo::default()
            };
            manager.status.backing_image_file_map.insert(image_name.as_str(), file);
        }
    }

    /// Deletes the files, as well as it goes, and the pod.
    async fn clean_up(&self, manager: &BackingImageManager) -> Result<()> {
        let datastore = &self.manager.datastore;
        let manager_name = name(&manager.metadata);
        let is_current = manager.spec.image == datastore.backing_image_manager_image()?;
        if is_current
            && manager.status.current_state == BackingImageManagerState::Running
            && !manager.status.ip.is_empty()
        {
            match BackingImageManagerClient::of(manager) {
                Ok(mut client) => {
                    for (image, file) in datastore.in_map_order(manager.status.backing_image_file_map.iter()) {
                        if let Err(error) = client.delete(image, &file.uuid).await {
                            tracing::warn!(%error, "will skip deleting the file for backing image {image}");
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "will skip deleting all files"),
            }
        }
        lock(&self.replenishing).retain(|_, disk| *disk != manager.spec.disk_uuid);
        self.stop_monitor(manager_name);
        lock(&self.backoffs).remove(manager_name);
        self.delete_pod(manager_name).await
    }

    fn backoff(&self, manager_name: &str) -> FileBackoff {
        let new = || Arc::new(Mutex::new(Backoff::new(SHORTEST_BACKOFF, LONGEST_BACKOFF)));
        lock(&self.backoffs).entry(manager_name.to_owned()).or_insert_with(new).clone()
    }

    async fn handle_files(&self, manager: &mut BackingImageManager) -> Result<()> {
        let datastore = &self.manager.datastore;
        let runs = manager.status.current_state == BackingImageManagerState::Running;
        let status = &manager.status;
        if !runs || manager.spec.image != datastore.backing_image_manager_image()? {
            return Ok(());
        }
        if !is_compatible(status.api_min_version, status.api_version) {
            tracing::warn!("Skipping handling files for incompatible backing image manager");
            return Ok(());
        }
        let mut client = BackingImageManagerClient::of(manager)?;
        let deleted = self.delete_invalid_files(manager, &mut client).await;
        deleted.context(|| "failed to do cleanup for invalid backing images")?;
        self.prepare_files(manager, &mut client).await.context(|| "failed to prepare backing image files")
    }

    /// Asks for the versions once.
    async fn note_versions(&self, manager: &mut BackingImageManager) -> Result<()> {
        if manager.status.current_state != BackingImageManagerState::Running {
            manager.status.api_version = UNKNOWN_API_VERSION;
            manager.status.api_min_version = UNKNOWN_API_VERSION;
        } else if manager.status.api_version == UNKNOWN_API_VERSION {
            let (oldest, newest) = BackingImageManagerClient::of(manager)?.versions().await?;
            manager.status.api_min_version = oldest;
            manager.status.api_version = newest;
        }
        Ok(())
    }
}
