//! The backing-image-data-source controller: keeps the pod that prepares a backing image's first file, until a backing image manager has
//! taken the file over (`controller/backing_image_data_source_controller.go`).
//!
//! Sources of type download, upload, restore and clone; an export from a volume needs the volume's snapshot and is refused by the pod.

mod monitor;
mod pod;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_kube_client::{DeleteParams, Event};
use host::JoinHandle;
use k8s_openapi::api::core::v1::Pod;
use longhorn_api::kinds::backing_image::{BackingImageDiskFileSpec, BackingImageState};
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{BackingImage, BackingImageDataSource, Node, labels, names};

use crate::manager::Manager;
use crate::runtime::backoff::Backoff;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Context, Result, ownership};

const SHORTEST_BACKOFF: Duration = Duration::from_secs(60);
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// The controller.
pub struct BackingImageDataSourceController {
    manager: Arc<Manager>,
    queue: Queue,
    monitors: Arc<Mutex<BTreeMap<String, JoinHandle<()>>>>,
    backoff: Arc<Mutex<Backoff>>,
}

/// Starts it: BackingImageDataSources with resync; BackingImages, Nodes and their pods without.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    let datastore = &manager.datastore;
    datastore.backing_image_data_sources.informer().add_handler(queue.handler());
    let to = queue.clone();
    let on_image = move |event: Event<BackingImage>| to.add(name(&event.object().metadata));
    datastore.backing_images.informer().add_handler_with_resync(Duration::ZERO, on_image);
    let (of, to) = (manager.clone(), queue.clone());
    let on_node = move |event: Event<Node>| {
        let node = name(&event.object().metadata);
        let sources = of.datastore.backing_image_data_sources.list();
        sources.iter().filter(|source| source.spec.node_id == node).for_each(|source| to.add(name(&source.metadata)));
    };
    datastore.nodes.informer().add_handler_with_resync(Duration::ZERO, on_node);
    let to = queue.clone();
    let on_pod = move |event: Event<Pod>| {
        if let Some(source) = labels::get(&event.object().metadata, labels::BACKING_IMAGE_DATA_SOURCE) {
            to.add(source);
        }
    };
    datastore.pods.informer().add_handler_with_resync(Duration::ZERO, on_pod);
    let controller = BackingImageDataSourceController {
        manager: manager.clone(),
        queue: queue.clone(),
        monitors: Arc::default(),
        backoff: Arc::new(Mutex::new(Backoff::new(SHORTEST_BACKOFF, LONGEST_BACKOFF))),
    };
    Runner::new(queue, Arc::new(controller)).start();
}

impl Reconcile for BackingImageDataSourceController {
    const NAME: &'static str = "longhorn-backing-image-data-source";

    async fn reconcile(&self, source_name: &str) -> Result<()> {
        let result = self.sync(source_name).await;
        result.context(|| format!("failed to sync backing image data source for {source_name}"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BackingImageDataSourceController {
    async fn sync(&self, source_name: &str) -> Result<()> {
        let (datastore, me) = (&self.manager.datastore, self.manager.node());
        let Some(found) = datastore.backing_image_data_sources.find(source_name) else { return Ok(()) };
        if !datastore.is_responsible_on(me, &found.spec.node_id, &found.status.owner_id) {
            return Ok(());
        }
        let taken = ownership::take(&datastore.backing_image_data_sources, (*found).clone(), me).await?;
        let Some(mut source) = taken else { return Ok(()) };
        if source.metadata.deletion_timestamp.is_some() {
            return self.delete(source).await;
        }
        let before = source.status.clone();
        let mut result = self.follow(&mut source).await;
        if result.is_ok() && source.status != before {
            result = datastore.backing_image_data_sources.update_status(&source).await.map(drop);
        }
        match result {
            Err(error) if error.is_conflict() => {
                self.queue.add(source_name);
                Ok(())
            }
            other => other,
        }
    }

    /// A file that no manager has is cleaned up first, by the disk's manager.
    async fn delete(&self, mut source: BackingImageDataSource) -> Result<()> {
        let store = &self.manager.datastore.backing_image_data_sources;
        self.clean_up(&mut source).await?;
        let is_done =
            source.spec.file_transferred || source.status.current_state == BackingImageState::FailedAndCleanUp;
        if is_done {
            return store.remove_finalizer(source).await;
        }
        let what = "backing image is deleted, requesting manager to clean up the tmp file of backing image data source";
        source.status.message = what.to_owned();
        source.status.current_state = BackingImageState::Failed;
        store.update_status(&source).await.map(drop)
    }

    async fn follow(&self, source: &mut BackingImageDataSource) -> Result<()> {
        self.claim_disk(source).await?;
        if source.spec.file_transferred {
            source.status.current_state = BackingImageState::Ready;
            return self.clean_up(source).await;
        }
        let spec = &source.spec;
        let place = self.manager.datastore.ready_disk(&spec.disk_uuid);
        let is_there = place.is_some_and(|place| place.node == spec.node_id && place.path == spec.disk_path);
        if !is_there {
            source.status.current_state = BackingImageState::Unknown;
            return Ok(());
        }
        self.follow_pod(source).await.context(|| "failed to sync backing image data source pod")
    }

    /// Says in the image's spec that the first file is to be on this disk.
    async fn claim_disk(&self, source: &BackingImageDataSource) -> Result<()> {
        let store = &self.manager.datastore.backing_images;
        let image = store.get(name(&source.metadata))?;
        let mut changed = (*image).clone();
        let wanted = changed.spec.disk_file_spec_map.make();
        if !source.spec.file_transferred {
            let new = || BackingImageDiskFileSpec { data_engine: DataEngine::V1, ..Default::default() };
            wanted.entry(source.spec.disk_uuid.clone()).or_insert_with(new);
        }
        if changed.spec != image.spec {
            store.update(&changed).await?;
        }
        Ok(())
    }

    /// Ends the monitor and deletes the pod.
    async fn clean_up(&self, source: &mut BackingImageDataSource) -> Result<()> {
        let source_name = name(&source.metadata);
        self.stop_monitor(source_name);
        let pods = &self.manager.datastore.pods;
        let pod_name = names::backing_image_data_source_pod(source_name);
        if pods.find(&pod_name).is_some_and(|pod| pod.metadata.deletion_timestamp.is_none()) {
            match pods.api().delete(&pod_name, &DeleteParams::default()).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        source.status.storage_ip.clear();
        source.status.ip.clear();
        Ok(())
    }
}
