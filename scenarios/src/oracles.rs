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

/// The status of a condition.
fn condition<'a>(status: &'a Value, wanted: &str) -> Option<&'a str> {
    let conditions = status["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == wanted)?["status"].as_str()
}
