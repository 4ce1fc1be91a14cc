//! The error numbers of Linux that a file system answers with.

use std::io;

/// One of Linux's error numbers; becomes an [`io::Error`] with that raw number at the crate's boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    pub(crate) const EPERM: Errno = Errno(1);
    pub(crate) const ENOENT: Errno = Errno(2);
    pub(crate) const EIO: Errno = Errno(5);
    pub(crate) const EBADF: Errno = Errno(9);
    pub(crate) const EBUSY: Errno = Errno(16);
    pub(crate) const EEXIST: Errno = Errno(17);
    pub(crate) const EXDEV: Errno = Errno(18);
    pub(crate) const ENOTDIR: Errno = Errno(20);
    pub(crate) const EISDIR: Errno = Errno(21);
    pub(crate) const EINVAL: Errno = Errno(22);
    pub(crate) const EFBIG: Errno = Errno(27);
    pub(crate) const ENOSPC: Errno = Errno(28);
    pub(crate) const EROFS: Errno = Errno(30);
    pub(crate) const ENAMETOOLONG: Errno = Errno(36);
    pub(crate) const ENOTEMPTY: Errno = Errno(39);
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.0)
    }
}

/// What operations give inside this crate.
pub(crate) type Outcome<T> = Result<T, Errno>;
