//! Situations: an operation, what had been done before to what it is done to, and the faults in force. Which of them a run has met says how it
//! differs from others; fuzzing keeps the plans that meet new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_core::Nanos;
use corral_core::journal::{End, Event, FaultPhase, Record, content_hash};

/// A fault that happens at once is felt for so long.
const FELT: Duration = Duration::from_secs(30);

/// The situations that a run meets.
#[derive(Default)]
pub(crate) struct Situations {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    met: BTreeSet<u64>,
    /// What was last done to each object, store key and process, by their hashes.
    last: BTreeMap<u64, u64>,
    /// Faults in force: kind, and until when they are felt if they are over at once.
    faults: Vec<(String, Option<Nanos>)>,
    /// The last write of all: what a fault strikes into.
    last_write: u64,
}

/// What is done, and to what.
struct Operation {
    what: u64,
    to: u64,
}

impl Situations {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn observe(&self, record: &Record<'_>) {
        let state = &mut *self.state();
        let Some(operation) = operation(&record.event, state.last_write) else { return };
        let before = state.last.insert(operation.to, operation.what).unwrap_or_default();
        if let Event::Fault { kind, phase, .. } = &record.event {
            state.note_fault(kind, *phase, record.at);
        }
        if matches!(record.event, Event::ApiWrite { .. }) {
            state.last_write = operation.what;
        }
        state.faults.retain(|(_, until)| until.is_none_or(|until| until > record.at));
        let met = |fault: &str| hash(&[fault.as_bytes(), &before.to_le_bytes(), &operation.what.to_le_bytes()]);
        if state.faults.is_empty() {
            state.met.insert(met(""));
        }
        state.met.extend(state.faults.iter().map(|(fault, _)| met(fault)));
    }

    /// All that were met.
    pub(crate) fn take(&self) -> BTreeSet<u64> {
        std::mem::take(&mut self.state().met)
    }
}

impl State {
    fn note_fault(&mut self, kind: &str, phase: FaultPhase, at: Nanos) {
        self.faults.retain(|(known, _)| known != kind);
        match phase {
            FaultPhase::Begins => self.faults.push((kind.to_owned(), None)),
            FaultPhase::Once => self.faults.push((kind.to_owned(), Some(at + FELT))),
            FaultPhase::Ends => {}
        }
    }
}

fn hash(parts: &[&[u8]]) -> u64 {
    content_hash(&parts.join(&0))
}

/// The first word: names of objects follow it.
fn first_word(text: &str) -> &[u8] {
    text.split(' ').next().unwrap_or_default().as_bytes()
}

/// What a file is, by its name: the beginning, up to what tells it from its like, and the ending.
fn kind_of_file(key: &str) -> (&str, &str) {
    let name = key.rsplit('/').next().unwrap_or(key);
    let beginning = name.split(['-', '_', '.']).next().unwrap_or_default();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    (if beginning.len() > 20 { "" } else { beginning }, ending)
}

fn operation(event: &Event<'_>, last_write: u64) -> Option<Operation> {
    let operation = match event {
        Event::ApiWrite { kind, .. } | Event::ApiRefused { kind, .. } if kind == "Lease" || kind == "Event" => {
            return None;
        }
        Event::ApiWrite { verb, kind, subresource, namespace, name, deleting, client, .. } => Operation {
            what: hash(&[
                verb.as_bytes(),
                kind.as_bytes(),
                subresource.as_bytes(),
                client.as_bytes(),
                &[u8::from(*deleting)],
            ]),
            to: hash(&[kind.as_bytes(), namespace.as_bytes(), name.as_bytes()]),
        },
        Event::ApiRefused { verb, kind, name, code, client, .. } => {
            let (namespace, name) = name.split_once('/').unwrap_or(("", name));
            Operation {
                what: hash(&[verb.as_bytes(), kind.as_bytes(), client.as_bytes(), &code.to_le_bytes()]),
                to: hash(&[kind.as_bytes(), namespace.as_bytes(), name.as_bytes()]),
            }
        }
        Event::Call { method, peer, outcome, within, .. } => Operation {
            what: hash(&[first_word(method), first_word(outcome), first_word(within)]),
            to: hash(&[peer.as_bytes()]),
        },
        Event::StoreOperation { verb, key, code, .. } => {
            let (beginning, ending) = kind_of_file(key);
            Operation {
                what: hash(&[verb.as_bytes(), beginning.as_bytes(), ending.as_bytes(), &code.to_le_bytes()]),
                to: hash(&[key.as_bytes()]),
            }
        }
        Event::ProcessEnded { process, end } => {
            let end = match end {
                End::Exited(0) => return None,
                end => end.code(),
            };
            Operation { what: hash(&[b"ended", &end.to_le_bytes()]), to: hash(&[&process.to_le_bytes()]) }
        }
        Event::Hazard { name, object, .. } => {
            let (kind, name_of) = object.split_once(' ').unwrap_or((object, ""));
            let (namespace, name_of) = name_of.split_once('/').unwrap_or(("", name_of));
            Operation {
                what: hash(&[name.as_bytes(), kind.as_bytes()]),
                to: hash(&[kind.as_bytes(), namespace.as_bytes(), name_of.as_bytes()]),
            }
        }
        Event::Step { what, outcome } => {
            Operation { what: hash(&[first_word(what), first_word(outcome)]), to: hash(&[b"client"]) }
        }
        Event::Fault { kind, phase, .. } => Operation {
            what: hash(&[kind.as_bytes(), &[*phase as u8], &last_write.to_le_bytes()]),
            to: hash(&[b"fault"]),
        },
        _ => return None,
    };
    Some(operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write<'a>(name: &'a str, client: &'a str) -> Event<'a> {
        Event::ApiWrite {
            verb: "update".into(),
            kind: "Volume".into(),
            subresource: "".into(),
            namespace: "n".into(),
            name: name.into(),
            uid: "".into(),
            resource_version: 1,
            deleting: false,
            client: client.into(),
            content: 0,
        }
    }

    fn met(events: &[(u64, Event<'_>)]) -> usize {
        let situations = Situations::default();
        for (seconds, event) in events {
            let at = Nanos::ZERO + Duration::from_secs(*seconds);
            situations.observe(&Record { sequence: 1, at, process: 1, cause: 0, folded: 0, event: event.clone() });
        }
        situations.take().len()
    }

    #[test]
    fn what_went_before_tells_situations_apart_and_names_do_not() {
        assert_eq!(met(&[(1, write("a", "one")), (2, write("b", "one")), (3, write("c", "one"))]), 1);
        assert_eq!(met(&[(1, write("a", "one")), (2, write("a", "one")), (3, write("a", "one"))]), 2);
        assert_eq!(met(&[(1, write("a", "one")), (2, write("a", "two")), (3, write("b", "two"))]), 3);
    }

    #[test]
    fn a_fault_makes_another_situation_while_it_is_felt() {
        let fault = |phase| Event::Fault { kind: "freeze".into(), target: "".into(), phase };
        let (begins, ends) = (|| fault(FaultPhase::Begins), || fault(FaultPhase::Ends));
        let calm = [(1, write("a", "one")), (2, write("b", "one"))];
        assert_eq!(met(&calm), 1);
        let alone = met(&[(1, begins()), (2, ends())]);
        let struck =
            [(1, write("a", "one")), (2, begins()), (3, write("b", "one")), (4, ends()), (5, write("c", "one"))];
        assert_eq!(met(&struck), 2 + alone);
        let after_a_minute = |phase| met(&[(1, write("a", "one")), (2, fault(phase)), (60, write("b", "one"))]);
        let (lasting, over) = (after_a_minute(FaultPhase::Begins), after_a_minute(FaultPhase::Once));
        assert_eq!(lasting, over + 1, "what is over at once is felt no longer");
    }
}
