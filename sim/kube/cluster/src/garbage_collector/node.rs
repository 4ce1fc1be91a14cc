//! One object in the owner graph. Identities never change; a node that turns out to be another one is replaced by a copy.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Where an object is, or is said to be. Ordered by kind first, as upstream orders them to choose between identities.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub kind: Arc<str>,
    pub api_version: Arc<str>,
    /// Empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub uid: Arc<str>,
}

impl Identity {
    /// Of the owner that a reference names, in the namespace of the object that has the reference.
    pub fn of_reference(reference: &OwnerReference, namespace: &Arc<str>) -> Identity {
        Identity {
            kind: reference.kind.as_str().into(),
            api_version: reference.api_version.as_str().into(),
            namespace: namespace.clone(),
            name: reference.name.as_str().into(),
            uid: reference.uid.as_str().into(),
        }
    }

    /// Whether a reference names this object, the namespace aside.
    pub fn is_meant_by(&self, reference: &OwnerReference) -> bool {
        *self.uid == *reference.uid
            && *self.name == *reference.name
            && *self.kind == *reference.kind
            && *self.api_version == *reference.api_version
    }

    /// Whether both are of the same kind and version.
    pub fn same_kind(&self, other: &Identity) -> bool {
        self.kind == other.kind && self.api_version == other.api_version
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{} {}", self.kind, self.namespace, self.name, self.uid)
    }
}

/// An object of the graph.
pub(crate) struct Node {
    pub identity: Identity,
    serial: u64,
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    owners: Vec<OwnerReference>,
    dependents: BTreeMap<u64, NodeRef>,
    being_deleted: bool,
    deleting_dependents: bool,
    is_virtual: bool,
}

impl Node {
    pub fn new(serial: u64, identity: Identity, owners: Vec<OwnerReference>, is_virtual: bool) -> Node {
        Node { identity, serial, state: Mutex::new(State { owners, is_virtual, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn clone_as(&self, serial: u64, identity: Identity) -> NodeRef {
        NodeRef::new(Node { identity, serial, state: Mutex::new(self.state().clone()) })
    }

    pub fn owners(&self) -> Vec<OwnerReference> {
        self.state().owners.clone()
    }

    pub fn set_owners(&self, owners: Vec<OwnerReference>) {
        self.state().owners = owners;
    }

    pub fn add_dependent(&self, dependent: &NodeRef) {
        self.state().dependents.insert(dependent.serial, dependent.clone());
    }

    pub fn remove_dependent(&self, dependent: &NodeRef) {
        self.state().dependents.remove(&dependent.serial);
    }

    pub fn replace_dependent(&self, old: &NodeRef, new: &NodeRef) {
        let mut state = self.state();
        if state.dependents.remove(&old.serial).is_some() {
            state.dependents.insert(new.serial, new.clone());
        }
    }

    pub fn forget_dependents(&self) {
        let dependents = std::mem::take(&mut self.state().dependents);
        drop(dependents);
    }

    /// In the order in which they were learnt of.
    pub fn dependents(&self) -> Vec<NodeRef> {
        self.state().dependents.values().cloned().collect()
    }

    /// Dependents whose reference forbids this object to go first.
    pub fn blocking_dependents(&self) -> Vec<NodeRef> {
        let blocks = |dependent: &NodeRef| {
            dependent
                .owners()
                .iter()
                .any(|owner| *owner.uid == *self.identity.uid && owner.block_owner_deletion == Some(true))
        };
        self.dependents().into_iter().filter(blocks).collect()
    }

    pub fn is_being_deleted(&self) -> bool {
        self.state().being_deleted
    }

    pub fn mark_being_deleted(&self) {
        self.state().being_deleted = true;
    }

    pub fn is_deleting_dependents(&self) -> bool {
        self.state().deleting_dependents
    }

    pub fn mark_deleting_dependents(&self) {
        self.state().deleting_dependents = true;
    }

    /// Whether an informer has told of it.
    pub fn is_observed(&self) -> bool {
        !self.state().is_virtual
    }

    pub fn mark_observed(&self) {
        self.state().is_virtual = false;
    }
}

/// A shared node; equal only to itself, ordered by when it was made. The key of the work queues.
#[derive(Clone)]
pub(crate) struct NodeRef(Arc<Node>);

impl NodeRef {
    pub fn new(node: Node) -> NodeRef {
        NodeRef(Arc::new(node))
    }
}

impl Deref for NodeRef {
    type Target = Node;
    fn deref(&self) -> &Node {
        &self.0
    }
}

impl PartialEq for NodeRef {
    fn eq(&self, other: &NodeRef) -> bool {
        self.serial == other.serial
    }
}

impl Eq for NodeRef {}

impl PartialOrd for NodeRef {
    fn partial_cmp(&self, other: &NodeRef) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NodeRef {
    fn cmp(&self, other: &NodeRef) -> Ordering {
        self.serial.cmp(&other.serial)
    }
}

impl std::fmt::Debug for NodeRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.identity)
    }
}

pub(crate) fn has_finalizer(metadata: &ObjectMeta, finalizer: &str) -> bool {
    metadata.finalizers.iter().flatten().any(|one| one == finalizer)
}
