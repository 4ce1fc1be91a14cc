//! **Damage**: data that was backed up and restored is not there.
//! **Promise**: a system restore brings back the volumes of a system backup with the data of their backups (Longhorn's documentation, "Restore
//! Longhorn system"; safety statement S7 of the list this follows: content of the restored volume is the content at the backup).
//! **Bound**: the client waits until the restore has ended and the volume can be attached; then the data is there or lost.

use corral_world::Oracle;

/// Who reads a restored volume reads what was written to it before its backup. Clients report it: they know what they wrote.
pub struct RestoredVolumesHoldTheirData;

impl Oracle for RestoredVolumesHoldTheirData {
    fn name(&self) -> &'static str {
        "restored-volumes-hold-their-data"
    }
}
