//! What is asked of the replicas of one volume.

use std::collections::BTreeMap;

use longhorn_api::{Release, Replica};

use crate::runtime::clock;

/// Replicas by name.
pub type Replicas = BTreeMap<String, Replica>;

/// Notes that a replica failed (`setReplicaFailedAt`).
pub fn set_failed(replica: &mut Replica, when: &str) {
    replica.spec.failed_at = when.to_owned();
    if !when.is_empty() {
        replica.spec.last_failed_at = when.to_owned();
    }
}

/// Whether no replica was ever healthy: the volume was not attached yet.
fn is_first_attachment(replicas: &Replicas) -> bool {
    replicas.values().all(|replica| replica.spec.healthy_at.is_empty())
}

/// Whether nothing is left to read from. A healthy replica that is being deleted still counts.
pub fn needs_salvage(replicas: &Replicas) -> bool {
    if is_first_attachment(replicas) {
        return replicas.values().all(|replica| !replica.spec.failed_at.is_empty());
    }
    let healthy = replicas.values().any(|replica| is_healthy_and_active(replica, true));
    !healthy && replicas.values().any(|replica| !replica.spec.failed_at.is_empty())
}

/// Whether a replica has been healthy, is not failed and is in use.
pub fn is_healthy_and_active(replica: &Replica, even_if_deleted: bool) -> bool {
    let spec = &replica.spec;
    let exists = even_if_deleted || replica.metadata.deletion_timestamp.is_none();
    spec.failed_at.is_empty() && !spec.healthy_at.is_empty() && spec.active && exists
}

/// How many replicas are healthy and in use. From v1.9.2 on those that are being deleted are not counted.
pub fn healthy_count(replicas: &Replicas, release: Release) -> usize {
    let even_if_deleted = release.before(Release::V1_9_2);
    replicas.values().filter(|replica| is_healthy_and_active(replica, even_if_deleted)).count()
}

/// How many replicas could be the only one: healthy, and not just taken back after a failure that nothing has mended
/// (`isSafeAsLastReplica`). A damaged replica that an automatic salvage tries must not cost the others.
pub fn safe_as_last_count(replicas: &Replicas, release: Release) -> usize {
    let even_if_deleted = release.before(Release::V1_9_2);
    let recovered = |replica: &Replica| {
        let spec = &replica.spec;
        spec.last_failed_at.is_empty() || clock::is_after(&spec.last_healthy_at, &spec.last_failed_at).unwrap_or(false)
    };
    let safe = |replica: &&Replica| is_healthy_and_active(replica, even_if_deleted) && recovered(replica);
    replicas.values().filter(safe).count()
}

/// Whether a replica can be read from, as eviction asks it.
pub fn is_available(replica: &Replica) -> bool {
    let spec = &replica.spec;
    replica.metadata.deletion_timestamp.is_none() && spec.failed_at.is_empty() && !spec.healthy_at.is_empty()
}

/// The name of the replica that answers at an address (`tcp://IP:PORT`); the address if none does.
pub fn name_of_address<'a>(address: &'a str, replicas: &'a Replicas) -> &'a str {
    let bare = address.strip_prefix("tcp://").unwrap_or(address);
    let Some((ip, port)) = bare.rsplit_once(':') else { return address };
    let answers =
        |(_, replica): &(&String, &Replica)| replica.status.storage_ip == ip && replica.status.port.to_string() == port;
    replicas.iter().find(answers).map_or(address, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(healthy: &str, failed: &str, last_healthy: &str, last_failed: &str) -> Replica {
        let mut replica = Replica::default();
        replica.spec.active = true;
        replica.spec.healthy_at = healthy.to_owned();
        replica.spec.failed_at = failed.to_owned();
        replica.spec.last_healthy_at = last_healthy.to_owned();
        replica.spec.last_failed_at = last_failed.to_owned();
        replica
    }

    fn replicas(list: impl IntoIterator<Item = Replica>) -> Replicas {
        list.into_iter().enumerate().map(|(number, replica)| (format!("r{number}"), replica)).collect()
    }

    const EARLY: &str = "2026-11-20T10:00:00Z";
    const LATE: &str = "2026-11-20T11:00:00Z";

    #[test]
    fn a_volume_without_a_readable_replica_is_salvaged() {
        let good = || replica(EARLY, "", EARLY, "");
        let failed = || replica(EARLY, LATE, EARLY, LATE);
        assert!(!needs_salvage(&replicas([good(), failed()])));
        assert!(needs_salvage(&replicas([failed(), failed()])));
        assert!(!needs_salvage(&replicas([replica("", "", "", ""), replica("", EARLY, "", EARLY)])), "never attached");
        assert!(needs_salvage(&replicas([replica("", EARLY, "", EARLY)])));
    }

    #[test]
    fn a_replica_taken_back_after_a_failure_is_not_safe_yet() {
        let release = Release::V1_9_2;
        assert_eq!(safe_as_last_count(&replicas([replica(EARLY, "", EARLY, LATE)]), release), 0);
        assert_eq!(safe_as_last_count(&replicas([replica(EARLY, "", LATE, EARLY)]), release), 1);
        assert_eq!(safe_as_last_count(&replicas([replica(EARLY, "", EARLY, "")]), release), 1);
    }

    #[test]
    fn an_address_names_its_replica() {
        let mut one = replica("", "", "", "");
        (one.status.storage_ip, one.status.port) = ("10.42.0.8".to_owned(), 10000);
        let all = replicas([one]);
        assert_eq!(name_of_address("tcp://10.42.0.8:10000", &all), "r0");
        assert_eq!(name_of_address("tcp://10.42.0.8:10010", &all), "tcp://10.42.0.8:10010");
    }
}
