//! Longhorn's oracles: one family of damage a file.
//!
//! They read everything in the simulator (what the API server has stored, what the object stores hold, the journal); the system under test may not.

mod backups;
mod clients;
mod deletion;
mod hazards;
mod operations;
mod pods;
mod replicas;
mod roles;
mod upgrade;
mod v2_engine;
mod volumes;

pub use backups::{
    CompletedBackupsHaveTheirBlocks, NoBackupOutlivesItsVolumeAndRemote, NoRemoteBackupIsDeletedOnAbsence,
};
pub use clients::{ClientMeetsNoUnexpectedError, ClientsAreServed};
pub use deletion::NothingIsDeletingForEver;
pub use hazards::{AbsenceIsProved, OutcomesAreStored};
pub use operations::{BackingImageBackupsEnd, CompletedBackupsAreComplete, SystemBackupsEnd};
pub(crate) use operations::{backed_up_image, image_in_store};
pub use pods::SystemPodsAreReady;
pub use replicas::{GoodReplicasAgree, PromotedReplicasAreWhole};
pub use roles::OneObjectPerRole;
pub use upgrade::{BackupsBelongToATarget, UpgradesEnd};
pub use v2_engine::V2InstanceManagersAreUsable;
pub use volumes::{AcknowledgedWritesAreReadable, RestoredVolumesHoldTheirData};

use serde_json::Value;

/// Hazards by name, and what each is, for `corral list hazards`.
pub const HAZARDS: &[(&str, &str)] = &[
    ("acted-on-a-stale-read", "a reconcile wrote on the ground of an object of which a newer version was stored"),
    ("absence-not-proved", "something is deleted that a failed or older listing did not show"),
    ("acted-before-stored", "something was done outside the cluster, and that it was could not be stored"),
    ("duplicate-creation", "two objects play a part that there is to be one of; one goes again"),
    ("structural-wait-cycle", "an instance manager, an orphan's finalizer and a pod wait for each other"),
];

/// The status of a condition.
fn condition<'a>(status: &'a Value, wanted: &str) -> Option<&'a str> {
    let conditions = status["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == wanted)?["status"].as_str()
}
