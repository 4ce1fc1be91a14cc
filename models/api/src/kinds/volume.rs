//! Volume: a replicated block device (v1beta2/volume.go).
//!
//! Releases up to v1.8.2 have three more fields, long out of use, which they write as `""`: `spec.engineImage`,
//! `spec.backendStoreDriver` and `status.pendingNodeID`.

use crate::go::{List, QuotedInteger};
use crate::kinds::Condition;
use crate::kinds::backup::BackupCompressionMethod;
use crate::releases::Release;
use crate::resource::{Column, custom_resource};
use crate::schema::record;
use crate::text::words;

words! {
    /// Whether the volume is attached.
    pub enum VolumeState {
        Unset = "",
        Creating = "creating",
        Attached = "attached",
        Detached = "detached",
        Attaching = "attaching",
        Detaching = "detaching",
        Deleting = "deleting",
    }
}

words! {
    /// Whether the volume has the replicas it should have.
    pub enum VolumeRobustness {
        Unset = "",
        /// While attached: all of them.
        Healthy = "healthy",
        /// While attached: some of them.
        Degraded = "degraded",
        /// While detached: none.
        Faulted = "faulted",
        /// While detached, and while nothing is known yet.
        Unknown = "unknown",
    }
}

words! {
    /// How the volume shows on its node.
    pub enum VolumeFrontend {
        None = "",
        BlockDevice = "blockdev",
        Iscsi = "iscsi",
        Nvmf = "nvmf",
        /// Since v1.9.0.
        Ublk = "ublk",
    }
}

words! {
    /// Whether a replica should be on the node of the workload.
    pub enum DataLocality {
        Unset = "",
        Disabled = "disabled",
        BestEffort = "best-effort",
        StrictLocal = "strict-local",
    }
}

words! {
    /// How many nodes may use the volume at once.
    pub enum AccessMode {
        Unset = "",
        ReadWriteOnce = "rwo",
        ReadWriteMany = "rwx",
    }
}

words! {
    /// Whether replicas move so that they are spread evenly.
    pub enum ReplicaAutoBalance {
        Unset = "",
        Ignored = "ignored",
        Disabled = "disabled",
        LeastEffort = "least-effort",
        BestEffort = "best-effort",
    }
}

words! {
    /// A choice of one volume that may leave it to the setting of all.
    pub enum Choice {
        Unset = "",
        /// As the setting says.
        Ignored = "ignored",
        Enabled = "enabled",
        Disabled = "disabled",
    }
}

words! {
    /// Whether snapshots are hashed and checked.
    pub enum SnapshotDataIntegrity {
        Unset = "",
        Ignored = "ignored",
        Disabled = "disabled",
        Enabled = "enabled",
        FastCheck = "fast-check",
    }
}

words! {
    /// Which data engine.
    pub enum DataEngine {
        Unset = "",
        V1 = "v1",
        V2 = "v2",
        /// In selections only; no volume has it.
        All = "all",
    }
}

words! {
    /// How far the copying of another volume is.
    pub enum VolumeCloneState {
        Unset = "",
        Initiated = "initiated",
        Completed = "completed",
        Failed = "failed",
    }
}

words! {
    /// Whether the NFS server of a volume that many nodes use is up (v1beta2/sharemanager.go).
    pub enum ShareManagerState {
        Unset = "",
        Unknown = "unknown",
        Starting = "starting",
        Running = "running",
        Stopping = "stopping",
        Stopped = "stopped",
        Error = "error",
    }
}

words! {
    /// What a volume's condition is about.
    pub enum VolumeConditionType {
        Scheduled = "Scheduled",
        Restore = "Restore",
        TooManySnapshots = "TooManySnapshots",
        WaitForBackingImage = "WaitForBackingImage",
    }
}

words! {
    /// Why a volume's condition is as it is.
    pub enum VolumeConditionReason {
        ReplicaSchedulingFailure = "ReplicaSchedulingFailure",
        LocalReplicaSchedulingFailure = "LocalReplicaSchedulingFailure",
        RestoreInProgress = "RestoreInProgress",
        RestoreFailure = "RestoreFailure",
        TooManySnapshots = "TooManySnapshots",
        WaitForBackingImageFailed = "GetBackingImageFailed",
        WaitForBackingImageWaiting = "Waiting",
    }
}

record! {
    /// A volume, as a person wants it.
    pub struct VolumeSpec {
        /// Bytes.
        pub size: QuotedInteger = "size",
        /// How it shows on its node.
        pub frontend: VolumeFrontend = "frontend"
            .one_of(&["blockdev", "iscsi", "nvmf", "ublk", ""])
            .choice_since("ublk", Release::V1_9_0_DEV_00886872C),
        /// The URL of the backup it is restored from.
        pub from_backup: String = "fromBackup",
        /// Whether recurring jobs come with a restore.
        pub restore_volume_recurring_job: Choice =
            "restoreVolumeRecurringJob".one_of(&["ignored", "enabled", "disabled"]),
        /// The volume or snapshot it is copied from: `vol://NAME` or `snap://VOLUME/NAME`.
        pub data_source: String = "dataSource",
        /// Whether a replica should be on the node of the workload.
        pub data_locality: DataLocality = "dataLocality".one_of(&["disabled", "best-effort", "strict-local"]),
        /// Minutes after which a failed replica is given up.
        pub stale_replica_timeout: i64 = "staleReplicaTimeout".any_width(),
        /// Where it should be attached.
        pub node_id: String = "nodeID",
        /// Where it should be attached as well, to migrate.
        pub migration_node_id: String = "migrationNodeID",
        /// The engine image it should run.
        pub image: String = "image",
        /// The backing image below its data.
        pub backing_image: String = "backingImage",
        /// Whether it keeps following another cluster's backups. The capital letter is upstream's.
        pub standby: bool = "Standby",
        /// Tags its disks must have.
        pub disk_selector: List<String> = "diskSelector",
        /// Tags its nodes must have.
        pub node_selector: List<String> = "nodeSelector",
        /// Whether to attach it without a frontend.
        pub disable_frontend: bool = "disableFrontend",
        /// Whether replicas count their writes.
        pub revision_counter_disabled: bool = "revisionCounterDisabled",
        /// Whether a trim reaches into snapshots by marking them removed.
        pub unmap_mark_snap_chain_removed: Choice =
            "unmapMarkSnapChainRemoved".one_of(&["ignored", "disabled", "enabled"]),
        /// Whether two replicas may be on one node.
        pub replica_soft_anti_affinity: Choice = "replicaSoftAntiAffinity".one_of(&["ignored", "enabled", "disabled"]),
        /// Whether two replicas may be in one zone.
        pub replica_zone_soft_anti_affinity: Choice =
            "replicaZoneSoftAntiAffinity".one_of(&["ignored", "enabled", "disabled"]),
        /// Whether two replicas may be on one disk.
        pub replica_disk_soft_anti_affinity: Choice =
            "replicaDiskSoftAntiAffinity".one_of(&["ignored", "enabled", "disabled"]),
        /// Who attached it last, for the user interface.
        pub last_attached_by: String = "lastAttachedBy",
        /// How many nodes may use it at once.
        pub access_mode: AccessMode = "accessMode".one_of(&["rwo", "rwx"]),
        /// Whether it can move to another node while in use.
        pub migratable: bool = "migratable",
        /// Whether its content is encrypted.
        pub encrypted: bool = "encrypted",
        /// How many replicas it should have.
        pub number_of_replicas: i64 = "numberOfReplicas".any_width(),
        /// Whether replicas move so that they are spread evenly.
        pub replica_auto_balance: ReplicaAutoBalance =
            "replicaAutoBalance".one_of(&["ignored", "disabled", "least-effort", "best-effort"]),
        /// Whether snapshots are hashed and checked.
        pub snapshot_data_integrity: SnapshotDataIntegrity =
            "snapshotDataIntegrity".one_of(&["ignored", "disabled", "enabled", "fast-check"]),
        /// How its backups are compressed.
        pub backup_compression_method: BackupCompressionMethod =
            "backupCompressionMethod".one_of(&["none", "lz4", "gzip"]),
        /// Which data engine it uses.
        pub data_engine: DataEngine = "dataEngine".one_of(&["v1", "v2"]),
        /// How many snapshots it may have.
        pub snapshot_max_count: i64 = "snapshotMaxCount".any_width(),
        /// How many bytes its snapshots may have; zero for no limit.
        pub snapshot_max_size: QuotedInteger = "snapshotMaxSize",
        /// Whether the file system is frozen while a snapshot is taken.
        pub freeze_filesystem_for_snapshot: Choice =
            "freezeFilesystemForSnapshot".one_of(&["ignored", "enabled", "disabled"]),
        /// Where its backups go; not in v1.7.2.
        pub backup_target_name: String = "backupTargetName".since(Release::V1_8_0_RC1),
        /// Whether replicas are rebuilt while it is detached; not in v1.7.2 and v1.8.
        pub offline_rebuilding: Choice = "offlineRebuilding"
            .one_of(&["ignored", "disabled", "enabled"])
            .since(Release::V1_9_0_DEV_00886872C),
    }
    earlier {
        engine_image: String = "engineImage".until(Release::V1_9_0_DEV_00886872C),
        backend_store_driver: String = "backendStoreDriver".until(Release::V1_9_0_DEV_00886872C),
    }
}

record! {
    /// How far the copying of another volume is.
    pub struct VolumeCloneStatus {
        /// The volume that is copied.
        pub source_volume: String = "sourceVolume",
        /// The snapshot that is copied.
        pub snapshot: String = "snapshot",
        /// How far it is.
        pub state: VolumeCloneState = "state",
        /// How often it was tried.
        pub attempt_count: i64 = "attemptCount".any_width(),
        /// When it may be tried again.
        pub next_allowed_attempt_at: String = "nextAllowedAttemptAt",
    }
}

record! {
    /// A pod that uses the volume.
    pub struct WorkloadStatus {
        /// The pod.
        pub pod_name: String = "podName",
        /// Its phase.
        pub pod_status: String = "podStatus",
        /// What the pod belongs to.
        pub workload_name: String = "workloadName",
        /// The kind of that.
        pub workload_type: String = "workloadType",
    }
}

record! {
    /// What Kubernetes knows of the volume.
    pub struct KubernetesStatus {
        /// The persistent volume.
        pub pv_name: String = "pvName",
        /// Its phase.
        pub pv_status: String = "pvStatus",
        /// The namespace of the claim; what it was, once `last_pvc_ref_at` is set.
        pub namespace: String = "namespace",
        /// The claim; what it was, once `last_pvc_ref_at` is set.
        pub pvc_name: String = "pvcName",
        /// When the claim was last there.
        pub last_pvc_ref_at: String = "lastPVCRefAt",
        /// The pods; what they were, once `last_pod_ref_at` is set.
        pub workloads_status: List<WorkloadStatus> = "workloadsStatus".nullable(),
        /// When a pod last used it.
        pub last_pod_ref_at: String = "lastPodRefAt",
    }
}

record! {
    /// A volume, as it is.
    pub struct VolumeStatus {
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// Whether it is attached.
        pub state: VolumeState = "state",
        /// Whether it has the replicas it should have.
        pub robustness: VolumeRobustness = "robustness",
        /// Where it is attached.
        pub current_node_id: String = "currentNodeID",
        /// The engine image it runs.
        pub current_image: String = "currentImage",
        /// What Kubernetes knows of it.
        pub kubernetes_status: KubernetesStatus = "kubernetesStatus",
        /// See [`VolumeConditionType`].
        pub conditions: List<Condition> = "conditions".nullable(),
        /// Its last backup, copied from the BackupVolume; a system backup saves it.
        pub last_backup: String = "lastBackup",
        /// When that backup was made.
        pub last_backup_at: String = "lastBackupAt",
        /// Where it is migrating to.
        pub current_migration_node_id: String = "currentMigrationNodeID",
        /// Whether it is attached without a frontend.
        pub frontend_disabled: bool = "frontendDisabled",
        /// Whether a restore is still to be done.
        pub restore_required: bool = "restoreRequired",
        /// Whether a restore was begun.
        pub restore_initiated: bool = "restoreInitiated",
        /// How far the copying of another volume is.
        pub clone_status: VolumeCloneStatus = "cloneStatus",
        /// Since when its pods should mount it again.
        pub remount_requested_at: String = "remountRequestedAt",
        /// Whether it is smaller than it should be.
        pub expansion_required: bool = "expansionRequired",
        /// Whether it follows another cluster's backups.
        pub is_standby: bool = "isStandby",
        /// Bytes its data take on one replica.
        pub actual_size: i64 = "actualSize",
        /// When it was last degraded.
        pub last_degraded_at: String = "lastDegradedAt",
        /// Where its NFS server answers.
        pub share_endpoint: String = "shareEndpoint",
        /// Whether its NFS server is up.
        pub share_state: ShareManagerState = "shareState",
    }
    earlier {
        pending_node_id: String = "pendingNodeID".until(Release::V1_9_0_DEV_00886872C),
    }
}

custom_resource! {
    /// A replicated block device.
    pub struct Volume: VolumeStatus {
        /// As a person wants it.
        pub spec: VolumeSpec = "spec",
    }
    "Volume" ("volumes", "lhv") [
        Column::text("Data Engine", ".spec.dataEngine"),
        Column::text("State", ".status.state"),
        Column::text("Robustness", ".status.robustness"),
        // No controller sets a condition of this type (it is "Scheduled"), so the column is always empty; upstream's slip.
        Column::text("Scheduled", ".status.conditions[?(@.type=='Schedulable')].status"),
        Column::text("Size", ".spec.size"),
        Column::text("Node", ".status.currentNodeID"),
        Column::AGE,
    ]
}
