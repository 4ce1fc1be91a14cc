//! What differs between our writes and the recorded ones, and why: a beginning of each difference's line, and the reason.

/// The beginning of a difference's line, and the reason for it.
pub type Known<'a> = (&'a str, &'a str);

/// Settings that no manager of ours makes.
pub const SETTINGS_NOT_MADE: [&str; 53] = [
    "allow-collecting-longhorn-usage-metrics",
    "allow-empty-disk-selector-volume",
    "allow-empty-node-selector-volume",
    "allow-recurring-job-while-volume-detached",
    "allow-volume-creation-with-degraded-availability",
    "auto-cleanup-recurring-job-backup-snapshot",
    "auto-delete-pod-when-volume-detached-unexpectedly",
    "auto-salvage",
    "backing-image-cleanup-wait-interval",
    "concurrent-replica-rebuild-per-node-limit",
    "concurrent-volume-backup-restore-per-node-limit",
    "default-data-locality",
    "default-longhorn-static-storage-class",
    "default-min-number-of-backing-image-copies",
    "default-replica-count",
    "deleting-confirmation-flag",
    "detach-manually-attached-volumes-when-cordoned",
    "engine-replica-timeout",
    "fast-replica-rebuild-enabled",
    "freeze-filesystem-for-snapshot",
    "kubernetes-cluster-autoscaler-enabled",
    "latest-longhorn-version",
    "long-grpc-timeout",
    "node-down-pod-deletion-policy",
    "node-drain-policy",
    "offline-replica-rebuilding",
    "recurring-failed-jobs-history-limit",
    "recurring-job-max-retention",
    "recurring-successful-jobs-history-limit",
    "remove-snapshots-during-filesystem-trim",
    "replica-auto-balance-disk-pressure-percentage",
    "replica-auto-balance",
    "replica-disk-soft-anti-affinity",
    "replica-file-sync-http-client-timeout",
    "replica-replenishment-wait-interval",
    "replica-soft-anti-affinity",
    "replica-zone-soft-anti-affinity",
    "restore-concurrent-limit",
    "restore-volume-recurring-jobs",
    "rwx-volume-fast-failover",
    "snapshot-data-integrity-cronjob",
    "snapshot-data-integrity-immediate-check-after-snapshot-creation",
    "snapshot-data-integrity",
    "snapshot-max-count",
    "stable-longhorn-versions",
    "storage-network-for-rwx-volume-enabled",
    "storage-network",
    "support-bundle-failed-history-limit",
    "support-bundle-node-collection-timeout",
    "upgrade-checker",
    "upgrade-responder-url",
    "v2-data-engine-fast-replica-rebuilding",
    "v2-data-engine-snapshot-data-integrity",
];

/// Why.
pub const SETTING_NOT_MADE: &str = "what it governs is not built, or is built with the setting's default only";

/// Flow `install`.
pub const INSTALL: &[Known<'static>] = &[
    (
        r#"DaemonSet engine-image-ei-<8hex>: create ours+{} recorded+{metadata.annotations["deprecated.daemonset.template.generation"]}"#,
        "the real API server adds it to every DaemonSet",
    ),
    (
        "Node n1: update/status ours+{} recorded+{status.conditions[KernelModulesLoaded] status.conditions[Multipathd] status.conditions[NFSClientInstalled]}",
        "the check of the host's packages, services and kernel modules is not built: a simulated machine has none of them",
    ),
    (
        "Pod instance-manager-<32hex>: create ours+{} recorded+{spec.containers[0].volumeMounts[4] spec.volumes[4].name spec.volumes[4].projected.defaultMode spec.volumes[4].projected.sources}",
        "the token's volume is added by an admission plugin of the real API server, which the simulated one does not have",
    ),
    (
        "StorageClass longhorn-static: ours [], recorded [create ",
        "not built: nothing in the simulation makes volumes by storage class",
    ),
    (
        "StorageClass longhorn: ours [], recorded [create ",
        "not built: nothing in the simulation makes volumes by storage class",
    ),
];

/// Flow `volume`.
pub const VOLUME: &[Known<'static>] = &[(
    "EngineImage ei-<8hex>: ours [], recorded [update/status {status.refCount}",
    "the count rises with volume, engine and replica; how many of them one pass sees is a matter of milliseconds",
)];

/// Flow `backup-error`.
pub const BACKUP_ERROR: &[Known<'static>] = &[(
    "Backup backup-N: update gone ours+{} recorded+{spec.syncRequestedAt}",
    "an object that is gone is not kept: of the write that takes the last finalizer away, ours shows only that. The real one says null where nothing was said before",
)];

/// Flow `backup`.
pub const BACKUP: &[Known<'static>] = &[];

/// Flow `backup5`.
pub const BACKUP5: &[Known<'static>] = &[(
    "Engine bv-e-0: ours [update/status {status.snapshots.snap-N status.snapshots.snap-N status.snapshots.volume-head}], recorded [update/status {status.snapshots.volume-head}, ",
    "the engine's monitor looks every five seconds: in the recording once between the client's writing and its snapshot",
)];

/// Flow `idle-attached`.
pub const IDLE_ATTACHED: &[Known<'static>] = &[
    (
        "BackupTarget default: ours [update {spec.syncRequestedAt}], recorded []",
        "the recording began between the poll's request, every five minutes, and its answer",
    ),
    (
        "Node n1: ours [], recorded [update/status {status.diskStatus.default-disk-<16hex>}]",
        "others wrote to the recording's disk; here nobody does while all is idle",
    ),
];

/// Flow `instance-manager-delete`.
pub const INSTANCE_MANAGER_DELETE: &[Known<'static>] = &[
    (
        "BackupTarget default: ours [], recorded [update {spec.syncRequestedAt}]",
        "the poll of the backup target, every five minutes, fell into the recording",
    ),
    (
        "Pod instance-manager-<32hex>: create ours+{} recorded+{spec.containers[0].volumeMounts[4] spec.volumes[4].name spec.volumes[4].projected.defaultMode spec.volumes[4].projected.sources}",
        "the token's volume is added by an admission plugin of the real API server, which the simulated one does not have",
    ),
];

/// Flow `instance-manager-delete-attached`.
pub const INSTANCE_MANAGER_DELETE_ATTACHED: &[Known<'static>] = &[
    (
        "Engine bv-e-0: ours [update/status {status.logFetched}",
        "in the recording the write that says that the logs were fetched met two conflicts and went with a later one; here it comes at once, so the request is taken back, and made again when the faulted volume's engine is stopped",
    ),
    (
        "Pod instance-manager-<32hex>: create ours+{} recorded+{spec.containers[0].volumeMounts[4] spec.volumes[4].name spec.volumes[4].projected.defaultMode spec.volumes[4].projected.sources}",
        "the token's volume is added by an admission plugin of the real API server, which the simulated one does not have",
    ),
    (
        "order: ours Engine update {spec.logRequested spec.salvageRequested} before InstanceManager garbage-collector update gone {metadata.finalizers}",
        "volume controller against garbage collector and node controller, all on the instance manager's end: the order is a matter of milliseconds",
    ),
];

/// Flow `systembackup`.
pub const SYSTEM_BACKUP: &[Known<'static>] = &[
    (
        "Node n1: ours [], recorded [update/status {status.diskStatus.default-disk-<16hex>}]",
        "the disk monitor, every 30 s, had not yet seen the instance manager of the recording's young cluster",
    ),
    (
        "SystemBackup sb1: update/status ours+{} recorded+{status.lastSyncedAt}",
        "times are kept in whole seconds: a second synchronisation within the same second changes nothing",
    ),
];

/// Races whose recorded outcome is rare among ours, or the rule of ours: flow, beginning of the line, and why. Some seeds show them always, some not.
pub const RACES: &[(&str, &str, &str)] = &[
    (
        "install",
        r#"EngineImage ei-<8hex>: ours [update/status {status.nodeDeploymentMap.n1 status.nodeDeploymentMap[""]}, "#,
        BOUND_AND_READY,
    ),
    (
        "install",
        r#"EngineImage ei-<8hex>: update/status ours+{} recorded+{status.nodeDeploymentMap[""]}"#,
        BOUND_AND_READY,
    ),
    (
        "volume",
        "Replica v1-r-<8hex>: ours [], recorded [update/status {status.conditions status.conditions[FilesystemReadOnly] status.conditions[InstanceCreation] status.currentState}]",
        NEW_REPLICA,
    ),
    (
        "volume",
        "Replica v1-r-<8hex>: ours [update/status {status.conditions status.conditions[FilesystemReadOnly] status.conditions[InstanceCreation] status.currentState}], recorded []",
        NEW_REPLICA,
    ),
    (
        "volume",
        "order: ours Replica update/status {status.conditions status.conditions[FilesystemReadOnly] status.conditions[InstanceCreation] status.currentState} before Volume update/status {status.conditions status.conditions[Scheduled] ",
        NEW_REPLICA,
    ),
    (
        "volume",
        "order: ours Engine update gone {metadata.finalizers} before VolumeAttachment delete {",
        "the volume's controller deletes one after the other; whether the engine's controller drops its finalizer before the second deletion is a matter of milliseconds",
    ),
    (
        "backup5",
        "Backup backup-N: ours [], recorded [update/status {status.lastSyncedAt}]",
        "times are kept in whole seconds: a second synchronisation within the same second changes nothing",
    ),
];

const BOUND_AND_READY: &str = "the recording's kubelet bound a pod and made it ready in one look; here it is bound at once and ready later, so there is a pass between the two, or none that sees it unbound";
const NEW_REPLICA: &str = "a new replica is written by its own controller and by the volume's at once: in the recording each met a conflict with the other, and the volume's came first";
