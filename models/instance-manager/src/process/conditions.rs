//! Conditions of engine processes: whether the file system on their volume has become read-only, which is when the manager's recovery
//! remounts it (`startInstanceConditionCheck`, `pkg/util/util.go` GetVolumeMountPointMap).

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::manager::Manager;
use crate::names::{is_engine, volume_of};

/// How often mounts are looked at (`MountCheckInterval`).
const INTERVAL: Duration = Duration::from_secs(10);
/// The condition's name (`types.EngineConditionFilesystemReadOnly`).
const FILESYSTEM_READ_ONLY: &str = "FilesystemReadOnly";
/// Where a process reads what is mounted.
const MOUNTS: &str = "/proc/mounts";
/// What the path of a volume's staging mount ends with.
const STAGING: &str = "/globalmount";

/// Looks at the mounts for ever.
pub(super) async fn check_mounts(manager: Manager) {
    let mut interval = host::time::interval_at(host::time::Instant::now() + INTERVAL, INTERVAL);
    loop {
        interval.tick().await;
        // Without a mount table nothing is known, and nothing changes.
        let Ok(mounts) = host::fs::read(MOUNTS).await else { continue };
        let read_only = staged_volumes(&String::from_utf8_lossy(&mounts));
        let processes: Vec<_> = manager.table().processes.values().cloned().collect();
        for process in processes.iter().filter(|process| is_engine(&process.name)) {
            let key = hex::encode(Sha256::digest(volume_of(&process.name)));
            if let Some(&read_only) = read_only.get(&key)
                && process.set_condition(FILESYSTEM_READ_ONLY, read_only)
            {
                manager.tell(process);
            }
        }
    }
}

/// Whether each staged volume is read-only, by the hash of its name.
fn staged_volumes(mounts: &str) -> BTreeMap<String, bool> {
    let staged = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        let (path, options) = (columns.next()?, columns.nth(1)?);
        let (_, key) = path.strip_suffix(STAGING)?.rsplit_once('/')?;
        Some((key.to_owned(), options.split(',').any(|option| option == "ro")))
    };
    mounts.lines().filter_map(staged).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staging_mounts_are_found() {
        let mounts = "/dev/sda1 / ext4 rw,relatime 0 0\n\
            /dev/longhorn/a /host/var/lib/kubelet/plugins/kubernetes.io/csi/driver.longhorn.io/abc/globalmount ext4 ro,relatime 0 0\n\
            /dev/longhorn/b /host/x/def/globalmount ext4 rw,errors=remount-ro 0 0\n";
        assert_eq!(staged_volumes(mounts), BTreeMap::from([("abc".to_owned(), true), ("def".to_owned(), false)]));
    }
}
