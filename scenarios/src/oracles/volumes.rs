//! **Damage**: data that was acknowledged, or backed up and restored, is not there.
//! **Promise**: a system restore brings back the volumes of a system backup with the data of their backups (Longhorn's documentation, "Restore
//! Longhorn system"; safety statement S7 of the list this follows: content of the restored volume is the content at the backup).
//! What a volume has acknowledged is read from then on (S1 of that list), whatever happens to replicas, machines and pods.
//! **Bound**: reads are judged as they come; for a restored volume the client waits until the restore has ended and the volume can be attached; then the data is there or lost.

use corral_world::Oracle;

/// Who reads a restored volume reads what was written to it before its backup. Clients report it: they know what they wrote.
pub struct RestoredVolumesHoldTheirData;

impl Oracle for RestoredVolumesHoldTheirData {
    fn name(&self) -> &'static str {
        "restored-volumes-hold-their-data"
    }

    fn about(&self) -> &'static str {
        "a restored volume holds what was backed up"
    }
}

/// Who reads an attached volume reads what was acknowledged last, or a later write that was never answered. Clients report it.
pub struct AcknowledgedWritesAreReadable;

impl Oracle for AcknowledgedWritesAreReadable {
    fn name(&self) -> &'static str {
        "acknowledged-writes-are-readable"
    }

    fn about(&self) -> &'static str {
        "what a volume acknowledged is read from then on"
    }
}
