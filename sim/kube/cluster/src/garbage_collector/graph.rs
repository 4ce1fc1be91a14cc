//! Who owns whom: nodes by uid, edges from owner references, and virtual nodes for owners that nobody has seen yet.
//!
//! The graph only learns and never asks the server. Each change that it learns gives [`Effects`]: nodes whose deletion, or whose dependents'
//! release, is to be tried. Where Go walks a map, the order is drawn.
//! Source: kubernetes pkg/controller/garbagecollector/graph_builder.go, graph.go.

use std::collections::BTreeMap;
use std::sync::Arc;

use corral_kube_client::Object;
use host::random::Stream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::node::{Identity, Node, NodeRef, has_finalizer};
use super::{FOREGROUND_FINALIZER, ORPHAN_FINALIZER};

/// Anything with metadata, of whatever kind an informer's objects are.
pub(crate) trait HasMetadata: Send + Sync {
    fn metadata(&self) -> &ObjectMeta;
}

impl<K: Object> HasMetadata for K {
    fn metadata(&self) -> &ObjectMeta {
        self.meta()
    }
}

/// What happened to an object.
#[derive(Clone)]
pub(crate) enum Change {
    /// An informer told of an object that is there; with the state before, if there was one.
    Seen { identity: Identity, object: Arc<dyn HasMetadata>, old: Option<Arc<dyn HasMetadata>> },
    /// An informer told that an object is gone.
    Gone { identity: Identity },
    /// A worker asked the server for an object and it was not there.
    FoundAbsent { identity: Identity },
}

/// What is to be done about a change, in this order.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Owners that are known not to exist.
    pub absent: Vec<Identity>,
    /// To be tried at once.
    pub delete: Vec<NodeRef>,
    /// To be tried after the queue's back-off.
    pub delete_later: Vec<NodeRef>,
    /// Owners whose dependents are to be released.
    pub orphan: Vec<NodeRef>,
}

/// All objects that are known, and who owns them.
pub(crate) struct Graph {
    nodes: BTreeMap<Arc<str>, NodeRef>,
    last_serial: u64,
    random: Stream,
}

impl Drop for Graph {
    fn drop(&mut self) {
        // Objects that own each other would keep each other's memory.
        for node in self.nodes.values() {
            node.forget_dependents();
        }
    }
}

impl Graph {
    pub fn new(random: Stream) -> Graph {
        Graph { nodes: BTreeMap::new(), last_serial: 0, random }
    }

    /// The node of a uid, as it is now.
    pub fn node(&self, uid: &str) -> Option<NodeRef> {
        self.nodes.get(uid).cloned()
    }

    /// How many objects are known.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Learns a change.
    pub fn learn(&mut self, change: Change) -> Effects {
        let mut effects = Effects::default();
        match change {
            Change::Seen { identity, object, old } => {
                self.seen(identity, object.metadata(), old.as_deref().map(HasMetadata::metadata), &mut effects);
            }
            Change::Gone { identity } => {
                if let Some(node) = self.node(&identity.uid) {
                    self.remove(&node, &identity, &mut effects);
                }
            }
            Change::FoundAbsent { identity } => self.found_absent(&identity, &mut effects),
        }
        effects
    }

    fn seen(&mut self, identity: Identity, metadata: &ObjectMeta, old: Option<&ObjectMeta>, effects: &mut Effects) {
        let owners = metadata.owner_references.clone().unwrap_or_default();
        let node = match self.node(&identity.uid) {
            None => {
                let node = self.make_node(identity, owners.clone(), false);
                if metadata.deletion_timestamp.is_some() {
                    node.mark_being_deleted();
                    if has_finalizer(metadata, FOREGROUND_FINALIZER) {
                        node.mark_deleting_dependents();
                    }
                }
                self.nodes.insert(node.identity.uid.clone(), node.clone());
                self.add_to_owners(&node, &owners, effects);
                node
            }
            Some(known) => {
                let node = self.observe(known, identity, effects);
                self.change_owners(&node, owners, effects);
                if metadata.deletion_timestamp.is_some() {
                    node.mark_being_deleted();
                }
                node
            }
        };
        self.begin_waiting(&node, metadata, old, effects);
    }

    /// A virtual node that is seen becomes real; if it is not what its dependents took it for, they are looked at again.
    fn observe(&mut self, known: NodeRef, identity: Identity, effects: &mut Effects) -> NodeRef {
        if known.is_observed() && known.identity.same_kind(&identity) {
            return known;
        }
        let mut node = known;
        if node.identity != identity {
            if !node.is_observed() {
                let (_, mismatched) = partition(&self.dependents_of(&node), &identity);
                effects.delete.extend(mismatched);
            }
            node = self.replace(&node, identity);
        }
        node.mark_observed();
        node
    }

    /// The same node under another identity, in the place of the old one.
    fn replace(&mut self, old: &NodeRef, identity: Identity) -> NodeRef {
        self.last_serial += 1;
        let new = old.clone_as(self.last_serial, identity);
        self.nodes.insert(new.identity.uid.clone(), new.clone());
        for owner in new.owners() {
            if let Some(owner) = self.nodes.get(&*owner.uid) {
                owner.replace_dependent(old, &new);
            }
        }
        new
    }

    fn change_owners(&mut self, node: &NodeRef, owners: Vec<OwnerReference>, effects: &mut Effects) {
        let difference = Difference::between(&node.owners(), &owners);
        if difference.is_empty() {
            return;
        }
        for uid in difference.unblocked() {
            effects.delete.extend(self.node(uid));
        }
        node.set_owners(owners);
        self.add_to_owners(node, &difference.added, effects);
        for removed in &difference.removed {
            if let Some(owner) = self.nodes.get(&*removed.uid) {
                owner.remove_dependent(node);
            }
        }
    }

    /// Makes a node the dependent of its owners. An owner that nobody has seen gets a virtual node, which is looked up at the server.
    fn add_to_owners(&mut self, node: &NodeRef, owners: &[OwnerReference], effects: &mut Effects) {
        let mut doubtful = false;
        for reference in owners {
            match self.node(&reference.uid) {
                None => {
                    let identity = Identity::of_reference(reference, &node.identity.namespace);
                    let owner = self.make_node(identity, Vec::new(), true);
                    owner.add_dependent(node);
                    self.nodes.insert(owner.identity.uid.clone(), owner.clone());
                    effects.delete.push(owner);
                }
                Some(owner) => {
                    owner.add_dependent(node);
                    doubtful = doubtful || is_doubtful(node, reference, &owner);
                }
            }
        }
        if doubtful {
            effects.delete.push(node.clone());
        }
    }

    fn begin_waiting(&mut self, node: &NodeRef, new: &ObjectMeta, old: Option<&ObjectMeta>, effects: &mut Effects) {
        if begins_deletion_with(new, old, ORPHAN_FINALIZER) {
            effects.orphan.push(node.clone());
        } else if begins_deletion_with(new, old, FOREGROUND_FINALIZER) {
            node.mark_deleting_dependents();
            effects.delete.extend(self.dependents_of(node));
            effects.delete.push(node.clone());
        }
    }

    fn remove(&mut self, node: &NodeRef, gone: &Identity, effects: &mut Effects) {
        self.nodes.remove(&node.identity.uid);
        let owners = node.owners();
        for owner in &owners {
            if let Some(owner) = self.nodes.get(&*owner.uid) {
                owner.remove_dependent(node);
            }
        }
        let dependents = self.dependents_of(node);
        if !dependents.is_empty() {
            effects.absent.push(gone.clone());
        }
        effects.delete.extend(dependents);
        // An owner in Foreground looks again whether this was the last one.
        let waiting = owners.iter().filter_map(|owner| self.node(&owner.uid));
        effects.delete.extend(waiting.filter(|owner| owner.is_deleting_dependents()));
    }

    /// The server had no such object. Dependents may disagree about who their owner is: only those that meant this one lose it.
    fn found_absent(&mut self, absent: &Identity, effects: &mut Effects) {
        let Some(node) = self.node(&absent.uid) else { return };
        let (matching, mismatched) = partition(&self.dependents_of(&node), absent);
        let disputed = if node.is_observed() { node.identity != *absent } else { !mismatched.is_empty() };
        if !disputed {
            return self.remove(&node, absent, effects);
        }
        if !matching.is_empty() {
            effects.absent.push(absent.clone());
            effects.delete.extend(matching);
        }
        if !node.is_observed()
            && node.identity == *absent
            && let Some(identity) = alternative_identity(&mismatched, absent)
        {
            let node = self.replace(&node, identity);
            effects.delete_later.push(node);
        }
    }

    fn make_node(&mut self, identity: Identity, owners: Vec<OwnerReference>, is_virtual: bool) -> NodeRef {
        self.last_serial += 1;
        NodeRef::new(Node::new(self.last_serial, identity, owners, is_virtual))
    }

    /// In the order that Go's map would give.
    pub fn dependents_of(&mut self, node: &NodeRef) -> Vec<NodeRef> {
        let mut dependents = node.dependents();
        self.random.shuffle(&mut dependents);
        dependents
    }
}

/// Whether a reference may be wrong: its owner is known, but in another namespace or under another name or kind.
fn is_doubtful(node: &NodeRef, reference: &OwnerReference, owner: &NodeRef) -> bool {
    let same_namespace = owner.identity.namespace == node.identity.namespace;
    let owner_is_namespaced = !owner.identity.namespace.is_empty();
    if owner_is_namespaced && !same_namespace {
        return true;
    }
    if !owner.identity.is_meant_by(reference) {
        return true;
    }
    !owner_is_namespaced && !same_namespace && !owner.is_observed()
}

/// Dependents that mean this owner by their reference to its uid, and those that mean something else; one can be both.
fn partition(dependents: &[NodeRef], owner: &Identity) -> (Vec<NodeRef>, Vec<NodeRef>) {
    let (mut matching, mut mismatched) = (Vec::new(), Vec::new());
    for dependent in dependents {
        let elsewhere = !owner.namespace.is_empty() && owner.namespace != dependent.identity.namespace;
        let references = dependent.owners();
        let of_uid = || references.iter().filter(|reference| *reference.uid == *owner.uid);
        if !elsewhere && of_uid().any(|reference| owner.is_meant_by(reference)) {
            matching.push(dependent.clone());
        }
        if elsewhere || of_uid().any(|reference| !owner.is_meant_by(reference)) {
            mismatched.push(dependent.clone());
        }
    }
    (matching, mismatched)
}

/// Another owner that dependents may have meant by this uid: the next one in order after the absent one, or else the first.
fn alternative_identity(dependents: &[NodeRef], absent: &Identity) -> Option<Identity> {
    let mut candidates = std::collections::BTreeSet::new();
    for dependent in dependents {
        for reference in dependent.owners().iter().filter(|reference| *reference.uid == *absent.uid) {
            let mut identity = Identity::of_reference(reference, &dependent.identity.namespace);
            if absent.namespace.is_empty() && identity.same_kind(absent) {
                identity.namespace = "".into();
            }
            candidates.insert(identity);
        }
    }
    candidates.remove(absent);
    candidates.range(absent.clone()..).next().or_else(|| candidates.first()).cloned()
}

/// Whether the object has just begun to be deleted with this finalizer.
fn begins_deletion_with(new: &ObjectMeta, old: Option<&ObjectMeta>, finalizer: &str) -> bool {
    let waits = |metadata: &ObjectMeta| metadata.deletion_timestamp.is_some() && has_finalizer(metadata, finalizer);
    waits(new) && !old.is_some_and(waits)
}

/// How two lists of owner references differ, by uid.
struct Difference {
    added: Vec<OwnerReference>,
    removed: Vec<OwnerReference>,
    changed: Vec<(OwnerReference, OwnerReference)>,
}

impl Difference {
    fn between(old: &[OwnerReference], new: &[OwnerReference]) -> Difference {
        let mut difference = Difference { added: Vec::new(), removed: Vec::new(), changed: Vec::new() };
        let mut before: BTreeMap<&str, &OwnerReference> = old.iter().map(|owner| (&*owner.uid, owner)).collect();
        for owner in new {
            match before.remove(&*owner.uid) {
                None => difference.added.push(owner.clone()),
                Some(same) if same == owner => {}
                Some(other) => difference.changed.push((other.clone(), owner.clone())),
            }
        }
        difference.removed = before.into_values().cloned().collect();
        difference
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Owners whose deletion this object blocked and no longer blocks.
    fn unblocked(&self) -> impl Iterator<Item = &str> {
        let blocks = |owner: &OwnerReference| owner.block_owner_deletion == Some(true);
        let removed = self.removed.iter().filter(move |owner| blocks(owner)).map(|owner| &*owner.uid);
        let changed = self.changed.iter().filter(move |(old, new)| blocks(old) && !blocks(new));
        removed.chain(changed.map(|(_, new)| &*new.uid))
    }
}
