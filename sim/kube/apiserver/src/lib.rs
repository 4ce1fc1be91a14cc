//! The Kubernetes API server, over HTTP/1.1, in both worlds.
//!
//! Semantics are those of a real kube-apiserver 1.36 to the letter where races live (facts/kubernetes.md, measured): one revision counter,
//! optimistic concurrency, no-op writes, finalizers, graceful deletion, watches with history and bookmarks, paging over snapshots, CRDs that
//! install resources at run time, admission webhooks. It serves real clients (kubectl, kube-rs) over real sockets and simulated ones over
//! the simulated network.
//!
//! What a [`Recorder`] has seen is a [`Past`]; [`Server::past`] serves a cluster as it was, for reading.
//!
//! A [`Store`] outlives the [`Server`] processes over it. Oracles and triggers read it from inside; faults come in through [`RequestPolicy`].
//! The garbage collector and the namespace controller are clients, and live elsewhere.
//!
//! Left out, on purpose: TLS, authentication and authorization, server-side apply and managedFields, protobuf, CEL, the service account's
//! token volume.

mod admission;
mod answer;
mod builtin;
mod call;
mod crd;
mod decode;
mod definitions;
mod discovery;
mod error;
mod events;
mod journal;
mod jsonpath;
mod meta;
mod names;
mod openapi;
mod options;
mod past;
mod patch;
mod path;
mod quantity;
mod query;
mod read;
mod registry;
mod resource;
mod route;
mod schema;
mod selector;
mod server;
mod store;
mod surroundings;
mod table;
mod watch;
mod write;

pub use options::{
    Access, AnswerFate, ClientIdentity, DefinitionTiming, Delivery, NoFaults, Options, Refusal, RequestFate,
    RequestPolicy, RequestView, StorageLatency, WebhookScheme,
};
pub use past::{NotYet, Past, Recorder, Version};
pub use selector::{FieldSelector, Filter, LabelSelector};
pub use server::Server;
pub use store::{Commit, HistoryOptions, Object, Record, Store, Subscription, Tell};

/// The kinds of objects that every API server has, without definitions, each with its plural.
pub fn builtin_kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
    builtin::KINDS.iter().map(|builtin| (builtin.kind, builtin.plural))
}
