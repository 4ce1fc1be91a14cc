//! Writes at the API server, recorded in a run or read from a golden trace, and what two such traces have in common: the sequence of writes
//! to each object, and which writes to one kind come before all those to another.

use std::collections::{BTreeMap, BTreeSet};

use corral_apiserver::{Commit, Object, Store, Subscription};
use corral_core::journal::{Event, Kept};
use serde::Deserialize;
use serde_json::Value;
use std::sync::{Arc, Mutex};

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// When, from some start.
    pub t_ms: f64,
    /// `longhorn-manager` or `garbage-collector`.
    pub actor: String,
    /// `create`, `update` or `delete`.
    pub verb: String,
    pub kind: String,
    /// `status` or nothing.
    pub subresource: String,
    pub name: String,
    /// Whether the object is gone with it.
    pub gone: bool,
    /// Paths of the fields that it changed, sorted.
    pub changed: Vec<String>,
}

/// A write without its object's name and its time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    pub actor: String,
    pub verb: String,
    pub kind: String,
    pub subresource: String,
    pub gone: bool,
    pub changed: Vec<String>,
}

impl Write {
    /// What it does.
    pub fn step(&self) -> Step {
        Step {
            actor: self.actor.clone(),
            verb: self.verb.clone(),
            kind: self.kind.clone(),
            subresource: self.subresource.clone(),
            gone: self.gone,
            changed: self.changed.clone(),
        }
    }
}

/// What the real controllers of v1.9.2 wrote in a flow; recorded from the API server's audit log.
pub struct Golden {
    entries: Vec<GoldenEntry>,
}

/// A line of the recording: a request, or a mark between the parts of the flow.
#[derive(Deserialize)]
struct GoldenEntry {
    t_ms: f64,
    #[serde(default)]
    mark: Option<String>,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    verb: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    subresource: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    code: u16,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    changes: Vec<GoldenChange>,
}

#[derive(Deserialize)]
struct GoldenChange {
    path: String,
}

impl GoldenEntry {
    fn has_note(&self, start: &str) -> bool {
        self.note.as_deref().is_some_and(|note| note.starts_with(start))
    }

    /// Nothing if it changed nothing.
    fn write(&self) -> Option<Write> {
        if self.code >= 300 || self.mark.is_some() || self.has_note("no-op") {
            return None;
        }
        let mut changed: Vec<String> = self.changes.iter().map(|change| change.path.clone()).collect();
        changed.sort();
        Some(Write {
            t_ms: self.t_ms,
            actor: self.actor.clone(),
            verb: self.verb.clone(),
            kind: self.kind.clone(),
            subresource: self.subresource.clone().unwrap_or_default(),
            name: self.name.clone(),
            gone: self.has_note("last finalizer removed"),
            changed,
        })
    }
}

impl Golden {
    /// Reads the recording of a flow.
    pub fn read(recording: &str) -> Golden {
        Golden { entries: serde_json::from_str(recording).expect("a recording") }
    }

    /// All writes.
    pub fn all(&self) -> Vec<Write> {
        self.entries.iter().filter_map(GoldenEntry::write).collect()
    }

    /// The writes to objects of these kinds up to the first mark.
    pub fn before_mark(&self, kinds: &[&str]) -> Vec<Write> {
        Self::writes(self.entries.iter().take_while(|entry| entry.mark.is_none()), kinds)
    }

    /// Those from the first mark on.
    pub fn after_mark(&self, kinds: &[&str]) -> Vec<Write> {
        Self::writes(self.entries.iter().skip_while(|entry| entry.mark.is_none()), kinds)
    }

    fn writes<'a>(entries: impl Iterator<Item = &'a GoldenEntry>, kinds: &[&str]) -> Vec<Write> {
        entries.filter_map(GoldenEntry::write).filter(|write| kinds.contains(&&*write.kind)).collect()
    }
}

/// The sequences of writes that objects of each kind went through; objects that went through the same one are one.
pub fn sequences(writes: &[Write]) -> BTreeMap<String, BTreeSet<Vec<Step>>> {
    let mut by_object: BTreeMap<(&str, &str), Vec<Step>> = BTreeMap::new();
    for write in writes {
        by_object.entry((&write.kind, &write.name)).or_default().push(write.step());
    }
    let mut by_kind: BTreeMap<String, BTreeSet<Vec<Step>>> = BTreeMap::new();
    for ((kind, _), steps) in by_object {
        by_kind.entry(kind.to_owned()).or_default().insert(steps);
    }
    by_kind
}

/// Pairs of steps of different kinds of which every write of the first comes before every write of the second.
pub fn precedences(writes: &[Write]) -> BTreeSet<(Step, Step)> {
    let steps: BTreeSet<Step> = writes.iter().map(Write::step).collect();
    let last = |step: &Step| writes.iter().rposition(|write| write.step() == *step);
    let first = |step: &Step| writes.iter().position(|write| write.step() == *step);
    let pairs = steps.iter().flat_map(|one| steps.iter().map(move |other| (one, other)));
    pairs
        .filter(|(one, other)| one.kind != other.kind && last(one) < first(other))
        .map(|(one, other)| (one.clone(), other.clone()))
        .collect()
}

/// Records the commits of a store.
pub struct Recorder {
    commits: Arc<Mutex<Vec<Commit>>>,
    _subscription: Subscription,
}

impl Recorder {
    /// From now on.
    pub fn new(store: &Arc<Store>) -> Recorder {
        let commits = Arc::new(Mutex::new(Vec::new()));
        let told = commits.clone();
        let subscription = store.subscribe(move |commit| told.lock().unwrap().push(commit.clone()));
        Recorder { commits, _subscription: subscription }
    }

    /// What was recorded.
    pub fn commits(&self) -> Vec<Commit> {
        self.commits.lock().unwrap().clone()
    }
}

/// The writes to objects of these kinds among the commits; who made them, and how, is in the journal.
pub fn writes(commits: &[Commit], journal: &Kept, kinds: &[&str]) -> Vec<Write> {
    let by_revision: BTreeMap<u64, &Commit> = commits.iter().map(|commit| (commit.revision, commit)).collect();
    let mut writes = Vec::new();
    for record in journal.iter() {
        let Event::ApiWrite { kind, subresource, name, resource_version, client, .. } = &record.event else { continue };
        let Some(commit) = by_revision.get(resource_version).filter(|_| kinds.contains(&kind.as_ref())) else {
            continue;
        };
        let changed = changed(commit);
        let verb = match (&commit.old, &commit.new) {
            (None, _) => "create",
            // A request to delete leaves a terminating object; the write that takes the last finalizer off is an update.
            _ if changed.iter().any(|path| path == "metadata.deletionTimestamp") => "delete",
            _ => "update",
        };
        writes.push(Write {
            t_ms: record.at.0 as f64 / 1e6,
            actor: actor(client).to_owned(),
            verb: verb.to_owned(),
            kind: kind.to_string(),
            subresource: subresource.to_string(),
            name: name.to_string(),
            gone: commit.new.is_none(),
            changed,
        });
    }
    writes
}

fn actor(client: &str) -> &str {
    ["longhorn-manager", "garbage-collector"].into_iter().find(|known| client.contains(known)).unwrap_or(client)
}

/// The paths of the fields that a commit changed, as the golden traces name them.
fn changed(commit: &Commit) -> Vec<String> {
    let Some(new) = &commit.new else { return vec!["metadata.finalizers".to_owned()] };
    let (before, after) = (commit.old.as_deref().map(leaves).unwrap_or_default(), leaves(new));
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = |path: &&&String| before.get(**path) != after.get(**path);
    paths.iter().filter(differs).map(|path| (**path).clone()).collect()
}

fn leaves(object: &Object) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    let parts = object.value.as_object().into_iter().flatten();
    for (part, value) in parts.filter(|(part, _)| !["apiVersion", "kind"].contains(&part.as_str())) {
        collect(part.clone(), value, &mut leaves);
    }
    for dropped in ["resourceVersion", "generation", "uid", "creationTimestamp", "managedFields"] {
        leaves.remove(&format!("metadata.{dropped}"));
    }
    leaves
}

fn collect(path: String, value: &Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (field, value) in fields {
                let plain = !field.is_empty() && !field.contains(['.', ':']);
                let path = if plain { format!("{path}.{field}") } else { format!("{path}[\"{field}\"]") };
                collect(path, value, leaves);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                // Conditions are known by their types.
                let is_condition = item.get("status").is_some();
                let key = item.get("type").and_then(Value::as_str).filter(|_| is_condition);
                let path = key.map_or_else(|| format!("{path}[{index}]"), |key| format!("{path}[{key}]"));
                collect(path, item, leaves);
            }
        }
        leaf => {
            leaves.insert(path, leaf.clone());
        }
    }
}
