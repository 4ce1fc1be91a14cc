//! Typed access to one resource: all verbs, each a request over the wire.
//!
//! Every write is recorded in the journal with the reads of the reconcile it belongs to (see [`crate::reads`]).

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use corral_core::journal::Event;
use host::time::Instant;
use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube_core::response::Status;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::client::{Call, Client, decode};
use crate::dynamic::DynamicObject;
use crate::error::{Error, Result};
use crate::params::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
use crate::query::Target;
use crate::reads::{self, Note, Taken};
use crate::resource::{Object, ResourceDescriptor, key_of, version_number};
use crate::watch::Watch;

const JSON: &str = "application/json";

/// Access to the objects of one kind, in one namespace or everywhere.
pub struct Api<K> {
    client: Client,
    resource: Arc<ResourceDescriptor>,
    namespace: Option<Arc<str>>,
    path: Arc<str>,
    _objects: PhantomData<fn() -> K>,
}

/// Access to objects whose kind is known only at run time: see [`Api::all_of`] and [`Api::namespaced_of`].
pub type DynamicApi = Api<DynamicObject>;

impl<K> Clone for Api<K> {
    fn clone(&self) -> Self {
        Api {
            client: self.client.clone(),
            resource: self.resource.clone(),
            namespace: self.namespace.clone(),
            path: self.path.clone(),
            _objects: PhantomData,
        }
    }
}

impl<K> fmt::Debug for Api<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Api({})", self.path)
    }
}

/// An answered list.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(bound(deserialize = "K: DeserializeOwned"))]
pub struct List<K> {
    /// Its resourceVersion, and how to go on.
    #[serde(default)]
    pub metadata: ListMeta,
    /// The objects. Items of core kinds carry neither kind nor apiVersion.
    #[serde(default = "Vec::new")]
    pub items: Vec<K>,
}

impl<K> List<K> {
    /// The version of the collection.
    pub fn resource_version(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }

    /// The token of the next page, if there is one.
    pub fn continue_token(&self) -> Option<&str> {
        self.metadata.continue_.as_deref().filter(|token| !token.is_empty())
    }
}

/// What a DELETE is answered with.
#[derive(Clone, Debug)]
pub enum Deleted<K> {
    /// The object, which now waits for its finalizers or its grace period, or was of a kind whose deletion answers with the object.
    Object(Box<K>),
    /// It is gone.
    Gone(Box<Status>),
}

impl<K: Object<DynamicType = ()>> Api<K> {
    /// Objects of a namespaced kind in all namespaces, or of a cluster-scoped kind.
    pub fn all(client: &Client) -> Api<K> {
        Api::build(client, ResourceDescriptor::of::<K>(), None)
    }

    /// Objects of a cluster-scoped kind; the same as [`Api::all`], said clearly.
    pub fn cluster(client: &Client) -> Api<K> {
        Api::all(client)
    }

    /// Objects in one namespace.
    pub fn namespaced(client: &Client, namespace: &str) -> Api<K> {
        Api::build(client, ResourceDescriptor::of::<K>(), Some(namespace))
    }
}

impl<K: Object> Api<K> {
    /// Objects of a kind described at run time, in all namespaces or cluster-scoped.
    pub fn all_of(client: &Client, resource: &ResourceDescriptor) -> Api<K> {
        Api::build(client, resource.clone(), None)
    }

    /// Objects of a kind described at run time, in one namespace.
    pub fn namespaced_of(client: &Client, namespace: &str, resource: &ResourceDescriptor) -> Api<K> {
        Api::build(client, resource.clone(), Some(namespace))
    }

    fn build(client: &Client, resource: ResourceDescriptor, namespace: Option<&str>) -> Api<K> {
        let namespace = namespace.filter(|namespace| !namespace.is_empty());
        Api {
            client: client.clone(),
            path: resource.path(namespace).into(),
            resource: Arc::new(resource),
            namespace: namespace.map(Arc::from),
            _objects: PhantomData,
        }
    }

    /// The client behind it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What it gives access to.
    pub fn resource(&self) -> &ResourceDescriptor {
        &self.resource
    }

    /// The namespace it is confined to.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// One object, newest version.
    pub async fn get(&self, name: &str) -> Result<K> {
        self.get_with(name, &GetParams::default()).await
    }

    /// One object, at least as new as the parameters ask for.
    pub async fn get_with(&self, name: &str, params: &GetParams) -> Result<K> {
        let target = self.target(name)?.get(params).finish();
        let result = self.client.decode::<K>(Call::get(target), &self.resource.kind).await;
        match &result {
            Ok(object) => self.note(name, version_number(object.meta())),
            Err(error) if error.is_not_found() => self.note(name, 0),
            Err(_unknown) => {}
        }
        result
    }

    /// One object, or none if there is none.
    pub async fn get_opt(&self, name: &str) -> Result<Option<K>> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Some or all objects. One page only, if a limit is set.
    pub async fn list(&self, params: &ListParams) -> Result<List<K>> {
        let target = Target::new(&self.path).list(params).finish();
        let list: List<K> = self.client.decode(Call::get(target), &self.resource.kind).await?;
        self.note("*", list.resource_version().parse().unwrap_or(0));
        Ok(list)
    }

    /// Stores a new object.
    pub async fn create(&self, object: &K) -> Result<K> {
        self.create_with(&PostParams::default(), object).await
    }

    /// Stores a new object, with parameters.
    pub async fn create_with(&self, params: &PostParams, object: &K) -> Result<K> {
        let target = Target::new(&self.path).post(params).finish();
        let name = object.meta().name.as_deref().or(object.meta().generate_name.as_deref()).unwrap_or_default();
        self.write("create", "", name, Call::with_body(Method::POST, target, JSON, self.encode(object)?)).await
    }

    /// Replaces an object (PUT); its resourceVersion decides about conflicts.
    pub async fn update(&self, object: &K) -> Result<K> {
        self.replace("", &PostParams::default(), object).await
    }

    /// Replaces an object, with parameters.
    pub async fn update_with(&self, params: &PostParams, object: &K) -> Result<K> {
        self.replace("", params, object).await
    }

    /// Replaces an object's status; everything else in it is ignored by the server.
    pub async fn update_status(&self, object: &K) -> Result<K> {
        self.replace("status", &PostParams::default(), object).await
    }

    /// Replaces a subresource whose body is the object: `status`, `finalize`.
    pub async fn update_subresource(&self, subresource: &str, object: &K) -> Result<K> {
        self.replace(subresource, &PostParams::default(), object).await
    }

    async fn replace(&self, subresource: &str, params: &PostParams, object: &K) -> Result<K> {
        let name = object.meta().name.as_deref().unwrap_or_default();
        let target = self.subresource_target(name, subresource)?.post(params).finish();
        let call = Call::with_body(Method::PUT, target, JSON, self.encode(object)?);
        self.write("update", subresource, name, call).await
    }

    /// Changes parts of an object.
    pub async fn patch<P: Serialize>(&self, name: &str, params: &PatchParams, patch: &Patch<P>) -> Result<K> {
        self.patch_subresource("", name, params, patch).await
    }

    /// Changes parts of an object's status.
    pub async fn patch_status<P: Serialize>(&self, name: &str, params: &PatchParams, patch: &Patch<P>) -> Result<K> {
        self.patch_subresource("status", name, params, patch).await
    }

    /// Changes parts of an object through a subresource; an empty one is the object itself.
    pub async fn patch_subresource<P: Serialize>(
        &self,
        subresource: &str,
        name: &str,
        params: &PatchParams,
        patch: &Patch<P>,
    ) -> Result<K> {
        let target = self.subresource_target(name, subresource)?.patch(params).finish();
        let body = self.encode(patch.body())?;
        let call = Call::with_body(Method::PATCH, target, patch.content_type(), body);
        self.write("patch", subresource, name, call).await
    }

    /// Posts to a subresource that has types of its own: `pods/eviction`, `pods/binding`, `serviceaccounts/token`.
    pub async fn create_subresource<B: Serialize, T: DeserializeOwned>(
        &self,
        subresource: &str,
        name: &str,
        body: &B,
    ) -> Result<T> {
        let target = self.subresource_target(name, subresource)?.finish();
        let call = Call::with_body(Method::POST, target, JSON, self.encode(body)?);
        let taken = reads::take();
        let result = self.client.send(call).await;
        let answered = result.as_ref().map(|answer| (answer.code.as_u16(), 0));
        self.record(&taken, "create", subresource, name, answered);
        decode(&result?.body, subresource)
    }

    /// Deletes an object: at once, or as soon as its finalizers and grace period allow.
    pub async fn delete(&self, name: &str, params: &DeleteParams) -> Result<Deleted<K>> {
        let target = self.target(name)?.finish();
        let call = Call::with_body(Method::DELETE, target, JSON, delete_body(params));
        let taken = reads::take();
        let result = self.client.send(call).await;
        let code = result.as_ref().map(|answer| answer.code.as_u16());
        let deleted = match &result {
            Ok(answer) => Some(self.decode_deleted(&answer.body)?),
            Err(_refused) => None,
        };
        let version = match &deleted {
            Some(Deleted::Object(object)) => version_number(object.meta()),
            _ => 0,
        };
        self.record(&taken, "delete", "", name, code.map(|code| (code, version)));
        match deleted {
            Some(deleted) => Ok(deleted),
            None => Err(result.err().expect("without an answer there is an error")),
        }
    }

    fn decode_deleted(&self, body: &[u8]) -> Result<Deleted<K>> {
        #[derive(Deserialize)]
        struct Kind {
            #[serde(default)]
            kind: String,
        }
        let Kind { kind } = decode(body, &self.resource.kind)?;
        if kind == "Status" {
            return Ok(Deleted::Gone(decode(body, "Status")?));
        }
        Ok(Deleted::Object(decode(body, &self.resource.kind)?))
    }

    /// Deletes every object that the list parameters select; the server stops at the first that it refuses to delete.
    pub async fn delete_collection(&self, params: &DeleteParams, selection: &ListParams) -> Result<()> {
        let target = Target::new(&self.path).selectors(selection).finish();
        let call = Call::with_body(Method::DELETE, target, JSON, delete_body(params));
        let taken = reads::take();
        let result = self.client.send(call).await;
        self.record(&taken, "deletecollection", "", "*", result.as_ref().map(|answer| (answer.code.as_u16(), 0)));
        result.map(|_answer| ())
    }

    /// Watches from a version on; an empty one begins with what is there.
    pub async fn watch(&self, params: &WatchParams, resource_version: &str) -> Result<Watch<K>> {
        let target = Target::new(&self.path).watch(params, resource_version).finish();
        let body = self.client.stream(Call::get(target)).await?;
        Ok(Watch::new(body))
    }

    async fn write(&self, verb: &str, subresource: &str, name: &str, call: Call) -> Result<K> {
        let taken = reads::take();
        let result = self.client.send(call).await;
        let decoded = match &result {
            Ok(answer) => Some(decode::<K>(&answer.body, &self.resource.kind)),
            Err(_refused) => None,
        };
        let version = match &decoded {
            Some(Ok(object)) => version_number(object.meta()),
            _ => 0,
        };
        let answered = result.as_ref().map(|answer| (answer.code.as_u16(), version));
        self.record(&taken, verb, subresource, name, answered);
        match decoded {
            Some(decoded) => decoded,
            None => Err(result.err().expect("without an answer there is an error")),
        }
    }

    fn record(&self, taken: &Taken, verb: &str, subresource: &str, name: &str, answered: Result<(u16, u64), &Error>) {
        let (code, resource_version) = answered.unwrap_or_else(|error| (error.code(), 0));
        host::journal::record(Event::ApiRequest {
            verb: verb.into(),
            kind: (&*self.resource.kind).into(),
            subresource: subresource.into(),
            name: key_of(self.namespace(), name).into(),
            code,
            resource_version,
            within: taken.within().into(),
            reads: taken.for_journal(),
        });
    }

    fn note(&self, name: &str, resource_version: u64) {
        reads::note(|| Note {
            kind: self.resource.kind.clone(),
            name: key_of(self.namespace(), name).into(),
            resource_version,
            arrived: Instant::now(),
            cached: false,
        });
    }

    fn encode<T: Serialize>(&self, value: &T) -> Result<Vec<u8>> {
        let what = || self.resource.kind.to_string();
        serde_json::to_vec(value).map_err(|source| Error::Encode { what: what(), source })
    }

    fn target(&self, name: &str) -> Result<Target> {
        if let Some(namespace) = self.namespace() {
            check_segment("namespace", namespace)?;
        }
        if name.is_empty() {
            return Err(Error::EmptyName);
        }
        check_segment("resource name", name)?;
        Ok(Target::new(&self.path).segment(name))
    }

    fn subresource_target(&self, name: &str, subresource: &str) -> Result<Target> {
        let target = self.target(name)?;
        Ok(if subresource.is_empty() { target } else { target.segment(subresource) })
    }
}

/// Source: apimachinery pkg/api/validation/path/name.go.
fn check_segment(what: &'static str, name: &str) -> Result<()> {
    let refuse = |reason| Err(Error::InvalidName { what, name: name.to_owned(), reason });
    match name {
        "." => refuse("may not be '.'"),
        ".." => refuse("may not be '..'"),
        _ if name.contains('/') => refuse("may not contain '/'"),
        _ if name.contains('%') => refuse("may not contain '%'"),
        _ => Ok(()),
    }
}

fn delete_body(params: &DeleteParams) -> Vec<u8> {
    if *params == DeleteParams::default() {
        return Vec::new();
    }
    serde_json::to_vec(params).expect("delete parameters are plain values")
}
