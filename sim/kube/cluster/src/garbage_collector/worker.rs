//! The workers: whether an object is garbage is decided by what the server says now, never by the graph alone.
//!
//! Source: kubernetes pkg/controller/garbagecollector/garbagecollector.go (attemptToDeleteItem, attemptToOrphanWorker).

use std::sync::Arc;

use corral_kube_client::params::PropagationPolicy;
use corral_kube_client::reads;
use futures_util::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::graph::Change;
use super::node::{Identity, NodeRef, has_finalizer};
use super::requests::{RequestError, Requests};
use super::{Collector, FOREGROUND_FINALIZER, ORPHAN_FINALIZER, lock};
use crate::discovery::ApiResourceInfo;

/// How a try ended.
enum Tried {
    /// Nothing more to do now; a later change of the graph may bring the node back.
    Done,
    /// The graph has been told that the object is absent.
    ToldGraph,
}

/// Owner references by what the server says of them.
#[derive(Default)]
struct Classified {
    solid: Vec<OwnerReference>,
    dangling: Vec<OwnerReference>,
    waiting: Vec<OwnerReference>,
}

/// What became of one owner.
enum Owner {
    Absent,
    Present(Box<ObjectMeta>),
}

pub(super) async fn delete_worker(collector: Arc<Collector>) {
    while let Some(node) = collector.to_delete.get().await {
        let within = format!("garbage-collector {}", node.identity);
        if reads::scope(within, collector.is_finished_with(&node)).await {
            collector.to_delete.forget(&node);
        } else {
            collector.to_delete.add_rate_limited(node.clone());
        }
        collector.to_delete.done(&node);
    }
}

pub(super) async fn orphan_worker(collector: Arc<Collector>) {
    while let Some(node) = collector.to_orphan.get().await {
        let within = format!("garbage-collector orphan {}", node.identity);
        match reads::scope(within, collector.orphan_dependents(&node)).await {
            Ok(()) => collector.to_orphan.forget(&node),
            Err(error) => {
                tracing::warn!(%error, ?node, "cannot orphan the dependents");
                collector.to_orphan.add_rate_limited(node.clone());
            }
        }
        collector.to_orphan.done(&node);
    }
}

impl Collector {
    /// Whether the node needs no further try.
    async fn is_finished_with(&self, node: &NodeRef) -> bool {
        let known = lock(&self.graph).node(&node.identity.uid);
        if !node.is_observed() && known.as_ref().is_none_or(|known| known.is_observed()) {
            // A virtual node that was queued again, and meanwhile its object was seen or is known to be gone.
            return true;
        }
        match self.try_to_delete(node).await {
            Ok(Tried::ToldGraph) | Err(RequestError::NamespacedOwnerOfClusterScoped) => true,
            // An object that came and went while a watch was being re-opened would stay a virtual node for ever.
            Ok(Tried::Done) => node.is_observed(),
            Err(error) => {
                tracing::debug!(%error, ?node, "cannot collect");
                false
            }
        }
    }

    fn resource(&self, api_version: &str, kind: &str) -> Result<ApiResourceInfo, RequestError> {
        let found = lock(&self.discovery).of_kind(api_version, kind).cloned();
        found.ok_or_else(|| RequestError::UnknownKind { kind: kind.to_owned(), api_version: api_version.to_owned() })
    }

    fn requests<'a>(&'a self, identity: &'a Identity) -> Result<Requests<'a>, RequestError> {
        let resource = self.resource(&identity.api_version, &identity.kind)?;
        Ok(Requests::new(&self.client, &resource, &identity.namespace))
    }

    fn tell_graph_absent(&self, node: &NodeRef) -> Tried {
        self.learn(Change::FoundAbsent { identity: node.identity.clone() });
        Tried::ToldGraph
    }

    async fn try_to_delete(&self, node: &NodeRef) -> Result<Tried, RequestError> {
        if node.is_being_deleted() && !node.is_deleting_dependents() {
            return Ok(Tried::Done);
        }
        let identity = &node.identity;
        if identity.namespace.is_empty() && self.resource(&identity.api_version, &identity.kind)?.namespaced {
            // A virtual node: nobody but a cluster-scoped dependent names an owner without a namespace.
            return Err(RequestError::NamespacedOwnerOfClusterScoped);
        }
        let latest = match self.requests(identity)?.get(&identity.name).await {
            Ok(latest) => latest,
            Err(error) if error.is_not_found() => return Ok(self.tell_graph_absent(node)),
            Err(error) => return Err(error.into()),
        };
        if latest.uid.as_deref() != Some(&*identity.uid) {
            return Ok(self.tell_graph_absent(node));
        }
        if node.is_deleting_dependents() {
            return self.process_deleting_dependents(node).await;
        }
        let owners = latest.owner_references.clone().unwrap_or_default();
        if owners.is_empty() {
            return Ok(Tried::Done);
        }
        let classified = self.classify(node, owners).await?;
        self.decide(node, &latest, classified).await
    }

    async fn decide(&self, node: &NodeRef, latest: &ObjectMeta, owners: Classified) -> Result<Tried, RequestError> {
        let requests = self.requests(&node.identity)?;
        if !owners.solid.is_empty() {
            // References to what is gone or going would keep a Foreground owner for ever.
            let gone: Vec<String> = owners.dangling.into_iter().chain(owners.waiting).map(|owner| owner.uid).collect();
            if !gone.is_empty() {
                requests.drop_owners(&node.identity, &gone).await?;
            }
            return Ok(Tried::Done);
        }
        let policy = if !owners.waiting.is_empty() && !node.dependents().is_empty() {
            if node.dependents().iter().any(|dependent| dependent.is_deleting_dependents()) {
                // Perhaps a circle of owners that wait for each other.
                requests.unblock_owners(node).await?;
            }
            PropagationPolicy::Foreground
        } else if has_finalizer(latest, ORPHAN_FINALIZER) {
            PropagationPolicy::Orphan
        } else if has_finalizer(latest, FOREGROUND_FINALIZER) {
            PropagationPolicy::Foreground
        } else {
            PropagationPolicy::Background
        };
        match requests.delete(&node.identity, latest, policy).await {
            Ok(()) => Ok(Tried::Done),
            Err(error) if error.is_not_found() => Ok(self.tell_graph_absent(node)),
            Err(error) => Err(error.into()),
        }
    }

    async fn process_deleting_dependents(&self, node: &NodeRef) -> Result<Tried, RequestError> {
        let mut blocking = node.blocking_dependents();
        if blocking.is_empty() {
            self.requests(&node.identity)?.remove_finalizer(&node.identity, FOREGROUND_FINALIZER).await?;
            return Ok(Tried::Done);
        }
        lock(&self.random).shuffle(&mut blocking);
        for dependent in blocking.into_iter().filter(|dependent| !dependent.is_deleting_dependents()) {
            self.to_delete.add(dependent);
        }
        Ok(Tried::Done)
    }

    async fn classify(&self, node: &NodeRef, references: Vec<OwnerReference>) -> Result<Classified, RequestError> {
        let mut classified = Classified::default();
        for reference in references {
            match self.look_up_owner(node, &reference).await? {
                Owner::Absent => classified.dangling.push(reference),
                Owner::Present(owner)
                    if owner.deletion_timestamp.is_some() && has_finalizer(&owner, FOREGROUND_FINALIZER) =>
                {
                    classified.waiting.push(reference);
                }
                Owner::Present(_) => classified.solid.push(reference),
            }
        }
        Ok(classified)
    }

    async fn look_up_owner(&self, node: &NodeRef, reference: &OwnerReference) -> Result<Owner, RequestError> {
        let namespace = &node.identity.namespace;
        let mut owner = Identity::of_reference(reference, &"".into());
        if self.is_known_absent(&owner) {
            return Ok(Owner::Absent);
        }
        owner.namespace = namespace.clone();
        if self.is_known_absent(&owner) {
            return Ok(Owner::Absent);
        }
        let resource = self.resource(&owner.api_version, &owner.kind)?;
        if resource.namespaced && namespace.is_empty() {
            return Err(RequestError::NamespacedOwnerOfClusterScoped);
        }
        if !resource.namespaced {
            owner.namespace = "".into();
        }
        match Requests::new(&self.client, &resource, namespace).get(&reference.name).await {
            Ok(found) if found.uid.as_deref() == Some(&*reference.uid) => Ok(Owner::Present(Box::new(found))),
            Err(error) if !error.is_not_found() => Err(error.into()),
            _another_or_none => {
                lock(&self.absent).insert(owner);
                Ok(Owner::Absent)
            }
        }
    }

    fn is_known_absent(&self, owner: &Identity) -> bool {
        lock(&self.absent).contains(owner)
    }

    async fn orphan_dependents(&self, owner: &NodeRef) -> Result<(), RequestError> {
        let dependents = lock(&self.graph).dependents_of(owner);
        let uids = [owner.identity.uid.to_string()];
        let released = join_all(dependents.iter().map(|dependent| self.release(dependent, &uids))).await;
        released.into_iter().collect::<Result<(), RequestError>>()?;
        Ok(self.requests(&owner.identity)?.remove_finalizer(&owner.identity, ORPHAN_FINALIZER).await?)
    }

    async fn release(&self, dependent: &NodeRef, owners: &[String]) -> Result<(), RequestError> {
        let released = self.requests(&dependent.identity)?.drop_owners(&dependent.identity, owners).await;
        match released.map_err(RequestError::from) {
            Err(error) if error.is_not_found() => Ok(()),
            done => done,
        }
    }
}
