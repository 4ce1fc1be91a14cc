//! The archive of a system backup: what the API server has, listed past every cache, in files, packed, and uploaded by the engine binary
//! (`GenerateSystemBackup`, `UploadSystemBackup` in `controller/system_backup_controller.go`; `datastore/uncached.go`).
//!
//! A volume is saved as it is at this moment, its status with it: what `status.lastBackup` says here is what a restore goes by. The files are
//! called YAML and hold JSON, which every YAML reader takes. They are in the container's own /tmp: a manager that takes the step over
//! finds nothing to upload, and goes on trying for an hour.

use std::collections::BTreeSet;
use std::time::Duration;

use corral_kube_client::{Api, Client, DynamicApi, ListParams, ResourceDescriptor};
use host::time::Instant;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume};
use longhorn_api::kinds::system_backup::{REASON_GENERATE, REASON_UPLOAD, SystemBackupState};
use longhorn_api::{Defect, GROUP, SystemBackup, VERSION, settings};
use serde_json::{Value, json};

use super::system_backup::{STARTED, Step, SystemBackupController};
use crate::engine::BackupTargetClient;
use crate::runtime::backups::name;
use crate::runtime::{Context, Datastore, Error, Result, Ticker, archive, clock};

/// Where archives are made, in the container (`SystemBackupTempDir`).
const FOLDER: &str = "/tmp";
const UPLOAD_INTERVAL: Duration = Duration::from_secs(1);
/// How long an upload is tried, and how long one try may take (`SystemBackupTimeout`).
pub(super) const UPLOAD_PATIENCE: Duration = Duration::from_secs(3600);
/// PersistentVolumes of this driver are Longhorn's.
const DRIVER: &str = "driver.longhorn.io";

fn archive_path(backup: &str) -> String {
    format!("{FOLDER}/{backup}.zip")
}

/// Removes what the steps left in this container.
pub(super) async fn remove_local_files(backup: &str) {
    for result in [
        host::fs::remove_file(&archive_path(backup)).await,
        host::fs::remove_dir_all(&format!("{FOLDER}/{backup}")).await,
    ] {
        match result {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "failed to remove system backup file");
            }
            _ => {}
        }
    }
}

impl SystemBackupController {
    /// Makes the archive beside the reconciles.
    pub(super) fn begin_archive(&self, backup: &SystemBackup) {
        let of = backup.clone();
        self.beside(backup, "archive", move |this| async move {
            let backup_name = name(&of.metadata);
            match this.generate(&of).await {
                Ok(()) => {
                    let message = format!("Created system backup file: {}", archive_path(backup_name));
                    Step::next(SystemBackupState::Uploading, REASON_GENERATE, message)
                }
                Err(error) => Step::Failed { reason: REASON_GENERATE, message: error.to_string() },
            }
        });
    }

    async fn generate(&self, backup: &SystemBackup) -> Result<()> {
        let backup_name = name(&backup.metadata);
        let folder = format!("{FOLDER}/{backup_name}");
        // Upstream goes on without it: the file then says nothing.
        let metadata = self.metadata(backup).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "failed to get system backup meta");
            Value::Null
        });
        make_folder(&folder).await.context(|| "failed to create system backup file directory")?;
        let generated = async {
            write(&format!("{folder}/metadata.yaml"), &metadata).await?;
            let datastore = &self.manager.datastore;
            let classes = classes_of_volumes(datastore.kubernetes()).await?;
            for kind in datastore.in_map_order(saved_kinds(datastore, classes)) {
                let saved = kind.save(datastore, &folder).await;
                saved.context(|| format!("failed to generate resource YAMLs: failed to generate {}", kind.file))?;
            }
            Ok(())
        };
        let generated: Result<()> = generated.await;
        generated.context(|| "failed to generate system backup file")?;
        let packed = archive::pack(FOLDER, backup_name, &archive_path(backup_name)).await;
        packed.map_err(|error| Error::message(format!("failed to archive system backup file: {error}")))
    }

    /// The file that says what the archive is of.
    async fn metadata(&self, backup: &SystemBackup) -> Result<Value> {
        let datastore = &self.manager.datastore;
        let namespaces: Api<Namespace> = Api::all(datastore.kubernetes());
        let namespace = namespaces.get(&datastore.namespace).await?;
        let version = datastore.kubernetes().get_raw("/version").await?;
        let version: Value = serde_json::from_slice(&version)
            .map_err(|error| Error::message(format!("error parsing the version of Kubernetes: {error}")))?;
        Ok(json!({
            "longhornVersion": datastore.release().name(),
            "longhornGitCommit": backup.status.git_commit,
            "kubernetesVersion": version["gitVersion"],
            "longhornNamspaceUUID": namespace.metadata.uid,
            "systemBackupCreatedAt": backup.status.created_at,
            "managerImage": self.manager.arguments.manager_image,
        }))
    }

    /// Uploads the archive beside the reconciles: again each second, until the store has it.
    pub(super) fn begin_upload(&self, backup: &SystemBackup, client: &BackupTargetClient) {
        let (mut of, client) = (backup.clone(), client.clone());
        let this = self.clone();
        let scope = format!("longhorn-system-backup {} upload", name(&backup.metadata));
        host::spawn(corral_kube_client::reads::scope(scope, async move {
            let before = of.status.clone();
            // Upstream does not look whether it was in a container that is gone (c13).
            let looks = !this.manager.datastore.build.has(Defect::FoundLostArchive);
            if looks && host::fs::metadata(&archive_path(name(&of.metadata))).await.is_err() {
                return this.record(Step::next(SystemBackupState::Generating, STARTED.0, STARTED.1), of, &before).await;
            }
            let step = match this.upload(&of, &client).await {
                Ok(()) => {
                    of.status.manager_image.clone_from(&this.manager.arguments.manager_image);
                    of.status.created_at = Some(clock::now());
                    let message = "Uploaded system backup to backup target";
                    Step::next(SystemBackupState::Ready, REASON_UPLOAD, message)
                }
                Err(error) => Step::Failed { reason: REASON_UPLOAD, message: error.to_string() },
            };
            this.record(step, of, &before).await;
        }));
    }

    async fn upload(&self, backup: &SystemBackup, client: &BackupTargetClient) -> Result<()> {
        let engine_image = self.manager.datastore.existing_setting_value(settings::DEFAULT_ENGINE_IMAGE);
        let engine_image = engine_image.context(|| "failed to get default engine image")?;
        let (backup_name, version) = (name(&backup.metadata), backup.status.version.as_str());
        let file = archive_path(backup_name);
        let began = Instant::now();
        let mut tries = Ticker::new(UPLOAD_INTERVAL);
        let mut last_failure = None;
        while began.elapsed() < UPLOAD_PATIENCE {
            tries.tick().await;
            match client.system_backup_config(backup_name, version).await {
                Ok(_config) => return Ok(()),
                Err(error) if !error.says_cannot_find() => {
                    last_failure = Some(error);
                    continue;
                }
                Err(_absent) => {}
            }
            let made_by = [backup.status.git_commit.as_str(), &self.manager.arguments.manager_image, &engine_image];
            if let Err(error) = client.upload_system_backup(backup_name, version, &file, made_by, UPLOAD_PATIENCE).await
            {
                tracing::warn!(%error, "Failed to upload {file} to backup target");
                last_failure = (!error.to_string().contains("already exists")).then_some(error);
            }
        }
        // Without a failure to name, upstream takes the end of its patience for a success.
        last_failure.map_or(Ok(()), Err).context(|| "timeout uploading system backup")
    }
}

/// One list of the archive.
struct Saved {
    scheme: &'static str,
    file: &'static str,
    resource: ResourceDescriptor,
    is_namespaced: bool,
    keep: Keep,
}

/// Whether an object is saved; may change it.
type Keep = Box<dyn Fn(&mut Value) -> bool + Send + Sync>;

/// The storage classes of Longhorn's PersistentVolumes, by which their claims are known.
async fn classes_of_volumes(client: &Client) -> Result<BTreeSet<String>> {
    let volumes: Api<PersistentVolume> = Api::all(client);
    let volumes = volumes.list(&ListParams::default()).await?.items;
    let specs = volumes.into_iter().filter_map(|volume| volume.spec);
    let own = specs.filter(|spec| spec.csi.as_ref().is_some_and(|csi| csi.driver == DRIVER));
    Ok(own.filter_map(|spec| spec.storage_class_name).collect())
}

/// What an archive holds, as far as this release does.
fn saved_kinds(datastore: &Datastore, classes: BTreeSet<String>) -> Vec<Saved> {
    let is_claim = move |claim: &mut Value| {
        claim["spec"]["storageClassName"].as_str().is_some_and(|class| classes.contains(class))
    };
    let longhorn = |file, kind: &str, plural: &str| Saved {
        scheme: "longhorn",
        file,
        resource: ResourceDescriptor::new(GROUP, VERSION, kind, plural),
        is_namespaced: true,
        keep: Box::new(|_| true),
    };
    let kubernetes = |file: &'static str, group: &str, kind: &str| Saved {
        scheme: "kubernetes",
        file,
        resource: ResourceDescriptor::new(group, "v1", kind, file),
        is_namespaced: true,
        keep: Box::new(|_| true),
    };
    let mut kinds = vec![
        longhorn("setting", "Setting", "settings"),
        longhorn("engineimages", "EngineImage", "engineimages"),
        longhorn("volumes", "Volume", "volumes"),
        longhorn("recurringjobs", "RecurringJob", "recurringjobs"),
        longhorn("backingimages", "BackingImage", "backingimages"),
        kubernetes("serviceaccounts", "", "ServiceAccount"),
        kubernetes("roles", "rbac.authorization.k8s.io", "Role"),
        kubernetes("rolebindings", "rbac.authorization.k8s.io", "RoleBinding"),
        kubernetes("daemonsets", "apps", "DaemonSet"),
        kubernetes("deployments", "apps", "Deployment"),
        kubernetes("configmaps", "", "ConfigMap"),
        Saved { keep: Box::new(without_cluster_address), ..kubernetes("services", "", "Service") },
        Saved {
            is_namespaced: false,
            keep: Box::new(is_provisioned),
            ..kubernetes("storageclasses", "storage.k8s.io", "StorageClass")
        },
        Saved {
            is_namespaced: false,
            keep: Box::new(is_of_driver),
            ..kubernetes("persistentvolumes", "", "PersistentVolume")
        },
        Saved {
            is_namespaced: false,
            keep: Box::new(is_claim),
            ..kubernetes("persistentvolumeclaims", "", "PersistentVolumeClaim")
        },
        Saved {
            scheme: "apiextensions",
            is_namespaced: false,
            keep: Box::new(is_of_group),
            ..kubernetes("customresourcedefinitions", "apiextensions.k8s.io", "CustomResourceDefinition")
        },
    ];
    if datastore.has_many_backup_targets() {
        kinds.push(longhorn("backuptargets", "BackupTarget", "backuptargets"));
    }
    kinds
}

impl Saved {
    async fn save(&self, datastore: &Datastore, folder: &str) -> Result<()> {
        let client: &Client = datastore.kubernetes();
        let api: DynamicApi = if self.is_namespaced {
            Api::namespaced_of(client, &datastore.namespace, &self.resource)
        } else {
            Api::all_of(client, &self.resource)
        };
        let listed = api.list(&ListParams::default()).await?;
        let version = listed.resource_version().to_owned();
        let items = listed.items.iter().map(|item| serde_json::to_value(item).expect("it came as JSON"));
        let items: Vec<Value> = items.filter_map(|mut item| (self.keep)(&mut item).then_some(item)).collect();
        let list = json!({
            "apiVersion": self.resource.api_version(),
            "kind": format!("{}List", self.resource.kind),
            "metadata": {"resourceVersion": version},
            "items": items,
        });
        let folder = format!("{folder}/yamls/{}", self.scheme);
        make_folder(&folder).await?;
        write(&format!("{folder}/{}.yaml", self.file), &list).await
    }
}

/// A restored service gets an address of its own.
fn without_cluster_address(service: &mut Value) -> bool {
    if let Some(spec) = service["spec"].as_object_mut() {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    true
}

fn is_provisioned(class: &mut Value) -> bool {
    class["provisioner"] == DRIVER
}

fn is_of_driver(volume: &mut Value) -> bool {
    volume["spec"]["csi"]["driver"] == DRIVER
}

fn is_of_group(definition: &mut Value) -> bool {
    definition["spec"]["group"] == GROUP
}

async fn make_folder(path: &str) -> Result<()> {
    host::fs::create_dir_all(path).await.map_err(|error| Error::message(format!("mkdir {path}: {error}")))
}

async fn write(path: &str, value: &Value) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).expect("a value of ours");
    host::fs::write(path, &text).await.map_err(|error| Error::message(format!("open {path}: {error}")))
}
