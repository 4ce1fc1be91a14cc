//! What becomes of a stream of events before it is sent: equal ones are counted, similar ones are combined, and too many are dropped.
//! Source: client-go tools/record/events_cache.go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use host::random::Stream;
use host::time::Instant;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::token_bucket::TokenBucket;

/// Entries each cache keeps.
const CACHE_ENTRIES: usize = 4096;
/// So many different messages of one reason and object are combined into one.
const AGGREGATE_MAXIMUM: usize = 10;
/// A group that was quiet for longer starts anew.
const AGGREGATE_INTERVAL: Duration = Duration::from_secs(600);
/// So many events about an object go out at once.
const SPAM_BURST: u32 = 25;
/// And then one each five minutes.
const SPAM_INTERVAL: Duration = Duration::from_secs(300);

/// What is to be sent.
pub(super) struct Correlated {
    pub(super) event: Event,
    /// Whether the server has this event already, with a lower count.
    pub(super) repeated: bool,
}

/// The memory of one recorder.
pub(super) struct Correlator {
    groups: Lru<Group>,
    observed: Lru<Observed>,
    budgets: Lru<TokenBucket>,
    random: Stream,
}

struct Group {
    messages: BTreeSet<String>,
    last: Instant,
}

#[derive(Clone)]
struct Observed {
    count: i32,
    first: Option<Time>,
    name: Option<String>,
    resource_version: Option<String>,
}

impl Correlator {
    pub(super) fn new(random: Stream) -> Correlator {
        Correlator { groups: Lru::default(), observed: Lru::default(), budgets: Lru::default(), random }
    }

    /// The event as it is to be sent, or nothing if there were too many about its object.
    pub(super) fn correlate(&mut self, event: Event, now: Time) -> Option<Correlated> {
        let spam_key = spam_key(&event);
        let (event, key) = self.combine(event, now);
        let correlated = self.count(event, key);
        let budget = self.budgets.get_or_insert(spam_key, || TokenBucket::new(SPAM_INTERVAL, SPAM_BURST));
        budget.try_take().then_some(correlated)
    }

    /// Remembers the event as the server answered it.
    pub(super) fn stored(&mut self, event: &Event) {
        self.observed.insert(event_key(event), Observed::of(event));
    }

    /// Makes the tenth different message of a group a combined event, with the group's key.
    fn combine(&mut self, event: Event, now: Time) -> (Event, String) {
        let key = event_key(&event);
        let group_key = group_key(&event);
        let instant = Instant::now();
        let fresh = || Group { messages: BTreeSet::new(), last: instant };
        let group = self.groups.get_or_insert(group_key.clone(), fresh);
        if instant - group.last > AGGREGATE_INTERVAL {
            *group = fresh();
        }
        let message = event.message.clone().unwrap_or_default();
        group.messages.insert(message.clone());
        group.last = instant;
        if group.messages.len() < AGGREGATE_MAXIMUM {
            return (event, key);
        }
        // Go takes any one out of its set.
        let victim = self.random.below(group.messages.len() as u64) as usize;
        let victim = group.messages.iter().nth(victim).expect("drawn below the length").clone();
        group.messages.remove(&victim);
        let name = super::event_name(event.involved_object.name.as_deref().unwrap_or_default(), &now);
        let mut combined = Event {
            count: Some(1),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            message: Some(format!("(combined from similar events): {message}")),
            ..event
        };
        combined.metadata.name = Some(name);
        combined.metadata.annotations = None;
        combined.reporting_component = None;
        combined.reporting_instance = None;
        (combined, group_key)
    }

    fn count(&mut self, mut event: Event, key: String) -> Correlated {
        let last = self.observed.get(&key).filter(|last| last.count > 0).cloned();
        let repeated = last.is_some();
        if let Some(last) = last {
            event.metadata.name = last.name;
            event.metadata.resource_version = last.resource_version;
            event.first_timestamp = last.first;
            event.count = Some(last.count + 1);
        }
        self.observed.insert(key, Observed::of(&event));
        Correlated { event, repeated }
    }
}

impl Observed {
    fn of(event: &Event) -> Observed {
        Observed {
            count: event.count.unwrap_or(0),
            first: event.first_timestamp.clone(),
            name: event.metadata.name.clone(),
            resource_version: event.metadata.resource_version.clone(),
        }
    }
}

/// Joins parts to a key; the separator occurs in none of them.
fn join(parts: &[Option<&str>]) -> String {
    let parts: Vec<&str> = parts.iter().map(|part| part.unwrap_or_default()).collect();
    parts.join("\u{1f}")
}

fn spam_key(event: &Event) -> String {
    let (source, object) = (event.source.as_ref(), &event.involved_object);
    join(&[
        source.and_then(|source| source.component.as_deref()),
        source.and_then(|source| source.host.as_deref()),
        object.kind.as_deref(),
        object.namespace.as_deref(),
        object.name.as_deref(),
        object.uid.as_deref(),
        object.api_version.as_deref(),
        event.type_.as_deref(),
    ])
}

fn group_key(event: &Event) -> String {
    let reporters =
        [event.reason.as_deref(), event.reporting_component.as_deref(), event.reporting_instance.as_deref()];
    format!("{}\u{1f}{}", spam_key(event), join(&reporters))
}

fn event_key(event: &Event) -> String {
    let details = [event.involved_object.field_path.as_deref(), event.reason.as_deref(), event.message.as_deref()];
    format!("{}\u{1f}{}", spam_key(event), join(&details))
}

/// A map that forgets what was not used for longest.
struct Lru<V> {
    values: BTreeMap<String, (u64, V)>,
    uses: BTreeMap<u64, String>,
    clock: u64,
}

impl<V> Default for Lru<V> {
    fn default() -> Self {
        Lru { values: BTreeMap::new(), uses: BTreeMap::new(), clock: 0 }
    }
}

impl<V> Lru<V> {
    fn touch(&mut self, key: &str) {
        self.clock += 1;
        if let Some((used, _)) = self.values.get_mut(key) {
            self.uses.remove(used);
            *used = self.clock;
            self.uses.insert(self.clock, key.to_owned());
        }
    }

    fn get(&mut self, key: &str) -> Option<&V> {
        self.touch(key);
        self.values.get(key).map(|(_, value)| value)
    }

    fn insert(&mut self, key: String, value: V) {
        self.clock += 1;
        self.uses.insert(self.clock, key.clone());
        if let Some((used, _)) = self.values.insert(key, (self.clock, value)) {
            self.uses.remove(&used);
        }
        if self.values.len() > CACHE_ENTRIES
            && let Some((_, oldest)) = self.uses.pop_first()
        {
            self.values.remove(&oldest);
        }
    }

    fn get_or_insert(&mut self, key: String, make: impl FnOnce() -> V) -> &mut V {
        if self.values.contains_key(&key) {
            self.touch(&key);
        } else {
            self.insert(key.clone(), make());
        }
        &mut self.values.get_mut(&key).expect("just there").1
    }
}
