//! The backing-image controller: gives each image its UUID, a source for its first file and a manager on each disk that has a copy, and
//! says in its status what these know of the copies (`controller/backing_image_controller.go`).
//!
//! Images of the second data engine get their files of the first one here; the copies on block disks are not made.

mod files;
mod managers;
mod source;

use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::{Event, EventRecorder, EventType};
use longhorn_api::kinds::backing_image::BackingImageState;
use longhorn_api::{BackingImage, BackingImageDataSource, BackingImageManager, Node, Replica, labels};

use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Context, Datastore, Error, Result, ownership};

/// The controller.
pub struct BackingImageController {
    manager: Arc<Manager>,
    queue: Queue,
    events: EventRecorder,
}

/// Starts it: BackingImages with resync; their managers, sources, replicas and Nodes without.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    let datastore = &manager.datastore;
    datastore.backing_images.informer().add_handler(queue.handler());
    let to = queue.clone();
    let on_manager = move |event: Event<BackingImageManager>| {
        event.object().spec.backing_images.keys().for_each(|image| to.add(image));
    };
    datastore.backing_image_managers.informer().add_handler_with_resync(Duration::ZERO, on_manager);
    let to = queue.clone();
    let on_source = move |event: Event<BackingImageDataSource>| to.add(name(&event.object().metadata));
    datastore.backing_image_data_sources.informer().add_handler_with_resync(Duration::ZERO, on_source);
    let to = queue.clone();
    let on_replica = move |event: Event<Replica>| {
        let image = &event.object().spec.backing_image;
        if !image.is_empty() {
            to.add(image);
        }
    };
    datastore.replicas.informer().add_handler_with_resync(Duration::ZERO, on_replica);
    let (of, to) = (manager.clone(), queue.clone());
    let on_node = move |event: Event<Node>| {
        let node = event.object();
        for image in of.datastore.backing_images.list() {
            let has_copy = |uuid: &String| image.spec.disk_file_spec_map.contains_key(uuid);
            if node.status.disk_status.values().any(|disk| has_copy(&disk.disk_uuid)) {
                to.add(name(&image.metadata));
            }
        }
    };
    datastore.nodes.informer().add_handler_with_resync(Duration::ZERO, on_node);
    let events = manager.events(BackingImageController::NAME);
    let controller = BackingImageController { manager: manager.clone(), queue: queue.clone(), events };
    Runner::new(queue, Arc::new(controller)).start();
}

impl Reconcile for BackingImageController {
    const NAME: &'static str = "longhorn-backing-image";

    async fn reconcile(&self, image_name: &str) -> Result<()> {
        self.sync(image_name).await.context(|| format!("failed to sync backing image for {image_name}"))
    }
}

impl BackingImageController {
    async fn sync(&self, image_name: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        let Some(image) = datastore.backing_images.find(image_name) else { return Ok(()) };
        let me = self.manager.node();
        if !datastore.is_responsible_for(me, &image.status.owner_id) {
            return Ok(());
        }
        let taken = ownership::take(&datastore.backing_images, (*image).clone(), me).await?;
        let Some(mut image) = taken else { return Ok(()) };
        if image.status.uuid.is_empty() {
            // Eight characters of a random UUID (`util.RandomID`).
            image.status.uuid = datastore.random_digits(8);
            image = match datastore.backing_images.update_status(&image).await {
                Err(error) if error.is_conflict() => {
                    return {
                        self.queue.add(image_name);
                        Ok(())
                    };
                }
                updated => updated?,
            };
            let message = format!("Initialized UUID to {}", image.status.uuid);
            self.events.event(&image, EventType::Normal, "Update", message);
        }
        if image.metadata.deletion_timestamp.is_some() {
            return self.delete(image).await;
        }
        let before = image.clone();
        self.follow(&mut image).await?;
        self.write(&before, image).await;
        Ok(())
    }

    /// Writes what changed: the spec first, then the status with the version that it had before, which then is a conflict.
    async fn write(&self, before: &BackingImage, image: BackingImage) {
        let store = &self.manager.datastore.backing_images;
        if image.spec != before.spec
            && let Err(error) = store.update(&image).await
            && error.is_conflict()
        {
            self.queue.add(name(&image.metadata));
        }
        if image.status != before.status
            && let Err(error) = store.update_status(&image).await
            && error.is_conflict()
        {
            self.queue.add(name(&image.metadata));
        }
    }

    async fn follow(&self, image: &mut BackingImage) -> Result<()> {
        image.status.disk_file_status_map.make();
        image.status.disk_last_ref_at_map.make();
        self.keep_source(image).await?;
        // The source says first where a copy is to be.
        if image.spec.disk_file_spec_map.is_nil() {
            return Ok(());
        }
        self.keep_managers(image).await.context(|| "failed to handle backing image managers")?;
        self.follow_files(image);
        self.note_references(image);
        self.replenish(image)?;
        self.evict(image);
        Ok(())
    }

    async fn delete(&self, image: BackingImage) -> Result<()> {
        let datastore = &self.manager.datastore;
        if !datastore.replicas_of_image(name(&image.metadata)).is_empty() {
            tracing::warn!("Waiting for all replicas stopping using this backing image before removing the finalizer");
            return Ok(());
        }
        if let Some(source) = datastore.backing_image_data_sources.find(name(&image.metadata)) {
            let is_clean = source.status.current_state == BackingImageState::FailedAndCleanUp;
            if !source.spec.file_transferred && !is_clean {
                tracing::warn!("Waiting until backing image data source is cleaned before removing the finalizer");
                return Ok(());
            }
        }
        self.clean_up_managers(&image).await?;
        datastore.backing_images.remove_finalizer(image).await
    }

    fn event(&self, image: &BackingImage, reason: &str, message: String) {
        self.events.event(image, EventType::Normal, reason, message);
    }
}

impl Datastore {
    /// The replicas of volumes on a backing image (`ListReplicasByBackingImage`).
    pub(crate) fn replicas_of_image(&self, image: &str) -> Vec<Arc<Replica>> {
        self.replicas.list_labelled(&[(labels::BACKING_IMAGE_OF_REPLICA, image)])
    }

    /// The image of backing image managers that this release works with.
    pub(super) fn backing_image_manager_image(&self) -> Result<String> {
        let image = self.existing_setting_value(longhorn_api::settings::DEFAULT_BACKING_IMAGE_MANAGER_IMAGE);
        image.map_err(|error| Error::message(error.to_string()))
    }
}
