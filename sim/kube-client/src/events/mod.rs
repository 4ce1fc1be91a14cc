//! The event recorder: what a controller says about an object, for people. Kubernetes Events, not the journal.
//!
//! Recording never blocks and never fails: events wait in a queue of 1000, more are dropped. A task sends them; it tries an event twelve times, 10 s
//! apart, while the server cannot be reached, and drops it when the server refuses it. Repeated events raise a count by a PATCH.
//! Source: client-go tools/record/event.go.

mod correlator;

use std::time::Duration;

use host::random::Stream;
use k8s_openapi::api::core::v1::{Event, EventSource as CoreSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::json;
use tokio::sync::mpsc;

use self::correlator::{Correlated, Correlator};
use crate::api::Api;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::params::{Patch, PatchParams};
use crate::resource::Object;

const MAXIMUM_QUEUED: usize = 1000;
const MAXIMUM_TRIES: u32 = 12;
const RETRY_PERIOD: Duration = Duration::from_secs(10);

/// Whether people should worry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// All is well.
    Normal,
    /// Something is wrong.
    Warning,
}

/// Who records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventSource {
    /// The controller.
    pub component: String,
    /// The node it runs on, or empty.
    pub host: String,
}

/// Records events about objects. Clones share queue and memory.
#[derive(Clone)]
pub struct EventRecorder {
    source: EventSource,
    queue: mpsc::Sender<Event>,
}

impl EventRecorder {
    /// A recorder, with its task, which ends with the last clone.
    pub fn new(client: &Client, source: EventSource) -> EventRecorder {
        let (queue, receiver) = mpsc::channel(MAXIMUM_QUEUED);
        let sink = Sink {
            client: client.clone(),
            correlator: Correlator::new(client.random(&format!("event aggregation {}", source.component))),
            random: client.random(&format!("event retries {}", source.component)),
        };
        host::spawn(sink.run(receiver));
        EventRecorder { source, queue }
    }

    /// The same queue and memory for another component.
    pub fn for_source(&self, source: EventSource) -> EventRecorder {
        EventRecorder { source, queue: self.queue.clone() }
    }

    /// Records an event about an object.
    pub fn event<K: Object<DynamicType = ()>>(
        &self,
        object: &K,
        event_type: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let mut reference = object.object_ref(&());
        reference.resource_version.clone_from(&object.meta().resource_version);
        self.event_about(reference, event_type, reason, message);
    }

    /// Records an event about whatever the reference names.
    pub fn event_about(
        &self,
        object: ObjectReference,
        event_type: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let now = Time(host::wall_clock::now());
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(event_name(object.name.as_deref().unwrap_or_default(), &now)),
                namespace: Some(object.namespace.clone().unwrap_or_else(|| "default".into())),
                ..ObjectMeta::default()
            },
            involved_object: object,
            reason: some(reason),
            message: Some(message.into()),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(1),
            type_: Some(match event_type {
                EventType::Normal => "Normal".into(),
                EventType::Warning => "Warning".into(),
            }),
            source: Some(CoreSource { component: some(&self.source.component), host: some(&self.source.host) }),
            reporting_component: some(&self.source.component),
            reporting_instance: some(&self.source.host),
            ..Event::default()
        };
        if self.queue.try_send(event).is_err() {
            tracing::warn!(reason, "too many queued events, dropped one");
        }
    }
}

/// `name.<nanoseconds since 1970 in hex>`.
fn event_name(object: &str, time: &Time) -> String {
    format!("{object}.{:x}", time.0.as_nanosecond())
}

struct Sink {
    client: Client,
    correlator: Correlator,
    random: Stream,
}

impl Sink {
    async fn run(mut self, mut queue: mpsc::Receiver<Event>) {
        while let Some(event) = queue.recv().await {
            let now = event.last_timestamp.clone().expect("set when it was recorded");
            if let Some(correlated) = self.correlator.correlate(event, now) {
                self.send_with_retries(correlated).await;
            }
        }
    }

    async fn send_with_retries(&mut self, correlated: Correlated) {
        for tries in 1..=MAXIMUM_TRIES {
            match self.send(&correlated).await {
                Ok(stored) => return self.correlator.stored(&stored),
                // The server cannot be reached: hold everything and try again. Anything else will not get better.
                Err(error @ (Error::Transport(_) | Error::Timeout | Error::Decode { .. })) => {
                    tracing::warn!(%error, tries, "cannot write an event");
                }
                Err(error) => {
                    tracing::debug!(%error, "the server rejected an event");
                    return;
                }
            }
            if tries < MAXIMUM_TRIES {
                // The first wait is random, so that clients do not all come back at once.
                let least = if tries == 1 { Duration::ZERO } else { RETRY_PERIOD };
                host::time::sleep(self.random.duration(least, RETRY_PERIOD)).await;
            }
        }
    }

    async fn send(&self, Correlated { event, repeated }: &Correlated) -> Result<Event> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(&self.client, namespace);
        if *repeated {
            let name = event.metadata.name.as_deref().unwrap_or_default();
            let patch = json!({"count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message});
            match api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
                // It has expired on the server.
                Err(error) if error.is_not_found() => {}
                result => return result,
            }
        }
        let mut event = event.clone();
        event.metadata.resource_version = None;
        api.create(&event).await
    }
}
