//! The bound of a run in events. Of a system that goes round in circles there is no end to wait for; that is damage, and it is told.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use corral_core::journal::Event;
use tokio::sync::Notify;

/// Events after which a run is ended: five times those of the longest that come to rest.
const MOST_EVENTS: u64 = 100_000;
/// The last so many of them are counted by what they are.
const COUNTED: u64 = 50_000;
/// Whatever is written less often than once in so many events is not what makes the others.
const RARE: u64 = 20;

/// Counts the events of a run.
#[derive(Default)]
pub(crate) struct Bound {
    counts: Mutex<Counts>,
    over: Notify,
}

#[derive(Default)]
struct Counts {
    events: u64,
    /// Writes by kind and client.
    writes: BTreeMap<(String, String), u64>,
    /// All, by kind of event.
    all: BTreeMap<&'static str, u64>,
}

impl Bound {
    /// Counts an event. The one that is too many says what goes on and on, and ends the wait for it.
    pub fn count(&self, event: &Event<'_>) -> Option<String> {
        let counts = &mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.events += 1;
        if counts.events > MOST_EVENTS - COUNTED {
            *counts.all.entry(event.kind()).or_default() += 1;
            if let Event::ApiWrite { kind, client, .. } = event {
                *counts.writes.entry((kind.to_string(), client.to_string())).or_default() += 1;
            }
        }
        if counts.events != MOST_EVENTS {
            return None;
        }
        self.over.notify_one();
        let most = counts.writes.iter().max_by_key(|(_, count)| **count).filter(|(_, count)| **count * RARE >= COUNTED);
        Some(match (most, counts.all.iter().max_by_key(|(_, count)| **count)) {
            (Some(((kind, client), _)), _) => format!("{kind} is written by {client}"),
            (None, Some((event, _))) => format!("events of kind {event} come"),
            (None, None) => unreachable!("this event is counted"),
        })
    }

    /// Waits until there are too many events.
    pub async fn over(&self) {
        self.over.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_that_is_too_many_says_who_goes_on_and_on() {
        let bound = Bound::default();
        // Much was written before, and is no more.
        let event = |number: u64| match (number, number % 3) {
            (0..50_000, _) => write("Node", "kubelet"),
            (_, 0) => write("Volume", "longhorn-manager"),
            _ => write("Replica", "longhorn-manager"),
        };
        let told = (1..=MOST_EVENTS + 10).filter_map(|number| Some((number, bound.count(&event(number))?)));
        assert_eq!(told.collect::<Vec<_>>(), [(MOST_EVENTS, "Replica is written by longhorn-manager".to_owned())]);
    }

    #[test]
    fn where_hardly_anything_is_written_it_says_what_comes() {
        let bound = Bound::default();
        let note = Event::Note { text: "again".into() };
        let event = |number| if number % 100 == 0 { write("Lease", "kubelet") } else { note.clone() };
        let told = (1..=MOST_EVENTS).find_map(|number| bound.count(&event(number)));
        assert_eq!(told.as_deref(), Some("events of kind note come"));
    }

    fn write(kind: &'static str, client: &'static str) -> Event<'static> {
        Event::ApiWrite {
            verb: "update".into(),
            kind: kind.into(),
            subresource: "".into(),
            namespace: "n".into(),
            name: "one".into(),
            uid: "".into(),
            resource_version: 1,
            deleting: false,
            client: client.into(),
            content: 0,
        }
    }
}
