//! Paths joined as Go's `path/filepath` joins them, since keys and directories in a store are made that way.

/// Joins the parts that are not empty with slashes and cleans the result: no empty or `.` elements, `..` resolved, no
/// slash at the end.
pub fn join(parts: &[&str]) -> String {
    let present: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    if present.is_empty() { String::new() } else { clean(&present.join("/")) }
}

/// The shortest path that means the same; `.` for none.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut elements: Vec<&str> = Vec::new();
    for element in path.split('/') {
        match element {
            "" | "." => {}
            ".." if elements.last().is_some_and(|last| *last != "..") => {
                elements.pop();
            }
            ".." if rooted => {}
            other => elements.push(other),
        }
    }
    let joined = elements.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// All but the last element, cleaned.
pub fn parent(path: &str) -> String {
    match path.rfind('/') {
        Some(at) => clean(&path[..=at]),
        None => ".".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_paths_are_clean() {
        assert_eq!(join(&["", "backupstore", "volumes"]), "backupstore/volumes");
        assert_eq!(join(&["/target/", "backupstore/volumes/"]), "/target/backupstore/volumes");
        assert_eq!(join(&["", ""]), "");
        assert_eq!(join(&["a/./b/../c", "/d//"]), "a/c/d");
        assert_eq!(clean("../a/../.."), "../..");
        assert_eq!(clean("/../a"), "/a");
        assert_eq!(parent("/a/b"), "/a");
        assert_eq!(parent("/a"), "/");
        assert_eq!(parent("a"), ".");
    }
}
