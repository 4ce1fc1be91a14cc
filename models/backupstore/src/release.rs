//! What differs between releases, and the waits that scenarios may change.

use std::time::Duration;

/// How the store's operations behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// How long a new lock lies in the store before its owner looks for others (lock.go, `LOCK_CHECK_WAIT_TIME`).
    pub lock_wait: Duration,
    /// How often a held lock is written again (`LOCK_REFRESH_INTERVAL`).
    pub lock_refresh: Duration,
    /// Age at which a lock no longer counts (`LOCK_DURATION`).
    pub lock_expiry: Duration,
    /// The wording of a refused lock.
    pub lock_refusal: LockRefusalText,
    /// Cure of longhorn#10740: a backup of a backing image that finds the configuration in the store reports that it is complete.
    pub existing_backing_image_is_complete: bool,
    /// Since v1.8.0 (backupstore b405e8f) a block of a volume whose upload failed does not count as done.
    pub failed_block_is_not_done: bool,
    /// Since v1.9.0 the size of a backup's blocks is a parameter of the backup; before, every block has 2 MiB.
    pub block_size_parameter: bool,
}

/// The wording of a refused lock. Controllers search for it, and one of them for the old one only (longhorn#13685).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockRefusalText {
    /// Before backupstore 326b984: engines up to v1.6.2 and v1.7.1.
    FailedLock,
    /// Since then.
    FailedToAcquireLock,
}

impl Default for Behaviour {
    /// The newest release's behaviour, v1.9.2.
    fn default() -> Self {
        Self {
            lock_wait: Duration::from_secs(2),
            lock_refresh: Duration::from_secs(60),
            lock_expiry: Duration::from_secs(150),
            lock_refusal: LockRefusalText::FailedToAcquireLock,
            existing_backing_image_is_complete: true,
            failed_block_is_not_done: true,
            block_size_parameter: true,
        }
    }
}
