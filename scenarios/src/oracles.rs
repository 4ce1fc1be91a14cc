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

use corral_world::STALE_READ;
use serde_json::Value;

const ABSENCE_NOT_PROVED: &str = "absence-not-proved";
const ACTED_BEFORE_STORED: &str = "acted-before-stored";
const DUPLICATE_CREATION: &str = "duplicate-creation";
const WAIT_CYCLE: &str = "structural-wait-cycle";

/// Hazards by name, and what each is, for `corral list hazards`.
pub const HAZARDS: &[(&str, &str)] = &[
    (STALE_READ, "a reconcile wrote on the ground of an object of which a newer version was stored"),
    (ABSENCE_NOT_PROVED, "something is deleted that a failed or older listing did not show"),
    (ACTED_BEFORE_STORED, "something was done outside the cluster, and that it was could not be stored"),
    (DUPLICATE_CREATION, "two objects play a part that there is to be one of; one goes again"),
    (WAIT_CYCLE, "an instance manager, an orphan's finalizer and a pod wait for each other"),
];

/// The status of a condition.
fn condition<'a>(status: &'a Value, wanted: &str) -> Option<&'a str> {
    let conditions = status["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == wanted)?["status"].as_str()
}
