//! What names say (`go-common-libs longhorn/longhorn.go`, `pkg/util/util.go`).

/// Whether a process is an engine's, by its name: it ends with `-e-` and one more part.
pub(crate) fn is_engine(process: &str) -> bool {
    process.rsplit_once('-').and_then(|(front, _)| front.strip_suffix("-e")).is_some_and(|volume| !volume.is_empty())
}

/// The volume of an engine process: all but the last two parts of its name.
pub(crate) fn volume_of(process: &str) -> &str {
    let without_last = process.rsplit_once('-').map_or("", |(front, _)| front);
    without_last.rsplit_once('-').map_or("", |(front, _)| front)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_known_by_their_names() {
        let known = ["v-e-0", "pvc-1-e-12ab", "my-e-volume-e-0"];
        assert!(known.iter().all(|name| is_engine(name)));
        assert!(["v-r-12345678", "-e-0", "v-e-0-x", "engine"].iter().all(|name| !is_engine(name)));
        assert_eq!(volume_of("pvc-1-e-0"), "pvc-1");
    }
}
