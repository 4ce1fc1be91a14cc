//! The settings: names, defaults and what values they take, by release (longhorn-manager types/setting.go).
//!
//! A Setting object exists for every row of its release. Rows with an empty default are filled in by the manager when it starts:
//! images and the priority class from its arguments, versions from itself.

use crate::releases::Release;

const MIN: i64 = i64::MIN;
const MAX: i64 = i64::MAX;

/// What a setting's text means. Every value is a string on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`
    Boolean,
    /// A decimal number from the first to the second.
    Integer(i64, i64),
    /// Anything else.
    Text,
}

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Name of the object.
    pub name: &'static str,
    /// What its value means.
    pub value: Value,
    /// The value a new installation gives it.
    pub default: &'static str,
    /// Only the manager changes it.
    pub is_read_only: bool,
    since: Option<Release>,
    until: Option<Release>,
}

impl Definition {
    const fn new(name: &'static str, value: Value, default: &'static str) -> Self {
        Self { name, value, default, is_read_only: false, since: None, until: None }
    }

    const fn read_only(mut self) -> Self {
        self.is_read_only = true;
        self
    }

    const fn since(mut self, release: Release) -> Self {
        self.since = Some(release);
        self
    }

    const fn until(mut self, release: Release) -> Self {
        self.until = Some(release);
        self
    }

    /// Whether `release` has the setting.
    pub fn is_in(&self, release: Release) -> bool {
        release.is_between(self.since, self.until)
    }

    /// Whether `text` is a value of the setting, as far as its type says.
    pub fn takes(&self, text: &str) -> bool {
        match self.value {
            Value::Boolean => matches!(text, "true" | "false"),
            Value::Integer(least, most) => text.parse().is_ok_and(|number| (least..=most).contains(&number)),
            Value::Text => true,
        }
    }
}

/// The settings of a release, ordered by name.
pub fn of(release: Release) -> impl Iterator<Item = &'static Definition> {
    TABLE.iter().filter(move |definition| definition.is_in(release))
}

/// The row of a setting.
pub fn definition(name: &str) -> Option<&'static Definition> {
    TABLE.binary_search_by(|definition| definition.name.cmp(name)).ok().map(|index| &TABLE[index])
}

macro_rules! settings {
    ($(
        $constant:ident = $name:literal: $value:ident $(($least:expr, $most:expr))? = $default:literal
        $(.$option:ident($($argument:expr),*))*,
    )*) => {
        $(
            #[doc = concat!("Setting `", $name, "`, by default `", $default, "`.")]
            pub const $constant: &str = $name;
        )*

        /// All settings of all modelled releases, ordered by name.
        pub const TABLE: &[Definition] = &[
            $( Definition::new($name, Value::$value $(($least, $most))?, $default) $(.$option($($argument),*))*, )*
        ];
    };
}

// `since` names the first modelled release that has a setting, `until` the first that has it no longer.
settings! {
    ALLOW_COLLECTING_LONGHORN_USAGE_METRICS = "allow-collecting-longhorn-usage-metrics": Boolean = "true",
    ALLOW_EMPTY_DISK_SELECTOR_VOLUME = "allow-empty-disk-selector-volume": Boolean = "true",
    ALLOW_EMPTY_NODE_SELECTOR_VOLUME = "allow-empty-node-selector-volume": Boolean = "true",
    ALLOW_RECURRING_JOB_WHILE_VOLUME_DETACHED = "allow-recurring-job-while-volume-detached": Boolean = "false",
    ALLOW_VOLUME_CREATION_WITH_DEGRADED_AVAILABILITY =
        "allow-volume-creation-with-degraded-availability": Boolean = "true",
    AUTO_CLEANUP_RECURRING_JOB_BACKUP_SNAPSHOT = "auto-cleanup-recurring-job-backup-snapshot": Boolean = "true",
    AUTO_CLEANUP_SNAPSHOT_AFTER_ON_DEMAND_BACKUP_COMPLETED =
        "auto-cleanup-snapshot-after-on-demand-backup-completed": Boolean = "false".since(Release::V1_9_0_DEV_00886872C),
    AUTO_CLEANUP_SYSTEM_GENERATED_SNAPSHOT = "auto-cleanup-system-generated-snapshot": Boolean = "true",
    AUTO_CLEANUP_WHEN_DELETE_BACKUP = "auto-cleanup-when-delete-backup": Boolean = "false",
    AUTO_DELETE_POD_WHEN_VOLUME_DETACHED_UNEXPECTEDLY =
        "auto-delete-pod-when-volume-detached-unexpectedly": Boolean = "true",
    AUTO_SALVAGE = "auto-salvage": Boolean = "true",
    BACKING_IMAGE_CLEANUP_WAIT_INTERVAL = "backing-image-cleanup-wait-interval": Integer(0, MAX) = "60",
    BACKING_IMAGE_RECOVERY_WAIT_INTERVAL = "backing-image-recovery-wait-interval": Integer(0, MAX) = "300",
    BACKUP_COMPRESSION_METHOD = "backup-compression-method": Text = "lz4",
    BACKUP_CONCURRENT_LIMIT = "backup-concurrent-limit": Integer(1, MAX) = "2",
    BACKUP_EXECUTION_TIMEOUT = "backup-execution-timeout": Integer(1, MAX) = "1".since(Release::V1_8_0_RC1),
    BACKUP_TARGET = "backup-target": Text = "".until(Release::V1_8_0_RC2),
    BACKUP_TARGET_CREDENTIAL_SECRET = "backup-target-credential-secret": Text = "".until(Release::V1_8_0_RC2),
    BACKUPSTORE_POLL_INTERVAL = "backupstore-poll-interval": Integer(0, MAX) = "300".until(Release::V1_8_0_RC2),
    CONCURRENT_AUTOMATIC_ENGINE_UPGRADE_PER_NODE_LIMIT =
        "concurrent-automatic-engine-upgrade-per-node-limit": Integer(0, MAX) = "0",
    CONCURRENT_BACKING_IMAGE_REPLENISH_PER_NODE_LIMIT =
        "concurrent-backing-image-replenish-per-node-limit": Integer(0, MAX) = "5",
    CONCURRENT_REPLICA_REBUILD_PER_NODE_LIMIT = "concurrent-replica-rebuild-per-node-limit": Integer(0, MAX) = "5",
    CONCURRENT_VOLUME_BACKUP_RESTORE_PER_NODE_LIMIT =
        "concurrent-volume-backup-restore-per-node-limit": Integer(0, MAX) = "5",
    CRD_API_VERSION = "crd-api-version": Text = "".read_only(),
    CREATE_DEFAULT_DISK_LABELED_NODES = "create-default-disk-labeled-nodes": Boolean = "false",
    CURRENT_LONGHORN_VERSION = "current-longhorn-version": Text = "".read_only(),
    DEFAULT_BACKING_IMAGE_MANAGER_IMAGE = "default-backing-image-manager-image": Text = "".read_only(),
    DEFAULT_DATA_LOCALITY = "default-data-locality": Text = "disabled",
    DEFAULT_DATA_PATH = "default-data-path": Text = "/var/lib/longhorn/",
    DEFAULT_ENGINE_IMAGE = "default-engine-image": Text = "".read_only(),
    DEFAULT_INSTANCE_MANAGER_IMAGE = "default-instance-manager-image": Text = "".read_only(),
    DEFAULT_LONGHORN_STATIC_STORAGE_CLASS = "default-longhorn-static-storage-class": Text = "longhorn-static",
    DEFAULT_MIN_NUMBER_OF_BACKING_IMAGE_COPIES = "default-min-number-of-backing-image-copies": Integer(1, MAX) = "3",
    DEFAULT_REPLICA_COUNT = "default-replica-count": Integer(1, 20) = "3",
    DELETING_CONFIRMATION_FLAG = "deleting-confirmation-flag": Boolean = "false",
    DETACH_MANUALLY_ATTACHED_VOLUMES_WHEN_CORDONED =
        "detach-manually-attached-volumes-when-cordoned": Boolean = "false",
    DISABLE_REVISION_COUNTER = "disable-revision-counter": Boolean = "true",
    DISABLE_SCHEDULING_ON_CORDONED_NODE = "disable-scheduling-on-cordoned-node": Boolean = "true",
    DISABLE_SNAPSHOT_PURGE = "disable-snapshot-purge": Boolean = "false",
    ENGINE_REPLICA_TIMEOUT = "engine-replica-timeout": Integer(8, 30) = "8",
    FAILED_BACKUP_TTL = "failed-backup-ttl": Integer(0, MAX) = "1440",
    FAST_REPLICA_REBUILD_ENABLED = "fast-replica-rebuild-enabled": Boolean = "true",
    FREEZE_FILESYSTEM_FOR_SNAPSHOT = "freeze-filesystem-for-snapshot": Boolean = "false",
    GUARANTEED_INSTANCE_MANAGER_CPU = "guaranteed-instance-manager-cpu": Integer(0, 40) = "12",
    INSTANCE_MANAGER_POD_LIVENESS_PROBE_TIMEOUT =
        "instance-manager-pod-liveness-probe-timeout": Integer(1, 60) = "10".since(Release::V1_9_2),
    KUBERNETES_CLUSTER_AUTOSCALER_ENABLED = "kubernetes-cluster-autoscaler-enabled": Boolean = "false",
    LATEST_LONGHORN_VERSION = "latest-longhorn-version": Text = "".read_only(),
    LOG_LEVEL = "log-level": Text = "Info",
    LONG_GRPC_TIMEOUT = "long-grpc-timeout": Integer(1, 604800) = "86400",
    NODE_DOWN_POD_DELETION_POLICY = "node-down-pod-deletion-policy": Text = "do-nothing",
    NODE_DRAIN_POLICY = "node-drain-policy": Text = "block-if-contains-last-replica",
    OFFLINE_REPLICA_REBUILDING = "offline-replica-rebuilding": Boolean = "false".since(Release::V1_9_0_DEV_00886872C),
    ORPHAN_AUTO_DELETION = "orphan-auto-deletion": Boolean = "false".until(Release::V1_9_2),
    ORPHAN_RESOURCE_AUTO_DELETION = "orphan-resource-auto-deletion": Text = "".since(Release::V1_9_0_DEV_00886872C),
    ORPHAN_RESOURCE_AUTO_DELETION_GRACE_PERIOD =
        "orphan-resource-auto-deletion-grace-period": Integer(0, MAX) = "300".since(Release::V1_9_2),
    PRIORITY_CLASS = "priority-class": Text = "",
    RECURRING_FAILED_JOBS_HISTORY_LIMIT = "recurring-failed-jobs-history-limit": Integer(0, MAX) = "1",
    RECURRING_JOB_MAX_RETENTION = "recurring-job-max-retention": Integer(1, 250) = "100",
    RECURRING_SUCCESSFUL_JOBS_HISTORY_LIMIT = "recurring-successful-jobs-history-limit": Integer(0, MAX) = "1",
    REGISTRY_SECRET = "registry-secret": Text = "",
    REMOVE_SNAPSHOTS_DURING_FILESYSTEM_TRIM = "remove-snapshots-during-filesystem-trim": Boolean = "false",
    REPLICA_AUTO_BALANCE = "replica-auto-balance": Text = "disabled",
    REPLICA_AUTO_BALANCE_DISK_PRESSURE_PERCENTAGE =
        "replica-auto-balance-disk-pressure-percentage": Integer(MIN, MAX) = "90",
    REPLICA_DISK_SOFT_ANTI_AFFINITY = "replica-disk-soft-anti-affinity": Boolean = "true",
    REPLICA_FILE_SYNC_HTTP_CLIENT_TIMEOUT = "replica-file-sync-http-client-timeout": Integer(5, 120) = "30",
    REPLICA_REPLENISHMENT_WAIT_INTERVAL = "replica-replenishment-wait-interval": Integer(0, MAX) = "600",
    REPLICA_SOFT_ANTI_AFFINITY = "replica-soft-anti-affinity": Boolean = "false",
    REPLICA_ZONE_SOFT_ANTI_AFFINITY = "replica-zone-soft-anti-affinity": Boolean = "true",
    RESTORE_CONCURRENT_LIMIT = "restore-concurrent-limit": Integer(1, MAX) = "2",
    RESTORE_VOLUME_RECURRING_JOBS = "restore-volume-recurring-jobs": Boolean = "false",
    RWX_VOLUME_FAST_FAILOVER = "rwx-volume-fast-failover": Boolean = "false",
    SNAPSHOT_DATA_INTEGRITY = "snapshot-data-integrity": Text = "fast-check",
    SNAPSHOT_DATA_INTEGRITY_CRONJOB = "snapshot-data-integrity-cronjob": Text = "0 0 */7 * *",
    SNAPSHOT_DATA_INTEGRITY_IMMEDIATE_CHECK_AFTER_SNAPSHOT_CREATION =
        "snapshot-data-integrity-immediate-check-after-snapshot-creation": Boolean = "false",
    SNAPSHOT_MAX_COUNT = "snapshot-max-count": Integer(2, 250) = "250",
    STABLE_LONGHORN_VERSIONS = "stable-longhorn-versions": Text = "".read_only(),
    STORAGE_MINIMAL_AVAILABLE_PERCENTAGE = "storage-minimal-available-percentage": Integer(0, 100) = "25",
    STORAGE_NETWORK = "storage-network": Text = "",
    STORAGE_NETWORK_FOR_RWX_VOLUME_ENABLED = "storage-network-for-rwx-volume-enabled": Boolean = "false",
    STORAGE_OVER_PROVISIONING_PERCENTAGE = "storage-over-provisioning-percentage": Integer(0, MAX) = "100",
    STORAGE_RESERVED_PERCENTAGE_FOR_DEFAULT_DISK =
        "storage-reserved-percentage-for-default-disk": Integer(0, 100) = "30",
    SUPPORT_BUNDLE_FAILED_HISTORY_LIMIT = "support-bundle-failed-history-limit": Integer(0, MAX) = "1",
    SUPPORT_BUNDLE_MANAGER_IMAGE = "support-bundle-manager-image": Text = "",
    SUPPORT_BUNDLE_NODE_COLLECTION_TIMEOUT = "support-bundle-node-collection-timeout": Integer(0, MAX) = "30",
    SYSTEM_MANAGED_COMPONENTS_NODE_SELECTOR = "system-managed-components-node-selector": Text = "",
    SYSTEM_MANAGED_PODS_IMAGE_PULL_POLICY = "system-managed-pods-image-pull-policy": Text = "if-not-present",
    TAINT_TOLERATION = "taint-toleration": Text = "",
    UPGRADE_CHECKER = "upgrade-checker": Boolean = "true",
    UPGRADE_RESPONDER_URL =
        "upgrade-responder-url": Text = "https://longhorn-upgrade-responder.rancher.io/v1/checkupgrade".since(Release::V1_8_1),
    V1_DATA_ENGINE = "v1-data-engine": Boolean = "true",
    V2_DATA_ENGINE = "v2-data-engine": Boolean = "false",
    V2_DATA_ENGINE_CPU_MASK = "v2-data-engine-cpu-mask": Text = "0x1".since(Release::V1_8_0_RC1),
    V2_DATA_ENGINE_FAST_REPLICA_REBUILDING =
        "v2-data-engine-fast-replica-rebuilding": Boolean = "false".since(Release::V1_8_0),
    V2_DATA_ENGINE_GUARANTEED_INSTANCE_MANAGER_CPU =
        "v2-data-engine-guaranteed-instance-manager-cpu": Integer(1000, MAX) = "1250",
    V2_DATA_ENGINE_HUGEPAGE_LIMIT = "v2-data-engine-hugepage-limit": Integer(0, MAX) = "2048".read_only(),
    V2_DATA_ENGINE_LOG_FLAGS = "v2-data-engine-log-flags": Text = "",
    V2_DATA_ENGINE_LOG_LEVEL = "v2-data-engine-log-level": Text = "Notice",
    V2_DATA_ENGINE_SNAPSHOT_DATA_INTEGRITY =
        "v2-data-engine-snapshot-data-integrity": Text = "fast-check".since(Release::V1_9_0_DEV_00886872C),
}
