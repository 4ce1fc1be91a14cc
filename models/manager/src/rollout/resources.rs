//! Objects that are brought back as they were saved: created if they are gone, changed where the saved part differs, and marked with what
//! was done in either case (`rolloutResource`, `tagLonghornLastSystemRestoreAnnotation`).

use std::time::Duration;

use corral_kube_client::{Api, DynamicApi, DynamicObject, EventType, ResourceDescriptor};
use host::time::Instant;
use longhorn_api::kinds::system_restore::SystemRestoreState;
use longhorn_api::{GROUP, VERSION, labels, settings};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Rollout, Source};
use crate::runtime::{Error, Result, Ticker};

/// Between two tries of a kind, and how long it is tried (`SystemRestoreTimeout`).
const TRY_INTERVAL: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Settings that stay as they are.
const KEPT_SETTINGS: [&str; 5] = [
    settings::CONCURRENT_VOLUME_BACKUP_RESTORE_PER_NODE_LIMIT,
    settings::CONCURRENT_REPLICA_REBUILD_PER_NODE_LIMIT,
    settings::CONCURRENT_BACKING_IMAGE_REPLENISH_PER_NODE_LIMIT,
    settings::BACKUP_TARGET,
    settings::BACKUP_TARGET_CREDENTIAL_SECRET,
];
/// The settings of an installation, which belong to it.
const KEPT_CONFIG_MAP: &str = "longhorn-default-setting";

/// One kind.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Plain(&'static Plain),
    BackupTargets,
    BackingImages,
    Volumes,
}

/// A kind whose objects are compared in some of their parts.
pub(super) struct Plain {
    pub(super) kind: &'static str,
    group: &'static str,
    plural: &'static str,
    is_namespaced: bool,
    /// What is compared and changed.
    parts: &'static [&'static str],
}

const fn plain(kind: &'static str, group: &'static str, plural: &'static str, parts: &'static [&'static str]) -> Plain {
    Plain { kind, group, plural, is_namespaced: true, parts }
}

const RBAC: &str = "rbac.authorization.k8s.io";
static DEFINITIONS: Plain = Plain {
    is_namespaced: false,
    ..plain("CustomResourceDefinition", "apiextensions.k8s.io", "customresourcedefinitions", &["/spec/versions"])
};
static DAEMON_SETS: Plain = plain("DaemonSet", "apps", "daemonsets", &["/spec"]);
static ENGINE_IMAGES: Plain = plain("EngineImage", GROUP, "engineimages", &["/spec"]);
static SETTINGS: Plain = plain("Setting", GROUP, "settings", &["/value"]);
static SERVICES: Plain = plain("Service", "", "services", &["/spec"]);
static SERVICE_ACCOUNTS: Plain = plain("ServiceAccount", "", "serviceaccounts", &[]);
static ROLES: Plain = plain("Role", RBAC, "roles", &["/rules"]);
static ROLE_BINDINGS: Plain = plain("RoleBinding", RBAC, "rolebindings", &["/roleRef", "/subjects"]);
static STORAGE_CLASSES: Plain =
    Plain { is_namespaced: false, ..plain("StorageClass", "storage.k8s.io", "storageclasses", &[]) };
static CONFIG_MAPS: Plain = plain("ConfigMap", "", "configmaps", &["/data"]);
static DEPLOYMENTS: Plain = plain("Deployment", "apps", "deployments", &["/spec"]);
static RECURRING_JOBS: Plain = plain("RecurringJob", GROUP, "recurringjobs", &["/spec"]);

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Plain(plain) => plain.kind,
            Self::BackupTargets => "BackupTarget",
            Self::BackingImages => "BackingImage",
            Self::Volumes => "Volume",
        }
    }
}

impl Rollout {
    /// Brings everything back; gives what failed for good.
    pub(super) async fn restore(&self, source: &Source) -> Vec<String> {
        let mut failures = Vec::new();
        for kind in [&DEFINITIONS, &DAEMON_SETS, &ENGINE_IMAGES, &SETTINGS].map(Kind::Plain) {
            failures.extend(self.restore_kind(kind, source).await);
        }
        let mut together = vec![Kind::BackingImages];
        let plain = [
            &SERVICES,
            &SERVICE_ACCOUNTS,
            &ROLES,
            &ROLE_BINDINGS,
            &STORAGE_CLASSES,
            &CONFIG_MAPS,
            &DEPLOYMENTS,
            &RECURRING_JOBS,
        ];
        together.extend(plain.map(Kind::Plain));
        if self.datastore.has_many_backup_targets() {
            together.push(Kind::BackupTargets);
        }
        let together = self.datastore.in_map_order(together);
        let together = together.into_iter().map(|kind| self.restore_kind(kind, source));
        failures.extend(join_all(together).await.into_iter().flatten());
        // Volumes come after their backing images, without which the webhook refuses them.
        failures.extend(self.restore_kind(Kind::Volumes, source).await);
        failures
    }

    /// Tries a kind each second until it is back; the failure is that of the last try, or that the restore is no longer in progress.
    async fn restore_kind(&self, kind: Kind, source: &Source) -> Option<String> {
        let began = Instant::now();
        let mut tries = Ticker::new(TRY_INTERVAL);
        let mut last = None;
        while began.elapsed() < PATIENCE {
            tries.tick().await;
            let result = match kind {
                Kind::Plain(plain) => self.restore_plain(plain, source).await,
                Kind::BackupTargets => self.restore_backup_targets(source).await,
                Kind::BackingImages => self.restore_backing_images(source).await,
                Kind::Volumes => self.restore_volumes(source).await,
            };
            match result {
                Ok(()) => {
                    last = None;
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, "Restoring {}", kind.name());
                    last = Some(error.to_string());
                }
            }
        }
        self.after(kind, last)
    }

    fn after(&self, kind: Kind, failure: Option<String>) -> Option<String> {
        let in_progress = SystemRestoreState::InProgress;
        let found = self.datastore.system_restores.list_labelled(&[(labels::SYSTEM_RESTORE, in_progress.as_str())]);
        let restore = match found.as_slice() {
            [] => return Some("cannot find in-progress system restore".to_owned()),
            [only] if crate::runtime::backups::name(&only.metadata) == self.name => only,
            _ => return Some("found a system restore already in progress".to_owned()),
        };
        if restore.status.state == SystemRestoreState::Error {
            return None;
        }
        if failure.is_none() {
            let kind = kind.name();
            let message = format!("System rollout restored Kind: {kind}List");
            self.events.event(&**restore, EventType::Normal, &format!("Restored {kind}List"), message);
        }
        failure
    }

    fn api(&self, plain: &Plain) -> DynamicApi {
        let version = if plain.group == GROUP { VERSION } else { "v1" };
        let resource = ResourceDescriptor::new(plain.group, version, plain.kind, plain.plural);
        let client = self.datastore.kubernetes();
        if plain.is_namespaced {
            Api::namespaced_of(client, &self.datastore.namespace, &resource)
        } else {
            Api::all_of(client, &resource)
        }
    }

    async fn restore_plain(&self, plain: &Plain, source: &Source) -> Result<()> {
        let api = self.api(plain);
        for saved in self.content.items(plain.kind) {
            let name = name_of(saved);
            let is_kept = match plain.kind {
                "Setting" => KEPT_SETTINGS.contains(&name),
                "ConfigMap" => name == KEPT_CONFIG_MAP,
                _ => false,
            };
            if is_kept {
                continue;
            }
            let Some(existing) = api.get_opt(name).await? else {
                let mut created = saved.clone();
                created["metadata"].as_object_mut().map(|metadata| metadata.remove("resourceVersion"));
                self.mark(&mut created, Some(&source.address));
                match api.create(&object::<DynamicObject>(created)?).await {
                    Err(error) if !error.is_already_exists() => return Err(error.into()),
                    _ => continue,
                }
            };
            let mut existing = serde_json::to_value(&existing).expect("it came as JSON");
            let mut is_changed = false;
            for part in plain.parts {
                let wanted = saved.pointer(part).cloned().unwrap_or(Value::Null);
                if existing.pointer(part).unwrap_or(&Value::Null) != &wanted {
                    is_changed = true;
                    set(&mut existing, part, wanted);
                }
            }
            if self.is_marked(&existing) {
                continue;
            }
            self.mark_as(&mut existing, &source.address, is_changed);
            if plain.kind == "Setting" {
                self.datastore.update_setting(object(existing)?).await?;
            } else {
                api.update(&object::<DynamicObject>(existing)?).await?;
            }
        }
        Ok(())
    }

    /// Whether this very restore has been here before.
    pub(super) fn is_marked(&self, object: &Value) -> bool {
        let annotations = &object["metadata"]["annotations"];
        let times = [labels::LAST_SYSTEM_RESTORE_AT, labels::LAST_SKIPPED_SYSTEM_RESTORE_AT];
        times.iter().any(|key| annotations[*key] == self.began.as_str())
    }

    /// Says that the restore made the object.
    pub(super) fn mark(&self, object: &mut Value, address: Option<&str>) {
        self.mark_as(object, address.unwrap_or_default(), true);
    }

    /// Says that the restore changed the object, or passed it by.
    pub(super) fn mark_as(&self, object: &mut Value, address: &str, is_changed: bool) {
        let changed = (labels::LAST_SYSTEM_RESTORE, labels::LAST_SYSTEM_RESTORE_AT);
        let skipped = (labels::LAST_SKIPPED_SYSTEM_RESTORE, labels::LAST_SKIPPED_SYSTEM_RESTORE_AT);
        let (set, unset) = if is_changed { (changed, skipped) } else { (skipped, changed) };
        let annotations = &mut object["metadata"]["annotations"];
        if annotations.is_null() {
            *annotations = Value::Object(serde_json::Map::new());
        }
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.remove(unset.0);
            annotations.remove(unset.1);
        }
        annotations[set.0] = address.into();
        annotations[set.1] = self.began.as_str().into();
    }
}

/// The futures one beside the other; all are awaited.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    use futures_util::stream::{FuturesUnordered, StreamExt};
    futures.collect::<FuturesUnordered<F>>().collect().await
}

pub(super) fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn object<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::message(format!("cannot read a saved object: {error}")))
}

/// Puts a value where the pointer says; what leads there is made.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut place = object;
    for part in pointer.split('/').skip(1) {
        place = &mut place[part];
    }
    *place = value;
}
