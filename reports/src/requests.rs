//! Which request made which write. A journal says what a request was answered, not what it did.

use std::collections::BTreeMap;

use corral_core::journal::{Event, Record, full_name};

/// The write that each request made, both by their sequences.
///
/// A write belongs to the first request that was answered with its version: one that changed nothing is answered with a version of others. Who
/// removes the last finalizer is answered with the version that was there before: there, the deletion that follows it is meant.
pub(crate) fn writes_by_request(records: &[Record<'static>]) -> BTreeMap<u64, u64> {
    let mut writes = Writes::default();
    let mut processes: BTreeMap<u32, &str> = BTreeMap::new();
    let mut made = BTreeMap::new();
    for record in records {
        match &record.event {
            Event::ProcessBegan { process, name, .. } => {
                processes.insert(*process, name);
            }
            Event::ApiWrite { verb, kind, namespace, name, resource_version, client, .. } => {
                let name = full_name(namespace, name);
                let client = client.split('/').next().unwrap_or_default();
                writes.versions.entry((kind, name.clone())).or_default().push(*resource_version);
                writes.free.insert(*resource_version, Write { sequence: record.sequence, verb, kind, name, client });
            }
            Event::ApiRequest { verb, kind, name, code: 200..=299, resource_version, .. } => {
                let process = processes.get(&record.process).copied().unwrap_or_default();
                let write = writes.claim(verb, kind, name, *resource_version, process);
                made.extend(write.map(|write| (record.sequence, write)));
            }
            _ => {}
        }
    }
    made
}

#[derive(Default)]
struct Writes<'a> {
    /// By version, those that no request has claimed.
    free: BTreeMap<u64, Write<'a>>,
    /// By kind and name, in order.
    versions: BTreeMap<(&'a str, String), Vec<u64>>,
}

struct Write<'a> {
    sequence: u64,
    verb: &'a str,
    kind: &'a str,
    name: String,
    /// The user agent's first part.
    client: &'a str,
}

impl<'a> Writes<'a> {
    /// The write of a request that was answered with this version.
    fn claim(&mut self, verb: &str, kind: &'a str, name: &str, version: u64, process: &str) -> Option<u64> {
        let creates = verb == "create";
        let is_answered = |write: &Write<'_>| {
            // A new object's name may be the server's choice.
            write.kind == kind && (write.verb == "create") == creates && (creates || write.name == name)
        };
        let deletion = || {
            let versions = self.versions.get(&(kind, name.to_owned()))?;
            let next = *versions.get(versions.partition_point(|known| *known <= version))?;
            let write = self.free.get(&next)?;
            (write.verb == "delete" && !creates && process.contains(write.client)).then_some(next)
        };
        let version = if self.free.get(&version).is_some_and(is_answered) { version } else { deletion()? };
        self.free.remove(&version).map(|write| write.sequence)
    }
}

#[cfg(test)]
mod tests {
    use corral_core::Nanos;

    use super::*;

    fn write(verb: &'static str, name: &'static str, resource_version: u64) -> Event<'static> {
        Event::ApiWrite {
            verb: verb.into(),
            kind: "Volume".into(),
            subresource: "".into(),
            namespace: "ns".into(),
            name: name.into(),
            uid: "".into(),
            resource_version,
            deleting: false,
            client: "manager/v1".into(),
            content: 0,
        }
    }

    fn request(verb: &'static str, name: &'static str, resource_version: u64) -> Event<'static> {
        Event::ApiRequest {
            verb: verb.into(),
            kind: "Volume".into(),
            subresource: "".into(),
            name: name.into(),
            code: 200,
            resource_version,
            within: "".into(),
            reads: Vec::new(),
        }
    }

    /// Requests and their writes, by their places among these events.
    fn made<const N: usize>(events: [Event<'static>; N]) -> Vec<(u64, u64)> {
        let name = "ns/manager-x7/manager".into();
        let began = Event::ProcessBegan { process: 1, name, machine: "".into(), address: [0; 4] };
        let records = (0_u64..).zip(std::iter::once(began).chain(events));
        let record =
            |(sequence, event)| Record { sequence, at: Nanos(sequence), process: 1, cause: 0, folded: 0, event };
        let records: Vec<Record<'static>> = records.map(record).collect();
        writes_by_request(&records).into_iter().collect()
    }

    #[test]
    fn a_write_is_the_first_request_s_that_has_its_version_and_its_name() {
        let made = made([
            write("create", "a", 1),
            // It changed nothing, and heard of it first.
            request("update", "ns/a", 1),
            request("create", "ns/a", 1),
            write("update", "a", 2),
            request("update", "ns/b", 2),
            request("update", "ns/a", 2),
            request("update", "ns/a", 2),
        ]);
        assert_eq!(made, [(3, 1), (6, 4)]);
    }

    #[test]
    fn who_removes_the_last_finalizer_made_the_deletion() {
        let made = made([
            write("create", "a", 1),
            write("update", "a", 2),
            request("delete", "ns/a", 2),
            write("delete", "a", 3),
            request("update", "ns/a", 2),
        ]);
        assert_eq!(made, [(3, 2), (5, 4)]);
    }
}
