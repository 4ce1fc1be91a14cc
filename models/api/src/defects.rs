//! The recorded defects: one table, one row each.
//!
//! A row is a mistake that upstream made and mended; a build has it or has it not ([`crate::Build::has`]), and the model's code
//! takes the one path or the other. An id is the number of the issue in longhorn/longhorn, with a part where halves or cures
//! stand apart. `--defect ID` adds one to a release that was published without it, `--cured ID` takes one away.
//!
//! `c` and a number is a mistake that a scenario of Corral found and that no issue is known of; its cure is Corral's proposal.
//! Such ids are short because an image's tag has room for 128 characters, and all ids at once have to fit.
//!
//! 10120 is the odd one out: the mistake is the test client's, so `--defect 10120` means that the *strict* client runs, against
//! whatever Longhorn `--release` names, and `--cured 10120` means the tolerant one, which is also the default. No Longhorn
//! release "has" it, and no Longhorn image carries it in its tag; from v1.8.0-rc1 on Longhorn only makes it show often.

use std::fmt;
use std::str::FromStr;

use crate::releases::{ClientRelease, Release, ReleaseLine, named_in_data, nearest};

/// What a defect is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// longhorn-manager: controllers, webhooks, upgrade step.
    Manager,
    /// backing-image-manager, with the backupstore library inside it.
    BackingImageManager,
    /// longhorn-engine: the engine's and the replicas' processes, and what its binary does on the command line.
    Engine,
    /// The clean-up code of longhorn-tests.
    TestClient,
}

impl Component {
    /// Name in lists.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manager => "longhorn-manager",
            Self::BackingImageManager => "backing-image-manager",
            Self::Engine => "longhorn-engine",
            Self::TestClient => "test-client",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Which of the modelled releases were published with a defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affected {
    /// Releases of Longhorn.
    Longhorn(&'static [Release]),
    /// Releases of the test client.
    TestClient(&'static [ClientRelease]),
}

impl fmt::Display for Affected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = match self {
            Self::Longhorn(releases) => releases.iter().map(|release| release.name()).collect(),
            Self::TestClient(releases) => releases.iter().map(|release| release.name()).collect(),
        };
        formatter.pad(&if names.is_empty() { "none of the modelled".to_owned() } else { names.join(", ") })
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct Record {
    /// The row's handle.
    pub defect: Defect,
    /// Name on the command line and in seed files.
    pub id: &'static str,
    /// Where the mistake is.
    pub component: Component,
    /// The mistake, in one line.
    pub cause: &'static str,
    /// Who has it.
    pub affected: Affected,
    /// What mended it: upstream's pull request and commits.
    pub cure: &'static str,
    /// What the other columns cannot say; may be empty.
    pub remark: &'static str,
}

/// A recorded defect. [`Defect::record`] is its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Defect {
    /// longhorn#9530
    Issue9530,
    /// longhorn#10057, first half
    Issue10057Handler,
    /// longhorn#10057, second half
    Issue10057Wait,
    /// longhorn#10120
    Issue10120,
    /// longhorn#10181
    Issue10181,
    /// longhorn#10740
    Issue10740,
    /// longhorn#10791, what 2aadde18b mended
    Issue10791OwnerReference,
    /// longhorn#10791, what dadf403da mended
    Issue10791Finalizer,
    /// longhorn#12542
    Issue12542,
    /// longhorn#13685
    Issue13685,
    /// The Snapshot of a volume whose rebuild begins is deleted.
    FoundSnapshotDeleted,
    /// A manager without an engine binary makes a system backup, or restores one.
    FoundWithoutBinary,
    /// A power cut takes from a replica what it has said to have.
    FoundUnsyncedReplica,
    /// A backup that never began is in doubt for a day.
    FoundDayInDoubt,
    /// A manager that starts ends because somebody else has changed its pod, or a setting.
    FoundStartConflict,
    /// A manager does not start beside an engine image whose binary nobody has run yet.
    FoundUnreadEngineImage,
    /// A list of the store that fails is taken for an empty one.
    FoundFailedList,
    /// A backup that was never the last one has no owner.
    FoundBackupOfNobody,
    /// A system backup waits for the name of a backup that is gone.
    FoundNameThatIsGone,
    /// A request for a synchronisation is made once, and compared in seconds of another clock.
    FoundLostSyncRequest,
    /// A backup of a backing image that was only begun counts as made.
    FoundBegunImageBackup,
    /// A system backup whose owner is lost waits for an event.
    FoundLostOwner,
    /// A system backup whose archive is gone is uploaded again and again.
    FoundLostArchive,
    /// Any manager that has a backing image is asked for a backup that another one makes.
    FoundAnyImageManager,
    /// The backup that ends last is a volume's last one.
    FoundOlderLastBackup,
    /// Replicas that fail before they were seen to be healthy are not salvaged.
    FoundNeverHealthy,
    /// Two resources that stand for the backup of one image are never cleaned up (c17).
    FoundTwoImageBackups,
}

/// The releases with many backup targets.
const SINCE_1_8: &[Release] = &[
    Release::V1_8_0_RC1,
    Release::V1_8_0_RC2,
    Release::V1_8_0,
    Release::V1_8_1,
    Release::V1_8_2,
    Release::V1_9_0_DEV_00886872C,
    Release::V1_9_2,
];

/// The table, ordered by id.
pub const TABLE: &[Record] = &[
    Record {
        defect: Defect::Issue9530,
        id: "9530",
        component: Component::Manager,
        cause: "an empty listing of a store that is away for a moment deletes the resources, and their finalizers delete the \
                remote backups once it is back",
        affected: Affected::Longhorn(&[]),
        cure: "longhorn-manager 8fadbfbeb: a synchronisation labels what it deletes longhorn.io/delete-custom-resource-only",
        remark: "up to v1.7.1; cured in v1.6.4, v1.7.2 and v1.8.0; with longhorn#4536",
    },
    Record {
        defect: Defect::Issue10057Handler,
        id: "10057/handler",
        component: Component::Manager,
        cause: "the volume controller's BackupVolume handler looks the Volume up by the BackupVolume's name, which has a random \
                suffix: lastBackup waits for the 30 s resync",
        affected: Affected::Longhorn(&[Release::V1_8_0_RC1]),
        cure: "longhorn-manager#3413 (b4418eb96; 5a95320e3 on v1.8.x): look it up by spec.volumeName",
        remark: "in the code from ecb62a8d8 on; twin longhorn#10058",
    },
    Record {
        defect: Defect::Issue10057Wait,
        id: "10057/wait",
        component: Component::Manager,
        cause: "a system backup waits for its Backups to be Completed but not for Volume.status.lastBackup, which it then saves",
        affected: Affected::Longhorn(&[Release::V1_7_2, Release::V1_8_0_RC1]),
        cure: "longhorn-manager#3413 (b4418eb96; 5a95320e3 on v1.8.x): wait until lastBackup is the Backup",
        remark: "rare without 10057/handler",
    },
    Record {
        defect: Defect::Issue10120,
        id: "10120",
        component: Component::TestClient,
        cause: "the clean-up lists the Backups and deletes them one by one, and takes \"not found\" for a failure while the \
                garbage collector deletes the same objects",
        affected: Affected::TestClient(&[ClientRelease::Strict]),
        cure: "longhorn-tests#2241 (8436ccbda; a358003d0 on v1.8.x): skip what is not found",
        remark: "shows often against a manager from v1.8.0-rc1 on (0b996e3fd: owner references instead of a collection delete)",
    },
    Record {
        defect: Defect::Issue10181,
        id: "10181",
        component: Component::Manager,
        cause: "the upgrade from v1.7 looks up the Volume of every Backup by status.volumeName; it is empty for a Backup that \
                failed or is not inspected yet, the client refuses the name, the manager exits",
        affected: Affected::Longhorn(&[Release::V1_8_0_RC1, Release::V1_8_0_RC2]),
        cure: "longhorn-manager#3445 (3c30318db; 784d2931d on v1.8.x): old Backups belong to the target default, nothing to look up",
        remark: "mended in v1.8.0-rc3",
    },
    Record {
        defect: Defect::Issue10740,
        id: "10740",
        component: Component::BackingImageManager,
        cause: "the backup of a backing image whose configuration is already in the store returns without a progress: in \
                progress, 0 %, for ever",
        affected: Affected::Longhorn(&[
            Release::V1_7_2,
            Release::V1_8_0_RC1,
            Release::V1_8_0_RC2,
            Release::V1_8_0,
            Release::V1_8_1,
        ]),
        cure: "backupstore#241 (0ef762b; in backing-image-manager 63197832, 59f1c2ae on v1.8.x): report 100 % and the URL",
        remark: "",
    },
    Record {
        defect: Defect::Issue10791OwnerReference,
        id: "10791/2aadde18b",
        component: Component::Manager,
        cause: "the orphan of an instance blocks the deletion of its InstanceManager by an owner reference with \
                blockOwnerDeletion",
        affected: Affected::Longhorn(&[Release::V1_9_0_DEV_00886872C]),
        cure: "longhorn-manager 48a757ad4 (2aadde18b on v1.9.x), for longhorn#10888: no owner reference",
        remark: "also in v1.9.0-rc1 and rc2, without the deadlock",
    },
    Record {
        defect: Defect::Issue10791Finalizer,
        id: "10791/dadf403da",
        component: Component::Manager,
        cause: "the finalizer of an orphaned instance waits for an answer of the instance manager's pod, which is gone and is \
                not recreated while its resource is terminating",
        affected: Affected::Longhorn(&[Release::V1_9_0_DEV_00886872C]),
        cure: "longhorn-manager#3719 (dadf403da): remove the finalizer whatever the instance manager answers",
        remark: "never in a tag",
    },
    Record {
        defect: Defect::Issue12542,
        id: "12542",
        component: Component::Manager,
        cause: "a backup volume's configuration is read again only if its age in the store, in whole seconds, is another one: the \
                last backup that was written in the second of the first reading is never known",
        affected: Affected::Longhorn(Release::ALL),
        cure: "longhorn-manager 6eef39c81: read it again unless the last backup that is known is the youngest",
        remark: "cured in no modelled release; from v1.8.0-rc2 on a system backup waits for the last backup (the cure of 10057/wait)",
    },
    Record {
        defect: Defect::Issue13685,
        id: "13685",
        component: Component::Manager,
        cause: "the manager retries a restore when the error says \"failed lock\", the engine has said \"failed to acquire lock\" \
                since backupstore 326b984: replicas are marked failed instead",
        affected: Affected::Longhorn(Release::ALL),
        cure: "none upstream yet: accept both texts",
        remark: "from v1.6.3 on; with longhorn#3055, #6750, #8713",
    },
    Record {
        defect: Defect::FoundSnapshotDeleted,
        id: "c1",
        component: Component::Manager,
        cause: "the engine controller waits up to 30 s inside a reconcile for a rebuild to begin (10 s of it for the purge before), then \
                deletes the Snapshots that the Engine it read before the wait does not list: one taken meanwhile goes, its data too",
        affected: Affected::Longhorn(Release::ALL),
        cure: "none upstream: read the Engine again before looking for Snapshots that it has no longer",
        remark: "v1.9.2: startRebuilding and syncSnapshotCRs in controller/engine_controller.go, lines 1947, 370 and 1207; also in v1.11.0; a \
                 system backup then waits 24 h for the Backup whose Snapshot is gone",
    },
    Record {
        defect: Defect::FoundWithoutBinary,
        id: "c2",
        component: Component::Manager,
        cause: "any manager takes a new SystemBackup or SystemRestore, also one on whose node the default engine image is not deployed yet: \
                it cannot run the engine binary that reads the store, and what it took is in Error for good",
        affected: Affected::Longhorn(Release::ALL),
        cure: "none upstream: ask for the engine image's readiness first, as the controllers of single backups do",
        remark: "v1.9.2: isResponsibleFor in controller/system_backup_controller.go (line 253) and system_restore_controller.go; also in v1.11.0",
    },
    Record {
        defect: Defect::FoundUnsyncedReplica,
        id: "c3",
        component: Component::Engine,
        cause: "a replica syncs nothing, and no flush reaches it. Its metadata files are written beside their place and renamed: a power cut \
                within the half minute that file systems take to write leaves them empty, and but for volume.meta nobody makes them anew: the \
                replica cannot be opened, a volume of this one replica is salvaged and fails again and again. Data that went into a hole is lost \
                with the blocks that the file system's next commit, in five seconds, would have made the file's",
        affected: Affected::Longhorn(Release::ALL),
        cure: "none upstream: sync the file before the rename and the directory after it, and the head before a write is acknowledged",
        remark: "v1.9.2: encodeToFile and tryRecoverVolumeMetaFile in pkg/replica/replica.go, lines 651 and 1109, and WriteAt in diff_disk.go; seen by \
                 users: longhorn#4846 (volume.meta, mended), #5789 (open)",
    },
    Record {
        defect: Defect::FoundDayInDoubt,
        id: "c4",
        component: Component::Manager,
        cause: "a backup is begun by a call that must be answered within 3 min; when the replica's machine dies just then it is not, and the \
                Backup stays Pending for 24 h, though no replica knows of it",
        affected: Affected::Longhorn(Release::ALL),
        cure: "none upstream: give up after five minutes",
        remark: "v1.9.2: NewBackupMonitor and exponentialBackOffTimer in engineapi/backup_monitor.go, lines 55 and 222, a workaround for longhorn#3545; \
                 the user's own remedy is to delete the Backup",
    },
    Record {
        defect: Defect::FoundStartConflict,
        id: "c5",
        component: Component::Manager,
        cause: "a starting manager puts the labels of its services on its own pod, and the images of its release into the settings, in one try: if \
                the kubelet, or another manager, has written them since they were read, which a slow API server makes likely, the manager ends \
                with an error",
        affected: Affected::Longhorn(Release::ALL),
        cure: "none upstream: read again and try again at a conflict",
        remark: "v1.9.2: AddLabelToManagerPod in datastore/kubernetes.go, line 585, and its callers in app/daemon.go, lines 172, 193 and 303; \
                 createOrUpdateSetting in datastore/longhorn.go, line 191",
    },
    Record {
        defect: Defect::FoundUnreadEngineImage,
        id: "c6",
        component: Component::Manager,
        cause: "a starting manager refuses engine images in use whose interface is too old, and takes one that is not deployed yet, whose \
                version is 0, for that. If the managers are restarted between the creation of a volume and the image's deployment, none \
                starts again, and nobody deploys the image; the one that owns the image is enough, as the others leave it to a manager \
                whose pod is there",
        affected: Affected::Longhorn(Release::ALL),
        cure: "none upstream: pass over images that were never read",
        remark: "v1.9.2: GetCurrentReferredLonghornEngineImageVersions and checkEngineUpgradePath in upgrade/util/util.go, lines 143 and 288; \
                 IsNodeDownOrDeletedOrMissingManager in datastore/longhorn.go, line 3051",
    },
    Record {
        defect: Defect::FoundFailedList,
        id: "c7",
        component: Component::Engine,
        cause: "a list of the store that fails counts as an empty one. While a backup is deleted, two such lists mean that the volume has no other \
                backup: the blocks of all are deleted. While a target is synchronised, one means that it has no backing images: a BackupBackingImage \
                is deleted though its upload runs",
        affected: Affected::Longhorn(Release::ALL),
        cure: "none upstream: a list that fails is an error",
        remark: "backupstore 794abf817297 (all engines of v1.9.2): getBackupNamesForVolume in config.go, line 302, used by DeleteDeltaBlockBackup in \
                 deltablock.go, lines 1382 and 1443; GetAllBackupBackingImageNames in backupbackingimage/config.go, line 157; sibling S-10",
    },
    Record {
        defect: Defect::FoundBackupOfNobody,
        id: "c8",
        component: Component::Manager,
        cause: "a Backup gets an owner when it is pulled, or when a synchronisation finds it to be the last one; a synchronisation is asked for once, when \
                it completes. One that was never the last at a synchronisation outlives its BackupVolume and its data",
        affected: Affected::Longhorn(SINCE_1_8),
        cure: "none upstream: delete by labels when the BackupVolume is deleted, as up to v1.7.2",
        remark: "v1.9.2: backup_volume_controller.go, lines 343 and 399; backup_controller.go, line 397; \
                 DeleteAllBackupsForBackupVolumeWithBackupTarget in datastore/longhorn.go, line 4888, is called by nobody; sibling S-1",
    },
    Record {
        defect: Defect::FoundNameThatIsGone,
        id: "c9",
        component: Component::Manager,
        cause: "a synchronisation of the target deletes a BackupBackingImage whose upload has not put its configuration yet, and pulls it later under another \
                random name; the system backup waits a day for the first",
        affected: Affected::Longhorn(SINCE_1_8),
        cure: "none upstream: wait for the backup of the image, not for its name",
        remark: "v1.9.2: WaitForBackingImageBackupToComplete in controller/system_backup_controller.go, line 1086; backup_target_controller.go, lines 759 \
                 and 793; names were stable up to v1.7.2; sibling S-2",
    },
    Record {
        defect: Defect::FoundLostSyncRequest,
        id: "c10",
        component: Component::Manager,
        cause: "a completed backup, and the deletion of the last one, ask for a synchronisation of their volume once: an API error is logged, a \
                conflict is passed over; and a clock that was set back makes a request that is older than the last synchronisation. Without the \
                next poll the volume never knows its last backup, a system backup waits for that a day",
        affected: Affected::Longhorn(Release::ALL),
        cure: "none upstream: ask until it is written, for a time after the last synchronisation",
        remark: "v1.9.2: backup_controller.go, lines 347, 953 and 963; the gate in backup_volume_controller.go, line 264; sibling S-3",
    },
    Record {
        defect: Defect::FoundBegunImageBackup,
        id: "c11",
        component: Component::BackingImageManager,
        cause: "the configuration of a backing image's backup lies in the store from its beginning; one that was begun by a manager that died is taken for \
                whole by the next: Completed, and no restore takes it",
        affected: Affected::Longhorn(&[Release::V1_8_2, Release::V1_9_0_DEV_00886872C, Release::V1_9_2]),
        cure: "none upstream: upload what has no end in the store",
        remark: "backupstore 794abf817297: backupbackingimage.go, line 117; v1.9.2: engineapi/backup_backing_image.go, line 125; since the cure of \
                 longhorn#10740; siblings S-4 and S-5",
    },
    Record {
        defect: Defect::FoundLostOwner,
        id: "c12",
        component: Component::Manager,
        cause: "the handler of SystemBackups has no resync and none for Nodes: one whose owner's machine is lost stands still until something writes to it",
        affected: Affected::Longhorn(Release::ALL),
        cure: "none upstream: queue what belongs to a node that is lost",
        remark: "v1.9.2: controller/system_backup_controller.go, line 144; sibling S-9",
    },
    Record {
        defect: Defect::FoundLostArchive,
        id: "c13",
        component: Component::Manager,
        cause: "the archive of a system backup lies in the manager's container; if that is restarted while it uploads, the upload of a missing file is \
                tried for an hour, then the SystemBackup is in Error",
        affected: Affected::Longhorn(Release::ALL),
        cure: "none upstream: make the archive again",
        remark: "v1.9.2: reconcile and UploadSystemBackup in controller/system_backup_controller.go, lines 467 and 551; found beside sibling S-9",
    },
    Record {
        defect: Defect::FoundAnyImageManager,
        id: "c14",
        component: Component::Manager,
        cause: "a manager that takes over the backup of a backing image asks any backing image manager that has the file; one that does not make it says \
                \"not found\", and the BackupBackingImage is in Error for good though the upload ends well",
        affected: Affected::Longhorn(Release::ALL),
        cure: "none upstream: ask the one that makes it",
        remark: "v1.9.2: findSuitableBackingImageManager in controller/backup_backing_image_controller.go, line 473; sibling S-6",
    },
    Record {
        defect: Defect::FoundOlderLastBackup,
        id: "c15",
        component: Component::Engine,
        cause: "a volume's last backup is the one that ended last: an upload that outlived its Backup puts itself before a younger one, and a system backup \
                waits a day for its own to be the last",
        affected: Affected::Longhorn(Release::ALL),
        cure: "none upstream: a backup of an older snapshot does not take a younger one's place",
        remark: "backupstore 794abf817297: deltablock.go, line 646; v1.9.2: controller/system_backup_controller.go, line 898; sibling S-8",
    },
    Record {
        defect: Defect::FoundNeverHealthy,
        id: "c16",
        component: Component::Manager,
        cause: "a replica counts as healthy when the manager has first looked at the running engine, 5 s after its start. If all replicas fail \
                before that (their instance manager is killed, their machine dies), the volume is faulted and not salvaged, as \"no data exists\", \
                until staleReplicaTimeout is over: half an hour by the shipped StorageClass, for ever if it is 0",
        affected: Affected::Longhorn(Release::ALL),
        cure: "none upstream: salvage replicas that were never healthy if all are such; they hold nothing to lose",
        remark: "v1.9.2: controller/volume_controller.go, lines 668 to 743, 889 and 1381; users have the log line in longhorn#7507",
    },
    Record {
        defect: Defect::FoundTwoImageBackups,
        id: "c17",
        component: Component::Manager,
        cause: "a backing image's backup is created by whoever misses it (the backup of a volume on it, a system backup, a synchronisation that sees it \
                in the store), and the webhook's cache lets two managers create one each. Both stay: whoever looks for the one finds two, and every \
                backup of a volume on that image waits for ever",
        affected: Affected::Longhorn(SINCE_1_8),
        cure: "none upstream: take the one that was asked for, then the oldest, and let a synchronisation forget the others, as it does with \
               BackupVolumes (longhorn#11154)",
        remark: "v1.9.2: GetBackupBackingImagesWithBackupTargetNameRO in datastore/longhorn.go, line 6121; \
                 webhook/resources/backupbackingimage/validator.go, line 56; syncBackupBackingImage in controller/backup_target_controller.go, line 742",
    },
];

impl Defect {
    /// The row of the table.
    pub fn record(self) -> &'static Record {
        TABLE.iter().find(|record| record.defect == self).expect("every defect has a row")
    }

    /// Name on the command line and in seed files.
    pub fn id(self) -> &'static str {
        self.record().id
    }

    /// All of them, ordered by id.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|record| record.defect)
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.id())
    }
}

/// A defect id that is not in the table.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown defect {id:?}; the nearest known is {nearest} (known: {known})")]
pub struct UnknownDefect {
    /// What was asked for.
    pub id: String,
    /// The known id most like it.
    pub nearest: &'static str,
    known: String,
}

impl FromStr for Defect {
    type Err = UnknownDefect;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        TABLE.iter().find(|record| record.id == id).map(|record| record.defect).ok_or_else(|| {
            let ids: Vec<_> = TABLE.iter().map(|record| record.id).collect();
            UnknownDefect { id: id.to_owned(), nearest: nearest(id, &ids), known: ids.join(", ") }
        })
    }
}

named_in_data!(Defect);

/// The table as people read it.
pub fn render() -> String {
    let mut text = String::new();
    for record in TABLE {
        text += &format!("{:<16} {} ({})\n", record.id, record.component, record.affected);
        text += &format!("{:16} cause: {}\n{:16} cure: {}\n", "", record.cause, "", record.cure);
        if !record.remark.is_empty() {
            text += &format!("{:16} note: {}\n", "", record.remark);
        }
    }
    text
}
