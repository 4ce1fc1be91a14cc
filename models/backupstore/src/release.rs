//! What differs between releases, and the waits that scenarios may change.

use std::time::Duration;

use longhorn_api::{Build, Defect, Release};

/// How the store's operations behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// How long a new lock lies in the store before its owner looks for others (lock.go, `LOCK_CHECK_WAIT_TIME`).
    pub lock_wait: Duration,
    /// How often a held lock is written again (`LOCK_REFRESH_INTERVAL`).
    pub lock_refresh: Duration,
    /// Age at which a lock no longer counts (`LOCK_DURATION`).
    pub lock_expiry: Duration,
    /// Cure of longhorn#10740: a backup of a backing image that finds the configuration in the store reports that it is
    /// complete.
    pub existing_backing_image_is_complete: bool,
    /// Defect c7: a list that fails is taken for an empty one.
    pub failed_list_is_empty: bool,
    /// Defect c11: a backup of a backing image that another manager began and never ended counts as made.
    pub begun_backing_image_counts: bool,
    /// Defect c15: the backup that ends last is a volume's last one, even if its snapshot is the older one.
    pub last_to_end_is_last: bool,
    /// Since v1.8.0 (backupstore b405e8f) a block of a volume whose upload failed does not count as done.
    pub failed_block_is_not_done: bool,
    /// Since v1.9.0 the size of a backup's blocks is a parameter of the backup; before, every block has 2 MiB.
    pub block_size_parameter: bool,
}

impl Behaviour {
    /// How a build behaves: the engine's for volumes and system backups, the backing image manager's for backing
    /// images.
    pub fn of(build: &Build) -> Self {
        let release = build.release();
        Self {
            lock_wait: Duration::from_secs(2),
            lock_refresh: Duration::from_secs(60),
            lock_expiry: Duration::from_secs(150),
            existing_backing_image_is_complete: !build.has(Defect::Issue10740),
            failed_list_is_empty: build.has(Defect::FoundFailedList),
            begun_backing_image_counts: build.has(Defect::FoundBegunImageBackup),
            last_to_end_is_last: build.has(Defect::FoundOlderLastBackup),
            failed_block_is_not_done: release.at_least(Release::V1_8_0_RC1),
            block_size_parameter: release.at_least(Release::V1_9_2),
        }
    }
}

impl Default for Behaviour {
    /// That of the default release.
    fn default() -> Self {
        Self::of(&Build::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defects_and_releases_decide() {
        let published = |release| Behaviour::of(&Build::published(release));
        assert!(!published(Release::V1_8_1).existing_backing_image_is_complete);
        assert!(published(Release::V1_8_2).existing_backing_image_is_complete);
        let cured = Build::new(Release::V1_8_1, [Defect::Issue10740], []).expect("a build");
        assert!(Behaviour::of(&cured).existing_backing_image_is_complete);
        assert!(!published(Release::V1_7_2).failed_block_is_not_done);
        assert_eq!(Behaviour::default(), published(Release::V1_9_2));
    }
}
