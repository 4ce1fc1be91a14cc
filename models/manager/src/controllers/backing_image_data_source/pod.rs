//! The pod of a data source, and what becomes of the file with it (`syncBackingImageDataSourcePod`).
//!
//! A pod that stops being ready has lost the file. Downloads are tried again after a while; what came from elsewhere is not.

use std::collections::BTreeMap;

use host::time::Instant;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use longhorn_api::kinds::backing_image::BackingImageState;
use longhorn_api::kinds::backing_image_data_source::{
    BackingImageDataSourceType, PARAMETER_BACKUP_TARGET_NAME, PARAMETER_CLONE_BACKING_IMAGE,
    PARAMETER_CLONE_BACKING_IMAGE_UUID,
};
use longhorn_api::{BackingImageDataSource, labels, names};
use serde_json::{Value, json};

use super::super::system_pod::{self, SystemPod};
use super::{BackingImageDataSourceController, lock};
use crate::pods::node_of;
use crate::runtime::Result;
use crate::runtime::backups::{name, owner_reference};

const CONTAINER: &str = "backing-image-data-source";

/// What a pod can be used for.
enum PodState {
    Ready,
    Failed,
    NotReady(String),
}

impl BackingImageDataSourceController {
    pub(super) async fn follow_pod(&self, source: &mut BackingImageDataSource) -> Result<()> {
        use BackingImageState as State;
        let datastore = &self.manager.datastore;
        let source_name = name(&source.metadata).to_owned();
        let is_new = source.status.current_state == State::Unset;
        let pod = datastore.pods.find(&names::backing_image_data_source_pod(&source_name));
        let image = datastore.backing_image_manager_image()?;
        let state = pod_state(pod.as_deref(), &source.spec.node_id, &image);
        if let (PodState::Ready, Some(pod)) = (&state, &pod) {
            let ip = system_pod::address(pod).to_owned();
            source.status.storage_ip.clone_from(&ip);
            source.status.ip = ip;
            self.start_monitor(source);
        } else {
            source.status.storage_ip.clear();
            source.status.ip.clear();
            let current = &source.status.current_state;
            let has_begun = matches!(
                current,
                State::Starting | State::InProgress | State::ReadyForTransfer | State::Ready | State::Unknown
            );
            let is_over = matches!(current, State::Failed | State::FailedAndCleanUp);
            let failure = match state {
                PodState::Failed if !is_over => {
                    Some("the pod dedicated to prepare the first backing image file failed".to_owned())
                }
                PodState::NotReady(why) if has_begun => Some(why),
                _ => None,
            };
            if let Some(why) = failure {
                source.status.message = why;
                source.status.current_state = State::Failed;
            }
            self.stop_monitor(&source_name);
        }
        if matches!(source.status.current_state, State::Failed | State::FailedAndCleanUp) {
            self.clean_up(source).await?;
        }
        if pod.is_none() {
            self.start_pod(source, is_new, &image).await?;
        }
        Ok(())
    }

    /// Creates the pod for a new source, or once more for one that can begin anew and has waited long enough.
    async fn start_pod(&self, source: &mut BackingImageDataSource, is_new: bool, image: &str) -> Result<()> {
        use BackingImageDataSourceType::{Clone, Download, ExportFromVolume};
        let source_name = name(&source.metadata).to_owned();
        let begins_anew = matches!(source.spec.source_type, Download | ExportFromVolume | Clone);
        let waits = lock(&self.backoff).is_waiting(&source_name, Instant::now());
        if !is_new && (!begins_anew || waits) {
            return Ok(());
        }
        source.status.current_state = BackingImageState::Unset;
        source.status.message.clear();
        source.status.progress = 0;
        source.status.checksum.clear();
        source.status.running_parameters = self.running_parameters(source)?;
        let pod = self.pod(source, image).await?;
        match self.manager.datastore.pods.api().create(&pod).await {
            Err(error) if !error.is_already_exists() => return Err(error.into()),
            _ => {}
        }
        lock(&self.backoff).next(&source_name, Instant::now());
        Ok(())
    }

    /// The parameters, and for a copy the original's UUID.
    fn running_parameters(&self, source: &BackingImageDataSource) -> Result<longhorn_api::go::Map<String>> {
        let mut parameters = source.spec.parameters.clone();
        if source.spec.source_type == BackingImageDataSourceType::Clone {
            let original = source.spec.parameters.text(PARAMETER_CLONE_BACKING_IMAGE);
            let original = self.manager.datastore.backing_images.get(original)?;
            parameters.insert(PARAMETER_CLONE_BACKING_IMAGE_UUID, original.status.uuid.clone());
        }
        Ok(parameters)
    }

    async fn pod(&self, source: &BackingImageDataSource, image: &str) -> Result<Pod> {
        let spec = &source.spec;
        let owner =
            OwnerReference { controller: Some(true), block_owner_deletion: Some(true), ..owner_reference(source) };
        let source_name = name(&source.metadata);
        let pod = SystemPod {
            name: &names::backing_image_data_source_pod(source_name),
            container: CONTAINER,
            image,
            labels: labels::of_backing_image_data_source(source_name, &spec.node_id, &spec.disk_uuid),
            owner,
            node: &spec.node_id,
            disk_path: &spec.disk_path,
            port: crate::engine::backing_image_manager::PORT,
            command: self.command(source).await?,
        };
        pod.manifest(&self.manager)
    }

    async fn command(&self, source: &BackingImageDataSource) -> Result<Value> {
        let spec = &source.spec;
        let source_name = name(&source.metadata);
        let mut words: Vec<String> = ["backing-image-manager", "--debug", "data-source"].map(str::to_owned).into();
        let flags = [
            ("--listen", "0.0.0.0:8000"),
            ("--sync-listen", "0.0.0.0:8001"),
            ("--name", source_name),
            ("--uuid", &spec.uuid),
            ("--source-type", spec.source_type.as_str()),
        ];
        words.extend(flags.iter().flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()]));
        let mut pairs = |flag: &str, pairs: BTreeMap<String, String>| {
            for (key, value) in self.manager.datastore.in_map_order(pairs) {
                words.extend([flag.to_owned(), format!("{key}={value}")]);
            }
        };
        pairs("--parameters", (*source.status.running_parameters).clone());
        if spec.source_type == BackingImageDataSourceType::Restore {
            pairs("--credential", self.credential(source).await?);
        }
        if !spec.checksum.is_empty() {
            words.extend(["--checksum".to_owned(), spec.checksum.clone()]);
        }
        Ok(json!(words))
    }

    /// What the Secret of the target holds that a restore reads from.
    async fn credential(&self, source: &BackingImageDataSource) -> Result<BTreeMap<String, String>> {
        let datastore = &self.manager.datastore;
        let target = match source.spec.parameters.text(PARAMETER_BACKUP_TARGET_NAME) {
            "" => names::DEFAULT_BACKUP_TARGET,
            target => target,
        };
        let target = datastore.backup_targets.get(target)?;
        Ok(datastore.backup_target_client(&target)?.credential.unwrap_or_default())
    }
}

fn pod_state(pod: Option<&Pod>, node: &str, image: &str) -> PodState {
    let Some(pod) = pod else {
        return PodState::NotReady("cannot find the pod dedicated to prepare the first backing image file".to_owned());
    };
    let own_image = pod.spec.as_ref().and_then(|spec| spec.containers.first()?.image.as_deref());
    let why = if node_of(pod) != node {
        format!("pod spec node ID {} doesn't match the desired node ID {node}", node_of(pod))
    } else if pod.metadata.deletion_timestamp.is_some() {
        "the pod dedicated to prepare the first backing image file is being deleted".to_owned()
    } else if own_image != Some(image) {
        "the pod image is not the default one".to_owned()
    } else {
        match (system_pod::phase(pod), system_pod::is_ready(pod)) {
            ("Running", true) => return PodState::Ready,
            ("Running", false) => "pod phase Running but the containers not ready".to_owned(),
            ("Failed", _) => return PodState::Failed,
            (other, _) => format!("pod phase {other}"),
        }
    };
    PodState::NotReady(why)
}
