//! A plan: everything a run does, as data. It can be printed, edited, minimised and stored.
//!
//! What a cluster and a workload are made of is the scenario's to say; the plan carries it as tables that the scenario checks. Faults and their
//! triggers are the world's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::text::duration;

/// Everything that a run does, in full.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What the cluster is like, in the scenario's terms.
    #[serde(default)]
    pub cluster: toml::Table,
    /// What the clients do, in order.
    #[serde(default, rename = "step", skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// What goes wrong.
    #[serde(default, rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<PlannedFault>,
}

/// One thing that a client does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The step, in the scenario's terms.
    #[serde(rename = "do")]
    pub action: toml::Value,
}

/// A fault and when it strikes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    /// The event that sets it off; without one, the beginning of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Trigger>,
    /// How long after that.
    #[serde(default, with = "duration", skip_serializing_if = "Duration::is_zero")]
    pub after: Duration,
    /// What goes wrong.
    #[serde(rename = "do")]
    pub fault: Fault,
}

/// An event of the run, named by what it means and not by when it happened, so that it is found under other seeds and after code changes too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Trigger {
    /// The event's kind.
    #[serde(flatten)]
    pub event: TriggerEvent,
    /// Only the n-th such event, from 1.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub nth: u32,
}

fn first() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_first(nth: &u32) -> bool {
    *nth == 1
}

/// What a trigger waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum TriggerEvent {
    /// A write committed by the API server.
    Api {
        /// `create`, `update`, `delete`, or `deleting` for the moment the deletion timestamp is set.
        api: ApiVerb,
        /// Kind of the object.
        kind: String,
        /// Only objects whose name begins so.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        name: String,
    },
    /// An operation of an object store.
    Store {
        /// `put` or `delete`.
        store: StoreVerb,
        /// Only keys that contain this.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        key: String,
    },
    /// The run entered a phase.
    Phase {
        /// The phase's name.
        phase: String,
    },
}

/// Verbs of API triggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiVerb {
    /// An object was created.
    Create,
    /// An object was changed.
    Update,
    /// An object's deletion timestamp was set.
    Deleting,
    /// An object is gone.
    Delete,
}

/// Verbs of store triggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreVerb {
    /// An object was written.
    Put,
    /// An object was deleted.
    Delete,
}
