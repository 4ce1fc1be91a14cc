//! Paths: normalised once, then walked by name. There are no symbolic links, so `..` can be taken back in the text.

use crate::errno::{Errno, Outcome};

/// Longest name of one entry, in bytes (NAME_MAX). Checked where the name is looked up, so that what is wrong before it is told first.
pub(crate) const NAME_LIMIT: usize = 255;
/// Longest path, in bytes, without the terminator (PATH_MAX - 1).
const PATH_LIMIT: usize = 4095;

/// An absolute path without `.`, `..` and empty names: "" for the root, else "/a/b".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NormalPath {
    pub(crate) text: String,
    /// It ended in a slash, `.` or `..`: only a directory will do.
    pub(crate) directory: bool,
    /// Prefixes from which `..` climbed: they have to be directories.
    pub(crate) climbed_from: Vec<String>,
}

impl NormalPath {
    /// Relative paths start at the root: every process's working directory.
    pub(crate) fn parse(path: &str) -> Outcome<NormalPath> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if path.len() > PATH_LIMIT {
            return Err(Errno::ENAMETOOLONG);
        }
        if path.contains('\0') {
            return Err(Errno::EINVAL);
        }
        let mut normal =
            NormalPath { text: String::with_capacity(path.len() + 1), directory: false, climbed_from: Vec::new() };
        for name in path.split('/') {
            normal.directory = matches!(name, "" | "." | "..");
            match name {
                "" | "." => {}
                ".." => {
                    normal.climbed_from.push(normal.text.clone());
                    normal.text.truncate(normal.text.rfind('/').unwrap_or(0));
                }
                name => {
                    normal.text.push('/');
                    normal.text.push_str(name);
                }
            }
        }
        Ok(normal)
    }
}

/// Whether `path` is `prefix` or below it; both normal.
pub(crate) fn is_within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The parent and the last name of a normal path; none for the root.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once('/')
}

/// The names of a normal path, from the root.
pub(crate) fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').skip(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised() {
        let text = |path: &str| NormalPath::parse(path).map(|normal| (normal.text, normal.directory));
        assert_eq!(text("/"), Ok(("".into(), true)));
        assert_eq!(text("/a//b"), Ok(("/a/b".into(), false)));
        assert_eq!(text("a/./b/"), Ok(("/a/b".into(), true)));
        assert_eq!(text("/a/../../b"), Ok(("/b".into(), false)));
        assert_eq!(text(""), Err(Errno::ENOENT));
        assert_eq!(text("a\0b"), Err(Errno::EINVAL));
        assert_eq!(text(&"n/".repeat(2048)), Err(Errno::ENAMETOOLONG));
        assert_eq!(NormalPath::parse("/a/b/../c").unwrap().climbed_from, ["/a/b"]);
    }

    #[test]
    fn prefixes_end_at_names() {
        assert!(is_within("/a/b", "/a") && is_within("/a", "/a") && is_within("/a", ""));
        assert!(!is_within("/ab", "/a"));
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split(""), None);
        assert_eq!(names("/a/b").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(names("").count(), 0);
    }
}
