//! Faults of a disk: rules that name files by a pattern, and what they do to operations on them.
//!
//! Errors, slowness and stalls belong to names: they meet whoever uses a path that matches (a handle keeps the path it was opened with).
//! Latent sector errors and bit rot belong to the medium: they hit the files that match when the fault is set, and follow them through
//! renames and hard links. A write to a bad sector heals it, as a disk's spare sectors do.

use corral_core::Latency;

use crate::errno::Errno;

/// Number of a fault on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(pub u64);

/// A fault and where it strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRule {
    /// Which paths of the disk: `?` is any one character but a slash, `*` any number of them, `**` any number of any characters. A pattern that does not begin with a
    /// slash matches the end of a path, beginning at a name: `*.img` is every image, `**` everything.
    pub path: String,
    /// What happens there.
    pub kind: FaultKind,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Reads of data and of directories answer EIO.
    ReadError,
    /// Direct writes and changes of names and sizes answer EIO. Buffered writes succeed; fsync, or the write-back before it, answers EIO
    /// once, and the pages it was to write are clean for the kernel and lost for the device, as Linux has it.
    WriteError,
    /// Sectors of the medium that cannot be read until they are written again.
    LatentSector {
        /// Offset in the file.
        offset: u64,
        /// How many bytes; whole sectors are hit.
        len: u64,
    },
    /// One bit of the medium inverted, once. Nothing happens in a hole.
    BitRot {
        /// Offset in the file of the byte.
        offset: u64,
        /// Which bit of it, 0 to 7.
        bit: u32,
    },
    /// Every operation takes longer by this.
    Slow {
        /// By how much.
        extra: Latency,
    },
    /// No operation begins or ends until the fault is cleared.
    Stall,
    /// Changes answer EROFS.
    ReadOnly,
    /// What needs a new block or a new name answers ENOSPC.
    NoSpace,
}

impl FaultRule {
    /// A fault on the paths that match.
    pub fn new(path: impl Into<String>, kind: FaultKind) -> FaultRule {
        FaultRule { path: path.into(), kind }
    }

    /// Whether a path of the disk ("/a/b") is one of those meant.
    pub fn matches(&self, path: &str) -> bool {
        if self.path.starts_with('/') {
            return glob(self.path.as_bytes(), path.as_bytes());
        }
        let names = path.match_indices('/').map(|(slash, _)| &path[slash + 1..]);
        path.is_empty() && self.path == "**"
            || names.into_iter().any(|rest| glob(self.path.as_bytes(), rest.as_bytes()))
    }
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|skipped| glob(rest, &text[skipped..])),
        [b'*', rest @ ..] => {
            let name = text.iter().position(|&byte| byte == b'/').unwrap_or(text.len());
            (0..=name).any(|skipped| glob(rest, &text[skipped..]))
        }
        [wanted, rest @ ..] => match text {
            [found, after @ ..] if wanted == found || *wanted == b'?' && *found != b'/' => glob(rest, after),
            _ => false,
        },
    }
}

/// A range of a file's medium that cannot be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defect {
    pub(crate) fault: FaultId,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl Defect {
    pub(crate) fn touches(&self, offset: u64, end: u64) -> bool {
        offset < self.offset + self.len && self.offset < end
    }
}

/// What remains unreadable after the whole sectors of this range were written.
pub(crate) fn heal(defects: &mut Vec<Defect>, offset: u64, len: u64, sector: u64) {
    let (first, beyond) = (offset.next_multiple_of(sector), (offset + len) / sector * sector);
    if first >= beyond || !defects.iter().any(|defect| defect.touches(first, beyond)) {
        return;
    }
    let before = std::mem::take(defects);
    for defect in before {
        let end = defect.offset + defect.len;
        let left = Defect { len: first.min(end).saturating_sub(defect.offset), ..defect };
        let right_from = beyond.max(defect.offset);
        let right = Defect { offset: right_from, len: end.saturating_sub(right_from), ..defect };
        defects.extend([left, right].into_iter().filter(|rest| rest.len > 0));
    }
}

/// What an operation wants of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Names and metadata.
    Look,
    /// Data, or the names in a directory.
    Read,
    /// A change of names, sizes or allocations.
    Change,
    /// A change that needs room: a new name.
    Create,
    /// Data into the page cache.
    WriteCached,
    /// Data to the device.
    WriteDirect,
}

impl FaultKind {
    /// The error that an access meets, if any.
    pub(crate) fn error(&self, access: Access) -> Option<Errno> {
        use Access::*;
        match (self, access) {
            (FaultKind::ReadError, Read) => Some(Errno::EIO),
            (FaultKind::WriteError, Change | Create | WriteDirect) => Some(Errno::EIO),
            (FaultKind::ReadOnly, Change | Create | WriteCached | WriteDirect) => Some(Errno::EROFS),
            (FaultKind::NoSpace, Create) => Some(Errno::ENOSPC),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_people_expect() {
        let matches = |pattern: &str, path| FaultRule::new(pattern, FaultKind::Stall).matches(path);
        assert!(matches("**", "/a/b") && matches("**", "/a") && matches("**", ""));
        assert!(matches("*.img", "/replicas/v1/volume-head-000.img"));
        assert!(matches("/replicas/*/volume-*.img", "/replicas/v1/volume-head-000.img"));
        assert!(!matches("/replicas/*.img", "/replicas/v1/volume-head-000.img"));
        assert!(matches("/replicas/**", "/replicas/v1/x") && !matches("/replicas/**", "/other/x"));
        assert!(matches("v?/x", "/replicas/v1/x") && !matches("v?x", "/v/x"));
        assert!(!matches("mg", "/a.img"));
    }

    #[test]
    fn writing_whole_sectors_heals_them() {
        let mut defects = vec![Defect { fault: FaultId(1), offset: 0, len: 2048 }];
        heal(&mut defects, 500, 600, 512);
        let left: Vec<_> = defects.iter().map(|defect| (defect.offset, defect.len)).collect();
        assert_eq!(left, [(0, 512), (1024, 1024)]);
        heal(&mut defects, 0, 4096, 512);
        assert!(defects.is_empty());
    }
}
