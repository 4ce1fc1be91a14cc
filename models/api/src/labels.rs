//! Labels, annotations and the finalizer (longhorn-manager types/types.go).
//!
//! Some label keys are bare words and some have the prefix `longhorn.io/`; both are spelled here as they are on the objects.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::kinds::instance::InstanceType;
use crate::releases::Release;

/// The finalizer on most kinds, put there by the mutating webhook at create and update.
/// InstanceManager, RecurringJob, Setting and SystemRestore have none.
pub const FINALIZER: &str = crate::GROUP;

// --- bare keys

/// The volume an object belongs to.
pub const VOLUME: &str = "longhornvolume";
/// The node an object belongs to.
pub const NODE: &str = "longhornnode";
/// The disk an object belongs to.
pub const DISK_UUID: &str = "longhorndiskuuid";
/// The instance manager of an orphaned instance; since v1.9.0.
pub const INSTANCE_MANAGER: &str = "longhorninstancemanager";
/// The engine of an orphaned instance; since v1.9.0.
pub const ENGINE: &str = "longhornengine";
/// The replica of an orphaned instance; since v1.9.0.
pub const REPLICA: &str = "longhornreplica";
/// The backup target of a Backup, BackupVolume, BackupBackingImage or Volume; since v1.8.0-rc1.
pub const BACKUP_TARGET: &str = "backup-target";
/// The *volume's* name, on a Backup and BackupVolume and on a volume restored from a backup. Up to v1.7.2 that is the BackupVolume's too.
pub const BACKUP_VOLUME: &str = "backup-volume";
/// The backing image of a BackupBackingImage; since v1.8.0-rc1.
pub const BACKING_IMAGE: &str = "backing-image";

// --- keys with the prefix

/// Who made the object: [`MANAGED_BY_VALUE`].
pub const MANAGED_BY: &str = "longhorn.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGED_BY_VALUE: &str = "longhorn-manager";
/// What the object is part of: `engine-image`, `instance-manager`, ...
pub const COMPONENT: &str = "longhorn.io/component";
/// Name of the EngineImage.
pub const ENGINE_IMAGE: &str = "longhorn.io/engine-image";
/// Node of a pod or of an instance manager.
pub const COMPONENT_NODE: &str = "longhorn.io/node";
/// `aio`, formerly `engine` or `replica`.
pub const INSTANCE_MANAGER_TYPE: &str = "longhorn.io/instance-manager-type";
/// [`crate::names::instance_manager_image`].
pub const INSTANCE_MANAGER_IMAGE: &str = "longhorn.io/instance-manager-image";
/// The disk of a backing image manager or data source, on it and its pod.
pub const COMPONENT_DISK_UUID: &str = "longhorn.io/disk-uuid";
/// Name of the BackingImageDataSource, on its pod.
pub const BACKING_IMAGE_DATA_SOURCE: &str = "longhorn.io/backing-image-data-source";
/// On a snapshot or attachment that an export makes: the backing image's name.
pub const SNAPSHOT_FOR_EXPORTING_BACKING_IMAGE: &str = "for-exporting-backing-image";
/// On a snapshot that a copy of the volume makes: the new volume's name.
pub const SNAPSHOT_FOR_CLONING_VOLUME: &str = "for-cloning-volume";
/// `InProgress`, on Volumes and others while a system restore makes them.
pub const SYSTEM_RESTORE: &str = "longhorn.io/system-restore";
/// On a Kubernetes node: `true` keeps the second data engine off it; since v1.8.0-rc1.
pub const NODE_DISABLE_V2_DATA_ENGINE: &str = "node.longhorn.io/disable-v2-data-engine";
/// `v1` or `v2`.
pub const DATA_ENGINE: &str = "longhorn.io/data-engine";
/// What kind of orphan.
pub const ORPHAN_TYPE: &str = "longhorn.io/orphan-type";
/// The Longhorn version, on a SystemBackup.
pub const VERSION: &str = "longhorn.io/version";
/// `rwo` or `rwx`, in a backup's own labels.
pub const VOLUME_ACCESS_MODE: &str = "longhorn.io/volume-access-mode";
/// `true`: deleting the resource leaves the remote data alone. Put there by synchronisations (the cure of 9530).
pub const DELETE_CUSTOM_RESOURCE_ONLY: &str = "longhorn.io/delete-custom-resource-only";
/// Name of the SystemRestore that made the object.
pub const LAST_SYSTEM_RESTORE: &str = "longhorn.io/last-system-restored";
/// When that was.
pub const LAST_SYSTEM_RESTORE_AT: &str = "longhorn.io/last-system-restored-at";
/// From which SystemBackup.
pub const LAST_SYSTEM_RESTORE_BACKUP: &str = "longhorn.io/last-system-restored-backup";
/// Name of the SystemRestore that left the object as it was.
pub const LAST_SKIPPED_SYSTEM_RESTORE: &str = "longhorn.io/last-skipped-system-restored";
/// When that was.
pub const LAST_SKIPPED_SYSTEM_RESTORE_AT: &str = "longhorn.io/last-skipped-system-restored-at";
/// The value of a label that says yes.
pub const TRUE: &str = "true";

// --- keys inside a backup's labels (not on the object)

/// The volume's Kubernetes status as JSON, in the labels of a backup and of a backup volume.
pub const KUBERNETES_STATUS: &str = "KubernetesStatus";
/// Name of the recurring job that made a backup.
pub const RECURRING_JOB: &str = "RecurringJob";
/// The volume's recurring jobs as JSON.
pub const VOLUME_RECURRING_JOB_INFO: &str = "VolumeRecurringJobInfo";

// --- annotations

/// resourceVersion of the default-setting ConfigMap that a Setting was last set from.
pub const CONFIG_MAP_RESOURCE_VERSION: &str = "longhorn.io/configmap-resource-version";
/// On a Setting that the manager itself changes, past the checks for people.
pub const UPDATE_SETTING_FROM_LONGHORN: &str = "longhorn.io/update-setting-from-longhorn";
/// On the default BackupTarget when the uninstaller deletes it; since v1.8.0-rc1.
pub const DELETE_BACKUP_TARGET_FROM_LONGHORN: &str = "longhorn.io/delete-backup-target-from-longhorn";
/// Tolerations last given to a system component, as JSON.
pub const LAST_APPLIED_TOLERATIONS: &str = "longhorn.io/last-applied-tolerations";
/// On a Kubernetes node: whether it gets a default disk (`true` or `config`). A label.
pub const NODE_CREATE_DEFAULT_DISK: &str = "node.longhorn.io/create-default-disk";
/// On a Kubernetes node: its default disks as JSON.
pub const NODE_DEFAULT_DISKS_CONFIG: &str = "node.longhorn.io/default-disks-config";
/// On a Kubernetes node: its default tags as JSON.
pub const NODE_DEFAULT_TAGS: &str = "node.longhorn.io/default-node-tags";

/// The backing image of a Replica; empty if it has none.
pub const BACKING_IMAGE_OF_REPLICA: &str = "longhorn.io/backing-image";
/// The value of a label of [`volume_setting`].
pub const IGNORED: &str = "ignored";
/// The value of the labels of [`recurring_job`] and [`recurring_job_group`].
pub const ENABLED: &str = "enabled";
/// The group every volume without jobs of its own is in.
pub const DEFAULT_RECURRING_JOB_GROUP: &str = "default";

/// On a volume: it takes part in a recurring job.
pub fn recurring_job(job: &str) -> String {
    format!("recurring-job.longhorn.io/{job}")
}

/// On a volume: it takes part in a group of recurring jobs.
pub fn recurring_job_group(group: &str) -> String {
    format!("recurring-job-group.longhorn.io/{group}")
}

/// On a volume: it leaves a choice to the setting of this name.
pub fn volume_setting(setting: &str) -> String {
    format!("setting.longhorn.io/{setting}")
}

/// Labels of an EngineImage and of what belongs to it.
pub fn of_engine_image(engine_image: &str) -> BTreeMap<String, String> {
    with(of_component("engine-image"), [(ENGINE_IMAGE, engine_image)])
}

/// Labels of what Longhorn itself makes and which is part of `component`.
fn of_component(component: &str) -> BTreeMap<String, String> {
    let pairs = [(MANAGED_BY, MANAGED_BY_VALUE), (COMPONENT, component)];
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn with<const N: usize>(labels: BTreeMap<String, String>, more: [(&str, &str); N]) -> BTreeMap<String, String> {
    let mut labels = labels;
    labels.extend(more.map(|(key, value)| (key.to_owned(), value.to_owned())));
    labels
}

/// Labels of an InstanceManager and its pod.
pub fn of_instance_manager(node: &str, image: &str, data_engine: &str) -> BTreeMap<String, String> {
    let image = crate::names::instance_manager_image(image);
    let own = [
        (INSTANCE_MANAGER_TYPE, "aio"),
        (COMPONENT_NODE, node),
        (INSTANCE_MANAGER_IMAGE, image.as_str()),
        (DATA_ENGINE, data_engine),
    ];
    with(of_component("instance-manager"), own)
}

/// Labels of a BackingImageManager and its pod.
pub fn of_backing_image_manager(node: &str, disk_uuid: &str) -> BTreeMap<String, String> {
    with(of_component("backing-image-manager"), [(COMPONENT_DISK_UUID, disk_uuid), (COMPONENT_NODE, node)])
}

/// Labels of a BackingImageDataSource and its pod.
pub fn of_backing_image_data_source(name: &str, node: &str, disk_uuid: &str) -> BTreeMap<String, String> {
    let own = [(BACKING_IMAGE_DATA_SOURCE, name), (COMPONENT_DISK_UUID, disk_uuid), (COMPONENT_NODE, node)];
    with(of_component("backing-image-data-source"), own)
}

/// Labels of the Orphan of a replica's folder or logical volume.
pub fn of_orphaned_data(node: &str) -> BTreeMap<String, String> {
    with(of_component("orphan"), [(NODE, node), (ORPHAN_TYPE, "replica")])
}

/// Labels of the Orphan of an instance. The instance manager is one of them in v1.9.2.
pub fn of_orphaned_instance(
    release: Release,
    instance_type: &InstanceType,
    node: &str,
    instance_manager: &str,
    instance: &str,
) -> BTreeMap<String, String> {
    let own = match instance_type {
        InstanceType::Engine => [(ENGINE, instance), (ORPHAN_TYPE, "engine-instance")],
        _ => [(REPLICA, instance), (ORPHAN_TYPE, "replica-instance")],
    };
    let mut labels = with(with(of_component("orphan"), [(NODE, node)]), own);
    if release.at_least(Release::V1_9_2) {
        labels.insert(INSTANCE_MANAGER.to_owned(), instance_manager.to_owned());
    }
    labels
}

/// The label's value; none if the object has no labels or not this one.
pub fn get<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// Sets a label.
pub fn set(metadata: &mut ObjectMeta, key: &str, value: impl Into<String>) {
    metadata.labels.get_or_insert_default().insert(key.to_owned(), value.into());
}

/// Whether the object has Longhorn's finalizer.
pub fn has_finalizer(metadata: &ObjectMeta) -> bool {
    metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Adds Longhorn's finalizer; says whether it was missing.
pub fn add_finalizer(metadata: &mut ObjectMeta) -> bool {
    if has_finalizer(metadata) {
        return false;
    }
    metadata.finalizers.get_or_insert_default().push(FINALIZER.to_owned());
    true
}

/// Removes Longhorn's finalizer; says whether it was there.
pub fn remove_finalizer(metadata: &mut ObjectMeta) -> bool {
    let Some(finalizers) = &mut metadata.finalizers else { return false };
    let before = finalizers.len();
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    finalizers.len() < before
}
