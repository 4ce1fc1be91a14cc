//! Names as people say them: of processes, of calls, of objects.

/// A process in few words: a container by its pod, anything else with its machine.
///
/// `longhorn-system/manager-x7/manager` is `manager-x7`; a container that its pod is not named after is told too.
pub(crate) fn process(name: &str, machine: &str) -> String {
    let mut parts = name.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(pod), Some(container)) => {
            let (own, program) = container.split_once(':').map_or((container, ""), |(own, rest)| (own, rest));
            let own = if pod.starts_with(own) { pod.to_owned() } else { format!("{pod}/{own}") };
            if program.is_empty() { own } else { format!("{own}: {program}") }
        }
        _ if machine.is_empty() || name == machine => name.to_owned(),
        _ => format!("{name} on {machine}"),
    }
}

/// Whether a process is a program that another one ran, and no container or daemon.
pub(crate) fn is_program(name: &str) -> bool {
    name.contains(':')
}

/// A name without its namespace.
pub(crate) fn own(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// What a remote call does, without whom it does it to: `exec tool backup ls --volume v` is `exec tool backup ls`.
pub(crate) fn method(method: &str) -> String {
    let is_plain =
        |word: &&str| !word.starts_with(['-', '/', '{', '"']) && !word.contains(|letter: char| letter.is_ascii_digit());
    let mut words = method.split(' ');
    let first = words.next().unwrap_or_default();
    std::iter::once(first).chain(words.take_while(is_plain).take(3)).collect::<Vec<_>>().join(" ")
}

/// Who within a client: the controller of a reconcile `volume-controller ns/v`.
pub(crate) fn controller(within: &str) -> &str {
    within.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_still_tell_one_from_another() {
        assert_eq!(process("system/manager-x7/manager", "w1"), "manager-x7");
        assert_eq!(process("system/manager-x7/sidecar", "w1"), "manager-x7/sidecar");
        assert_eq!(process("system/manager-x7/manager:exec:tool", "w1"), "manager-x7: exec:tool");
        assert_eq!(process("kubelet", "w1"), "kubelet on w1");
        assert_eq!(method("exec tool backup ls --volume v1"), "exec tool backup ls");
        assert_eq!(method("BackupCreate bi-2"), "BackupCreate");
        assert_eq!(method("Engine/SnapshotCreate"), "Engine/SnapshotCreate");
        assert_eq!(controller("volume-controller ns/v"), "volume-controller");
    }
}
