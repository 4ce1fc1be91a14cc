//! The engine-image controller: one DaemonSet for each engine image, and on which nodes its binary is
//! (`controller/engine_image_controller.go`). Ownership of everything about backups asks for the default image's map.
//!
//! The automatic upgrade of volumes is left out.

use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::{Event, EventRecorder, EventType};
use k8s_openapi::api::apps::v1::DaemonSet;
use longhorn_api::go::Map;
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::engine_image::{CONDITION_READY, EngineImageState, REASON_BINARY, REASON_DAEMON_SET};
use longhorn_api::{Defect, EngineImage, Volume, labels, names, settings};

use super::engine_image_daemon_set as daemon_set;
use crate::engine::answers::EngineVersion;
use crate::engine::execute;
use crate::manager::Manager;
use crate::pods;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Context, Error, Result, clock, ownership};

/// How long an image that nobody uses is kept, unless it is the default.
const UNUSED_LIMIT: Duration = Duration::from_secs(3600);
/// How long `longhorn version` may take.
const VERSION_TIMEOUT: Duration = Duration::from_secs(60);
/// The command-line interface of these releases' managers, and the oldest they work with (longhorn-engine `pkg/meta`).
const CLI_API_VERSION: i64 = 10;
const CLI_API_MIN_VERSION: i64 = 8;

/// The controller.
pub struct EngineImageController {
    manager: Arc<Manager>,
    queue: Queue,
    events: EventRecorder,
}

/// Starts it: EngineImages with resync; Volumes and DaemonSets without.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    let datastore = &manager.datastore;
    datastore.engine_images.informer().add_handler(queue.handler::<EngineImage>());
    let on_volume = queue.clone();
    let handler = move |event: Event<Volume>| {
        let mut volumes = vec![event.object().clone()];
        if let Event::Updated { old, .. } = &event {
            volumes.push(old.clone());
        }
        for image in volumes.iter().flat_map(|volume| [&volume.spec.image, &volume.status.current_image]) {
            if !image.is_empty() {
                on_volume.add(&names::engine_image(image));
            }
        }
    };
    datastore.volumes.informer().add_handler_with_resync(Duration::ZERO, handler);
    let on_daemon_set = queue.clone();
    let handler = move |event: Event<DaemonSet>| {
        let owner = event.object().metadata.owner_references.iter().flatten().next();
        if let Some(owner) = owner.filter(|owner| owner.kind == "EngineImage") {
            on_daemon_set.add(&owner.name);
        }
    };
    datastore.daemon_sets.informer().add_handler_with_resync(Duration::ZERO, handler);
    let events = manager.events(EngineImageController::NAME);
    let controller = EngineImageController { manager: manager.clone(), queue: queue.clone(), events };
    Runner::new(queue, Arc::new(controller)).start();
}

impl Reconcile for EngineImageController {
    const NAME: &'static str = "longhorn-engine-image";

    async fn reconcile(&self, name: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        let Some(engine_image) = datastore.engine_images.find(name) else { return Ok(()) };
        let me = self.manager.node();
        if !datastore.is_responsible_for_engine_image(me, &engine_image)? {
            return Ok(());
        }
        let taken = ownership::take(&datastore.engine_images, (*engine_image).clone(), me).await?;
        let Some(mut engine_image) = taken else { return Ok(()) };
        let expected = names::engine_image(&engine_image.spec.image);
        if name != expected {
            let image = &engine_image.spec.image;
            return Err(Error::message(format!(
                "image {image} checksum name {expected} doesn't match engine image name {name}"
            )));
        }
        if engine_image.metadata.deletion_timestamp.is_some() {
            return datastore.engine_images.remove_finalizer(engine_image).await;
        }
        let before = engine_image.status.clone();
        let mut result = self.keep(&mut engine_image).await;
        if result.is_ok() && engine_image.status != before {
            result = datastore.engine_images.update_status(&engine_image).await.map(drop);
        }
        match result {
            Err(error) if error.is_conflict() => {
                self.queue.add(name);
                Ok(())
            }
            other => other.context(|| format!("failed to sync engine image for {name}")),
        }
    }
}

impl EngineImageController {
    async fn keep(&self, engine_image: &mut EngineImage) -> Result<()> {
        let datastore = &self.manager.datastore;
        let engine_image_name = name(&engine_image.metadata).to_owned();
        let daemon_set_name = names::engine_image_daemon_set(&engine_image_name);
        let Some(existing) = datastore.daemon_sets.find(&daemon_set_name) else {
            let wanted = daemon_set::daemon_set(&self.manager, engine_image)?;
            let created = datastore.daemon_sets.api().create(&wanted).await;
            created.context(|| format!("failed to create daemonset for engine image {engine_image_name}"))?;
            let message = format!("creating daemon set {daemon_set_name} for {}", engine_image.spec.image);
            self.set_not_ready(engine_image, REASON_DAEMON_SET, &message);
            engine_image.status.state = EngineImageState::Deploying;
            return Ok(());
        };
        if !daemon_set::is_owned_by_engine_image(&existing) {
            let mut owned = (*existing).clone();
            owned.metadata.owner_references = Some(vec![daemon_set::owner(engine_image)]);
            datastore.daemon_sets.api().update(&owned).await?;
        }
        self.count_users(engine_image);
        self.delete_if_unused(engine_image).await?;
        self.map_deployment(engine_image);
        if !execute::binary_exists(&engine_image.spec.image).await {
            self.set_not_ready(engine_image, REASON_DAEMON_SET, "engine binary check failed");
            engine_image.status.state = EngineImageState::Deploying;
            return Ok(());
        }
        read_version(engine_image).await?;
        if !is_compatible(engine_image) {
            self.set_not_ready(engine_image, REASON_BINARY, "incompatible");
            engine_image.status.incompatible = true;
            return Ok(());
        }
        self.judge_deployment(engine_image);
        Ok(())
    }

    /// Counts the volumes, engines and replicas that use the image, and notes since when there are none.
    fn count_users(&self, engine_image: &mut EngineImage) {
        let (datastore, image) = (&self.manager.datastore, &engine_image.spec.image);
        let uses = |wanted: &String, current: &String| wanted == image || current == image;
        let volumes = datastore.volumes.list();
        let engines = datastore.engines.list();
        let replicas = datastore.replicas.list();
        let volumes = volumes.iter().filter(|volume| uses(&volume.spec.image, &volume.status.current_image));
        let engines = engines.iter().filter(|engine| uses(&engine.spec.image, &engine.status.current_image));
        let replicas = replicas.iter().filter(|replica| uses(&replica.spec.image, &replica.status.current_image));
        let users = volumes.count() + engines.count() + replicas.count();
        engine_image.status.ref_count = users.try_into().unwrap_or(i64::MAX);
        if engine_image.status.ref_count > 0 {
            engine_image.status.no_ref_since.clear();
        } else if engine_image.status.no_ref_since.is_empty() {
            engine_image.status.no_ref_since = clock::now_text();
        }
    }

    async fn delete_if_unused(&self, engine_image: &EngineImage) -> Result<()> {
        let since: Result<jiff::Timestamp, _> = engine_image.status.no_ref_since.parse();
        let unused = since.is_ok_and(|since| clock::now().0 > since + UNUSED_LIMIT);
        if !unused {
            return Ok(());
        }
        let datastore = &self.manager.datastore;
        if engine_image.spec.image == datastore.existing_setting_value(settings::DEFAULT_ENGINE_IMAGE)? {
            return Ok(());
        }
        tracing::info!("Cleaning engine image since it expired");
        datastore.engine_images.delete_foreground(name(&engine_image.metadata)).await
    }

    /// Notes for every node whether the DaemonSet's pod there is ready; its readiness probe runs the binary.
    fn map_deployment(&self, engine_image: &mut EngineImage) {
        let datastore = &self.manager.datastore;
        let nodes = datastore.nodes.list();
        let mut deployment: Map<bool> = nodes.iter().map(|node| (name(&node.metadata), false)).collect();
        let selector = [(labels::COMPONENT, "engine-image"), (labels::ENGINE_IMAGE, name(&engine_image.metadata))];
        for pod in datastore.pods.list_labelled(&selector) {
            let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
            deployment.insert(pods::node_of(&pod), containers.into_iter().all(|container| container.ready));
        }
        engine_image.status.node_deployment_map = deployment;
    }

    /// Deployed if the binary is on as many nodes as are ready.
    fn judge_deployment(&self, engine_image: &mut EngineImage) {
        let deployment = &engine_image.status.node_deployment_map;
        let (deployed, known) = (deployment.values().filter(|deployed| **deployed).count(), deployment.len());
        if deployed < self.manager.datastore.ready_nodes().len() {
            let message = format!("Engine image is not fully deployed on all nodes: {deployed} of {known}");
            self.set_not_ready(engine_image, REASON_DAEMON_SET, &message);
            engine_image.status.state = EngineImageState::Deploying;
            return;
        }
        let (engine_image_name, image) = (name(&engine_image.metadata), &engine_image.spec.image);
        let message = format!("Engine image {engine_image_name} ({image}) is fully deployed on all ready nodes");
        if engine_image.status.conditions.condition(CONDITION_READY).status != ConditionStatus::True {
            self.events.event(engine_image, EventType::Normal, CONDITION_READY, message.clone());
        }
        let now = clock::now_text();
        engine_image.status.conditions.set_condition(CONDITION_READY, ConditionStatus::True, "", &message, &now);
        engine_image.status.state = EngineImageState::Deployed;
    }

    fn set_not_ready(&self, engine_image: &mut EngineImage, reason: &str, message: &str) {
        let now = clock::now_text();
        engine_image.status.conditions.set_condition(CONDITION_READY, ConditionStatus::False, reason, message, &now);
    }
}

/// Asks the binary what it is.
async fn read_version(engine_image: &mut EngineImage) -> Result<()> {
    let (engine_image_name, image) = (name(&engine_image.metadata).to_owned(), engine_image.spec.image.clone());
    let output = execute::execute(&image, &["version", "--client-only"], Vec::new(), Some(VERSION_TIMEOUT)).await;
    let output = output.context(|| format!("cannot get engine version for {engine_image_name} ({image})"))?;
    let version: EngineVersion = serde_json::from_str(&output)
        .map_err(|error| Error::message(format!("cannot decode engine version of {image}: {error}: {output}")))?;
    let (status, version) = (&mut engine_image.status, version.client_version);
    status.version = version.version;
    status.git_commit = version.git_commit;
    status.build_date = version.build_date;
    status.cli_api_version = version.cli_api_version;
    status.cli_api_min_version = version.cli_api_min_version;
    status.controller_api_version = version.controller_api_version;
    status.controller_api_min_version = version.controller_api_min_version;
    status.data_format_version = version.data_format_version;
    status.data_format_min_version = version.data_format_min_version;
    Ok(())
}

fn is_compatible(engine_image: &EngineImage) -> bool {
    engine_image.status.cli_api_version >= CLI_API_MIN_VERSION
        && CLI_API_VERSION >= engine_image.status.cli_api_min_version
}

/// Creates the resource of an image if there is none (`DeployEngineImage`).
pub async fn deploy(manager: &Manager, image: &str) -> Result<()> {
    let engine_image_name = names::engine_image(image);
    if manager.datastore.engine_images.find(&engine_image_name).is_some() {
        return Ok(());
    }
    let mut engine_image = EngineImage::default();
    engine_image.metadata.labels = Some(labels::of_engine_image(&engine_image_name));
    engine_image.metadata.name = Some(engine_image_name);
    engine_image.spec.image = image.to_owned();
    let created = match manager.datastore.engine_images.create(&engine_image).await {
        // Another manager came first, and upstream ends with that (c5).
        Err(error) if error.is_already_exists() && !manager.datastore.build.has(Defect::FoundStartConflict) => {
            return Ok(());
        }
        created => created,
    };
    created.map(drop).context(|| format!("cannot create engine image for {image}"))
}
