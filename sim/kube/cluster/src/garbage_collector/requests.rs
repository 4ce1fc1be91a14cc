//! What the collector asks of the server, for objects of any kind.
//!
//! Source: kubernetes pkg/controller/garbagecollector/operations.go, patch.go.

use corral_kube_client::params::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use corral_kube_client::{Api, Client, DynamicObject, Error, MetadataObject, ResourceDescriptor};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use super::node::{Identity, NodeRef, has_finalizer};
use crate::discovery::ApiResourceInfo;

/// Tries to remove a finalizer before the queue's own back-off takes over. Source: client-go util/retry DefaultBackoff.
const FINALIZER_TRIES: u32 = 4;

/// A request failed, or the kind is none that the server knows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("no matches for kind {kind:?} in version {api_version:?}")]
    UnknownKind { kind: String, api_version: String },
    /// There is nowhere to look: an owner reference names no namespace. Trying again makes it no better.
    #[error("cluster-scoped objects cannot refer to namespaced owners")]
    NamespacedOwnerOfClusterScoped,
    #[error(transparent)]
    Client(#[from] Error),
}

impl RequestError {
    pub fn is_not_found(&self) -> bool {
        matches!(self, RequestError::Client(error) if error.is_not_found())
    }
}

/// Access to the objects of one resource, in the namespace of one of them.
pub(crate) struct Requests<'a> {
    client: &'a Client,
    resource: ResourceDescriptor,
    namespace: &'a str,
}

impl<'a> Requests<'a> {
    pub fn new(client: &'a Client, resource: &ApiResourceInfo, namespace: &'a str) -> Requests<'a> {
        let namespace = if resource.namespaced { namespace } else { "" };
        Requests { client, resource: resource.descriptor.clone(), namespace }
    }

    fn metadata(&self) -> Api<MetadataObject> {
        Api::namespaced_of(self.client, self.namespace, &self.resource)
    }

    fn whole(&self) -> Api<DynamicObject> {
        Api::namespaced_of(self.client, self.namespace, &self.resource)
    }

    pub async fn get(&self, name: &str) -> Result<ObjectMeta, Error> {
        Ok(self.metadata().get(name).await?.metadata)
    }

    /// Deletes if the object is still the one that was looked at. A change meanwhile that left the owners alone does not count.
    pub async fn delete(&self, identity: &Identity, seen: &ObjectMeta, policy: PropagationPolicy) -> Result<(), Error> {
        let conflict = match self.delete_if(identity, seen.resource_version.clone(), policy.clone()).await {
            Err(error) if error.is_conflict() && seen.resource_version.is_some() => error,
            done => return done,
        };
        let live = self.get(&identity.name).await?;
        let same = live.uid.as_deref() == Some(&*identity.uid)
            && live.resource_version != seen.resource_version
            && live.owner_references == seen.owner_references;
        if same { self.delete_if(identity, None, policy).await } else { Err(conflict) }
    }

    async fn delete_if(
        &self,
        identity: &Identity,
        resource_version: Option<String>,
        policy: PropagationPolicy,
    ) -> Result<(), Error> {
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(identity.uid.to_string()), resource_version }),
            propagation_policy: Some(policy),
            ..DeleteParams::default()
        };
        self.metadata().delete(&identity.name, &params).await.map(|_deleted| ())
    }

    /// Takes owner references away: by a strategic merge patch, or, where the kind knows none, by a merge patch of the whole list.
    pub async fn drop_owners(&self, identity: &Identity, uids: &[String]) -> Result<(), Error> {
        let drop: Vec<Value> = uids.iter().map(|uid| json!({"$patch": "delete", "uid": uid})).collect();
        let strategic = json!({"metadata": {"ownerReferences": drop, "uid": identity.uid}});
        self.patch_owners(identity, strategic, |owners| {
            owners.into_iter().filter(|owner| !uids.contains(&owner.uid)).collect()
        })
        .await
    }

    /// Makes all owner references of a node such that they do not block.
    pub async fn unblock_owners(&self, node: &NodeRef) -> Result<(), Error> {
        let unblock = |owner: OwnerReference| OwnerReference { block_owner_deletion: Some(false), ..owner };
        let blocking = node.owners().into_iter().filter(|owner| owner.block_owner_deletion == Some(true));
        let owners: Vec<OwnerReference> = blocking.map(unblock).collect();
        let strategic = json!({"metadata": {"ownerReferences": owners, "uid": node.identity.uid}});
        self.patch_owners(&node.identity, strategic, |owners| owners.into_iter().map(unblock).collect()).await
    }

    async fn patch_owners(
        &self,
        identity: &Identity,
        strategic: Value,
        change: impl FnOnce(Vec<OwnerReference>) -> Vec<OwnerReference>,
    ) -> Result<(), Error> {
        let params = PatchParams::default();
        match self.whole().patch(&identity.name, &params, &Patch::Strategic(strategic)).await {
            Err(error) if error.code() == 415 => {}
            done => return done.map(|_patched| ()),
        }
        let live = self.get(&identity.name).await?;
        let owners = change(live.owner_references.unwrap_or_default());
        let merge = json!({"metadata": {"resourceVersion": live.resource_version, "ownerReferences": owners}});
        self.whole().patch(&identity.name, &params, &Patch::Merge(merge)).await.map(|_patched| ())
    }

    /// Removes a finalizer; an object that is gone, or has it no more, is fine.
    pub async fn remove_finalizer(&self, identity: &Identity, finalizer: &str) -> Result<(), Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_remove_finalizer(identity, finalizer).await {
                Err(error) if error.is_conflict() && tries < FINALIZER_TRIES => {}
                Err(error) if error.is_not_found() => return Ok(()),
                done => return done,
            }
        }
    }

    async fn try_remove_finalizer(&self, identity: &Identity, finalizer: &str) -> Result<(), Error> {
        let live = self.get(&identity.name).await?;
        if !has_finalizer(&live, finalizer) {
            return Ok(());
        }
        let rest: Vec<&String> = live.finalizers.iter().flatten().filter(|one| *one != finalizer).collect();
        let merge = json!({"metadata": {"resourceVersion": live.resource_version, "finalizers": rest}});
        self.whole().patch(&identity.name, &PatchParams::default(), &Patch::Merge(merge)).await.map(|_patched| ())
    }
}
