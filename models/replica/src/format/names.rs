//! Names of a replica's files (pkg/util/disk upstream).

/// The volume's own metadata.
pub const VOLUME_META: &str = "volume.meta";
/// Counts writes.
pub const REVISION_COUNTER: &str = "revision.counter";
/// Behind a disk's name: its metadata.
pub const META_SUFFIX: &str = ".meta";
/// Behind a disk's name: the checksum of its content.
pub const CHECKSUM_SUFFIX: &str = ".checksum";
/// Behind a snapshot disk's name: what replaces it when a restore is complete.
pub const RESTORE_SUFFIX: &str = ".snap_tmp";
/// What every head's name has in it.
pub const HEAD: &str = "volume-head";

const HEAD_PREFIX: &str = "volume-head-";
const SNAPSHOT_PREFIX: &str = "volume-snap-";
const IMAGE_SUFFIX: &str = ".img";

/// The file of a snapshot.
pub fn snapshot_disk(snapshot: &str) -> String {
    format!("{SNAPSHOT_PREFIX}{snapshot}{IMAGE_SUFFIX}")
}

/// The snapshot whose file this is.
pub fn snapshot_of(disk: &str) -> Option<&str> {
    disk.strip_prefix(SNAPSHOT_PREFIX)?.strip_suffix(IMAGE_SUFFIX)
}

/// The file that an incremental restore collects its blocks in.
pub fn delta_disk(last_restored: &str) -> String {
    format!("volume-delta-{last_restored}{IMAGE_SUFFIX}")
}

/// Whether a file is a head.
pub fn is_head(disk: &str) -> bool {
    disk.starts_with(HEAD_PREFIX) && disk.ends_with(IMAGE_SUFFIX)
}

/// The head after this one. Upstream's pattern keeps only the last digit of a head's number, so that after 010 comes 001.
pub fn next_head(head: &str) -> Option<String> {
    let number = if head.is_empty() {
        0
    } else {
        let digits = head.strip_prefix(HEAD_PREFIX)?.strip_suffix(IMAGE_SUFFIX)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        u32::from(digits.as_bytes()[digits.len() - 1] - b'0') + 1
    };
    Some(format!("{HEAD_PREFIX}{number:03}{IMAGE_SUFFIX}"))
}

/// The snapshot that an expansion leaves behind.
pub fn expansion_snapshot(size: u64) -> String {
    format!("expand-{size}")
}

/// The label of that snapshot.
pub const EXPANSION_LABEL: &str = "replica-expansion";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_count_by_their_last_digit() {
        let mut head = String::new();
        let mut seen = Vec::new();
        for _ in 0..13 {
            head = next_head(&head).unwrap();
            seen.push(head[12..15].to_owned());
        }
        assert_eq!(seen.join(" "), "000 001 002 003 004 005 006 007 008 009 010 001 002");
        assert_eq!(next_head("volume-snap-1.img"), None);
        assert_eq!(next_head("volume-head-.img"), None);
    }
}
