//! The backups that this process has begun, and how far they are (pkg/manager/backup_list.go, pkg/backingimage/backingimage.go).
//!
//! The list is in memory only, and keyed by the backing image's name: a second backup of an image gets an entry of its own behind the first,
//! and whoever asks is told of the first. Complete backups beyond the last five are forgotten.

use std::sync::{Arc, Mutex, PoisonError};

use longhorn_backupstore::BackupStatus;

/// Complete backups that are remembered.
const COMPLETE_LIMIT: usize = 5;

/// How far a backup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub state: &'static str,
    pub progress: i64,
    pub url: String,
    pub error: String,
}

/// A backup's status, shared by the list and the upload.
#[derive(Clone, Debug)]
pub(super) struct SharedStatus(Arc<Mutex<Status>>);

impl SharedStatus {
    /// A backup that has just been asked for.
    pub fn new() -> SharedStatus {
        let status = Status { state: "in_progress", progress: 0, url: String::new(), error: String::new() };
        SharedStatus(Arc::new(Mutex::new(status)))
    }

    /// How far it is.
    pub fn get(&self) -> Status {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of what the store's operation says.
    pub fn update(&self, told: BackupStatus) {
        let state = match (told.percent, told.error.is_empty()) {
            (100, _) => "complete",
            (_, false) => "error",
            _ => "in_progress",
        };
        let status = Status { state, progress: told.percent, url: told.url, error: told.error };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

/// The backups, oldest first.
#[derive(Default)]
pub(super) struct BackupList(Mutex<Vec<(String, SharedStatus)>>);

impl BackupList {
    /// Adds a backup of the backing image of this name.
    pub fn add(&self, name: &str, status: SharedStatus) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.push((name.to_owned(), status));
        forget_old(&mut list);
    }

    /// The first backup of the backing image of this name.
    pub fn first(&self, name: &str) -> Option<Status> {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget_old(&mut list);
        list.iter().find(|(known, _)| known == name).map(|(_, status)| status.get())
    }
}

fn forget_old(list: &mut Vec<(String, SharedStatus)>) {
    let complete = |entry: &(String, SharedStatus)| entry.1.get().progress == 100;
    let newest_to_forget = (0..list.len()).rev().filter(|index| complete(&list[*index])).nth(COMPLETE_LIMIT);
    let mut next = newest_to_forget;
    while let Some(index) = next {
        next = index.checked_sub(1);
        if complete(&list[index]) {
            list.remove(index);
            // Upstream counts down twice, and so leaves out the entry before one that it removes.
            next = index.checked_sub(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(percent: i64) -> SharedStatus {
        let status = SharedStatus::new();
        if percent > 0 {
            status.update(BackupStatus { percent, url: format!("url-{percent}"), ..BackupStatus::default() });
        }
        status
    }

    #[test]
    fn the_first_of_a_name_answers() {
        let list = BackupList::default();
        assert_eq!(list.first("a"), None);
        let first = status(0);
        list.add("a", first.clone());
        list.add("a", status(100));
        assert_eq!(list.first("a").map(|status| (status.state, status.progress)), Some(("in_progress", 0)));
        first.update(BackupStatus { percent: 40, error: "no".to_owned(), ..BackupStatus::default() });
        assert_eq!(list.first("a").map(|status| (status.state, status.progress)), Some(("error", 40)));
    }

    #[test]
    fn the_last_five_complete_ones_are_kept_and_all_that_are_not() {
        let list = BackupList::default();
        list.add("running", status(0));
        for number in 0..7 {
            list.add(&format!("done-{number}"), status(100));
        }
        let known: Vec<_> = (0..7).filter(|number| list.first(&format!("done-{number}")).is_some()).collect();
        assert_eq!(known, [2, 3, 4, 5, 6]);
        assert!(list.first("running").is_some());
    }
}
