//! What Longhorn's controllers do that is dangerous, and no damage yet. Each line of a run's hazards is the beginning of a race that may not be lost.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use corral_core::Nanos;
use corral_core::journal::{Event, Record};
use corral_world::{Oracle, Stage};

/// Hazard: an object is deleted because a listing of the store did not show what it stands for, and that proves nothing: the listing failed, or was
/// begun before the object was there (safety statement S20).
#[derive(Default)]
pub struct AbsenceIsProved {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// When objects were created, by kind and name.
    created: BTreeMap<(&'static str, String), Nanos>,
    /// The last listing of each process, by what is listed.
    listings: BTreeMap<(u32, String), Listing>,
}

#[derive(Clone, Copy)]
struct Listing {
    began: Nanos,
    succeeded: bool,
}

/// Kinds that synchronisations delete.
const MIRRORED: [&str; 4] = ["Backup", "BackupBackingImage", "BackupVolume", "SystemBackup"];

/// What a call lists: a kind, and of backups the volume.
fn listed(method: &str) -> Option<String> {
    let command = method.strip_prefix("exec longhorn ")?;
    match command {
        "backup ls --volume-only" => Some("BackupVolume".to_owned()),
        "backup ls-backing-image" => Some("BackupBackingImage".to_owned()),
        "system-backup list" => Some("SystemBackup".to_owned()),
        _ => command.strip_prefix("backup ls --volume ").map(|volume| format!("Backup of {volume}")),
    }
}

/// What a reconcile that deletes a mirrored object must have listed, by the names it may go by; none if it is not one that synchronises.
fn grounds(kind: &str, within: &str) -> Option<Vec<String>> {
    let (controller, object) = within.split_once(' ')?;
    match (controller, kind) {
        ("longhorn-backup-target", "BackupVolume" | "BackupBackingImage" | "SystemBackup") => {
            Some(vec![kind.to_owned()])
        }
        // Since v1.8.0-rc1 a BackupVolume's name is its volume's and something random.
        ("longhorn-backup-volume", "Backup") => {
            let volumes = std::iter::once(object).chain(object.rsplit_once('-').map(|(volume, _)| volume));
            Some(volumes.map(|volume| format!("Backup of {volume}")).collect())
        }
        _ => None,
    }
}

impl Oracle for AbsenceIsProved {
    fn name(&self) -> &'static str {
        super::ABSENCE_NOT_PROVED
    }

    fn about(&self) -> &'static str {
        "hazard: something is deleted that a failed or older listing did not show"
    }

    fn observe(&self, stage: &Stage, record: &Record<'_>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match &record.event {
            Event::ApiWrite { verb, kind, name, .. } if verb == "create" => {
                if let Some(kind) = MIRRORED.into_iter().find(|mirrored| mirrored == kind) {
                    known.created.insert((kind, name.to_string()), record.at);
                }
            }
            Event::Call { method, outcome, took_ns, .. } => {
                if let Some(list) = listed(method) {
                    let began = Nanos(record.at.0.saturating_sub(*took_ns));
                    let listing = Listing { began, succeeded: outcome == "ok" };
                    known.listings.insert((record.process, list), listing);
                }
            }
            Event::ApiRequest { verb, kind, name, within, code: 200..300, .. } if verb == "delete" => {
                let Some(kind) = MIRRORED.into_iter().find(|mirrored| mirrored == kind) else { return };
                let Some(lists) = grounds(kind, within) else { return };
                let listing =
                    lists.iter().find_map(|list| known.listings.get(&(record.process, list.clone())).copied());
                let name = name.rsplit('/').next().unwrap_or_default();
                let created = known.created.get(&(kind, name.to_owned())).copied();
                let why = match listing {
                    None => format!("there was no listing ({})", lists[0]),
                    Some(Listing { succeeded: false, .. }) => "the listing had failed".to_owned(),
                    Some(Listing { began, .. }) if created.is_some_and(|created| created > began) => {
                        format!("the listing was begun at {began}, before it was created")
                    }
                    Some(_) => return,
                };
                drop(known);
                stage.hazard(
                    self.name(),
                    &format!("{kind} {name}"),
                    &format!("deleted as absent from the store; {why}"),
                );
            }
            _ => {}
        }
    }
}

/// Hazard: a reconcile did something outside the API, and could not store what it knows of it afterwards: the next one may do it again, or never look
/// for the outcome (safety statement S18).
#[derive(Default)]
pub struct OutcomesAreStored {
    /// What was done last, by process and reconcile.
    done: Mutex<BTreeMap<(u32, String), String>>,
}

/// Whether a call changes something where it is answered. What only asks begins so.
fn changes_something(method: &str) -> bool {
    const CHANGES: [&str; 9] =
        ["Create", "Delete", "Add", "Remove", "Start", "Backup", "Restore", "Snapshot", "Replace"];
    match method.strip_prefix("exec longhorn ") {
        Some(command) => ["backup create", "backup rm", "system-backup upload", "system-backup delete"]
            .iter()
            .any(|changing| command.starts_with(changing)),
        None => {
            let name = method.split(' ').next().unwrap_or_default();
            let asks = ["Get", "List", "Status", "Watch"].iter().any(|asks| name.contains(asks));
            !asks && CHANGES.iter().any(|changing| name.contains(changing))
        }
    }
}

impl Oracle for OutcomesAreStored {
    fn name(&self) -> &'static str {
        super::ACTED_BEFORE_STORED
    }

    fn about(&self) -> &'static str {
        "hazard: something was done outside, and that it was could not be stored"
    }

    fn observe(&self, stage: &Stage, record: &Record<'_>) {
        match &record.event {
            Event::Call { method, within, .. } if !within.is_empty() && changes_something(method) => {
                let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
                done.insert((record.process, within.to_string()), method.to_string());
            }
            Event::ApiRequest { verb, kind, name, code, within, .. } if verb == "update" && !within.is_empty() => {
                // A reconcile is named after its object.
                let name = name.rsplit('/').next().unwrap_or_default();
                if within.rsplit(' ').next() != Some(name) {
                    return;
                }
                let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(method) = done.remove(&(record.process, within.to_string())) else { return };
                drop(done);
                if !(200..300).contains(code) {
                    let detail = format!("{method} was done; what {within} knew of it was not stored ({code})");
                    stage.hazard(self.name(), &format!("{kind} {name}"), &detail);
                }
            }
            _ => {}
        }
    }
}
