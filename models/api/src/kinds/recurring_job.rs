//! RecurringJob: what is done to volumes, or to the system, at set times (v1beta2/recurringjob.go).

use crate::go::{List, Map};
use crate::releases::Release;
use crate::resource::{Column, custom_resource};
use crate::schema::record;
use crate::text::words;

words! {
    /// What a job does.
    pub enum RecurringJobTask {
        Unset = "",
        Snapshot = "snapshot",
        /// Even if old snapshots could not be cleaned up.
        SnapshotForceCreate = "snapshot-force-create",
        SnapshotCleanup = "snapshot-cleanup",
        SnapshotDelete = "snapshot-delete",
        Backup = "backup",
        /// Even if old snapshots could not be cleaned up.
        BackupForceCreate = "backup-force-create",
        FilesystemTrim = "filesystem-trim",
        /// Since v1.9.0.
        SystemBackup = "system-backup",
    }
}

record! {
    /// A job, as a person wants it.
    pub struct RecurringJobSpec {
        /// Its name.
        pub name: String = "name",
        /// The groups of volumes it is for.
        pub groups: List<String> = "groups".omit_empty(),
        /// What it does.
        pub task: RecurringJobTask = "task"
            .one_of(&[
                "snapshot",
                "snapshot-force-create",
                "snapshot-cleanup",
                "snapshot-delete",
                "backup",
                "backup-force-create",
                "filesystem-trim",
                "system-backup",
            ])
            .choice_since("system-backup", Release::V1_9_0_DEV_00886872C),
        /// When, as cron writes it.
        pub cron: String = "cron",
        /// How many results are kept.
        pub retain: i64 = "retain".any_width(),
        /// How many volumes at once.
        pub concurrency: i64 = "concurrency".any_width(),
        /// What is written on the results.
        pub labels: Map<String> = "labels".omit_empty(),
        /// `full-backup-interval`, `volume-backup-policy`
        pub parameters: Map<String> = "parameters".omit_empty(),
    }
}

record! {
    /// What is known of a job.
    pub struct RecurringJobStatus {
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// How often it ran.
        pub execution_count: i64 = "executionCount".any_width(),
    }
}

custom_resource! {
    /// What is done at set times.
    pub struct RecurringJob: RecurringJobStatus {
        /// As a person wants it.
        pub spec: RecurringJobSpec = "spec",
    }
    "RecurringJob" ("recurringjobs", "lhrj") [
        Column::text("Groups", ".spec.groups"),
        Column::text("Task", ".spec.task"),
        Column::text("Cron", ".spec.cron"),
        Column::new("Retain", "integer", ".spec.retain"),
        Column::new("Concurrency", "integer", ".spec.concurrency"),
        Column::AGE,
        Column::text("Labels", ".spec.labels"),
    ]
}
