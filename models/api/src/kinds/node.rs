//! Node: a Kubernetes node as Longhorn sees it, with its disks (v1beta2/node.go).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::go::{List, Map};
use crate::kinds::Condition;
use crate::releases::Release;
use crate::resource::{Column, custom_resource};
use crate::schema::record;
use crate::text::words;

words! {
    /// What a node's condition is about.
    pub enum NodeConditionType {
        Ready = "Ready",
        MountPropagation = "MountPropagation",
        Multipathd = "Multipathd",
        KernelModulesLoaded = "KernelModulesLoaded",
        RequiredPackages = "RequiredPackages",
        NfsClientInstalled = "NFSClientInstalled",
        Schedulable = "Schedulable",
        /// Since v1.8.0-rc1.
        HugePagesAvailable = "HugePagesAvailable",
    }
}

words! {
    /// Why a node's condition does not hold.
    pub enum NodeConditionReason {
        ManagerPodDown = "ManagerPodDown",
        ManagerPodMissing = "ManagerPodMissing",
        KubernetesNodeGone = "KubernetesNodeGone",
        KubernetesNodeNotReady = "KubernetesNodeNotReady",
        KubernetesNodePressure = "KubernetesNodePressure",
        KubernetesNodeCordoned = "KubernetesNodeCordoned",
        UnknownNodeConditionTrue = "UnknownNodeConditionTrue",
        NoMountPropagationSupport = "NoMountPropagationSupport",
        MultipathdIsRunning = "MultipathdIsRunning",
        UnknownOs = "UnknownOS",
        NamespaceExecutorErr = "NamespaceExecutorErr",
        KernelModulesNotLoaded = "KernelModulesNotLoaded",
        PackagesNotInstalled = "PackagesNotInstalled",
        CheckKernelConfigFailed = "CheckKernelConfigFailed",
        NfsClientIsNotFound = "NFSClientIsNotFound",
        /// Since v1.8.0-rc1.
        NfsClientIsMisconfigured = "NFSClientIsMisconfigured",
        /// Since v1.8.0-rc1.
        HugePagesNotConfigured = "HugePagesNotConfigured",
        /// Since v1.8.0-rc1.
        InsufficientHugePages = "InsufficientHugePages",
    }
}

words! {
    /// What a disk's condition is about.
    pub enum DiskConditionType {
        Schedulable = "Schedulable",
        Ready = "Ready",
        Error = "Error",
    }
}

words! {
    /// Why a disk's condition does not hold.
    pub enum DiskConditionReason {
        DiskPressure = "DiskPressure",
        DiskFilesystemChanged = "DiskFilesystemChanged",
        NoDiskInfo = "NoDiskInfo",
        DiskNotReady = "DiskNotReady",
        DiskServiceUnreachable = "DiskServiceUnreachable",
    }
}

words! {
    /// What a disk is made of.
    pub enum DiskType {
        Unset = "",
        /// A folder: replicas of the first data engine.
        Filesystem = "filesystem",
        /// A block device: replicas of the second.
        Block = "block",
    }
}

words! {
    /// How the second data engine opens a disk.
    pub enum DiskDriver {
        None = "",
        Auto = "auto",
        Aio = "aio",
    }
}

record! {
    /// A disk, as a person wants it.
    pub struct DiskSpec {
        /// Folder or block device.
        pub disk_type: DiskType = "diskType".one_of(&["filesystem", "block"]),
        /// Where it is.
        pub path: String = "path",
        /// How the second data engine opens it.
        pub disk_driver: DiskDriver = "diskDriver".one_of(&["", "auto", "aio"]),
        /// Whether replicas may be put on it.
        pub allow_scheduling: bool = "allowScheduling",
        /// Whether its replicas are to move away.
        pub eviction_requested: bool = "evictionRequested",
        /// Bytes that are not Longhorn's.
        pub storage_reserved: i64 = "storageReserved",
        /// What a volume's disk selector looks at.
        pub tags: List<String> = "tags",
    }
}

record! {
    /// A disk, as it is.
    pub struct DiskStatus {
        /// See [`DiskConditionType`].
        pub conditions: List<Condition> = "conditions".nullable(),
        /// Bytes free.
        pub storage_available: i64 = "storageAvailable",
        /// Bytes promised to replicas.
        pub storage_scheduled: i64 = "storageScheduled",
        /// Bytes in all.
        pub storage_maximum: i64 = "storageMaximum",
        /// Bytes promised, by replica.
        pub scheduled_replica: Map<i64> = "scheduledReplica".nullable(),
        /// Bytes promised, by backing image; not in v1.7.2.
        pub scheduled_backing_image: Map<i64> = "scheduledBackingImage".since(Release::V1_8_0_RC1).nullable(),
        /// The id in the disk's own configuration file.
        pub disk_uuid: String = "diskUUID",
        /// The key in the node's disks.
        pub disk_name: String = "diskName",
        /// Where it is.
        pub disk_path: String = "diskPath",
        /// Folder or block device.
        pub disk_type: DiskType = "diskType",
        /// How the second data engine opened it.
        pub disk_driver: DiskDriver = "diskDriver",
        /// `ext2/ext3`, `xfs`, ...
        pub filesystem_type: String = "filesystemType",
        /// The instance manager that serves it.
        pub instance_manager_name: String = "instanceManagerName",
    }
}

record! {
    /// How far the checks of snapshots' hashes are.
    pub struct SnapshotCheckStatus {
        /// When they last ran.
        pub last_periodic_checked_at: Option<Time> = "lastPeriodicCheckedAt",
    }
}

record! {
    /// A node, as a person wants it.
    pub struct NodeSpec {
        /// The Kubernetes node's name.
        pub name: String = "name",
        /// The disks, by name.
        pub disks: Map<DiskSpec> = "disks",
        /// Whether replicas may be put on it.
        pub allow_scheduling: bool = "allowScheduling",
        /// Whether its replicas are to move away.
        pub eviction_requested: bool = "evictionRequested",
        /// What a volume's node selector looks at.
        pub tags: List<String> = "tags",
        /// Thousandths of a CPU for the instance manager; zero for the setting's.
        pub instance_manager_cpu_request: i64 = "instanceManagerCPURequest".any_width(),
    }
}

record! {
    /// A node, as it is. It has no owner: each manager keeps its own, and any may write the Ready condition.
    pub struct NodeStatus {
        /// See [`NodeConditionType`].
        pub conditions: List<Condition> = "conditions".nullable(),
        /// The disks, by name.
        pub disk_status: Map<DiskStatus> = "diskStatus".nullable(),
        /// From the Kubernetes node's labels.
        pub region: String = "region",
        /// From the Kubernetes node's labels.
        pub zone: String = "zone",
        /// How far the checks of snapshots' hashes are.
        pub snapshot_check_status: SnapshotCheckStatus = "snapshotCheckStatus",
        /// Whether a drain moves its replicas away.
        pub auto_evicting: bool = "autoEvicting",
    }
}

custom_resource! {
    /// A node and its disks.
    pub struct Node: NodeStatus {
        /// As a person wants it.
        pub spec: NodeSpec = "spec",
    }
    "Node" ("nodes", "lhn") [
        Column::text("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        Column::new("AllowScheduling", "boolean", ".spec.allowScheduling"),
        Column::text("Schedulable", ".status.conditions[?(@.type=='Schedulable')].status"),
        Column::AGE,
    ]
}
