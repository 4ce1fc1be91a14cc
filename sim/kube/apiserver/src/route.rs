//! From method and path to what is to be done, and the doing of it.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, header};

use crate::answer::{Answer, negotiate};
use crate::call::Call;
use crate::error::ApiError;
use crate::options::ClientIdentity;
use crate::path::{self, ResourcePath, Target};
use crate::query::Query;
use crate::resource::Resource;
use crate::server::Inner;
use crate::{discovery, read, watch, write};

/// What a request turns out to be.
pub(crate) enum Routed {
    /// Answered already: discovery and the like.
    Answer(Answer),
    /// About a resource.
    Call(Box<Call>),
}

/// Finds out what a request is about.
pub(crate) fn route(inner: &Arc<Inner>, head: Parts, body: Bytes, client: ClientIdentity) -> Result<Routed, ApiError> {
    let text = |name: header::HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let query = Query::parse(head.uri.query());
    let found = match path::parse(head.uri.path()) {
        Target::Other(path) => return discovery::other(inner, &path, text(header::ACCEPT), &body).map(Routed::Answer),
        Target::Discovery { group, version } => {
            return discovery::discover(inner, group.as_deref(), version.as_deref()).map(Routed::Answer);
        }
        Target::Resource(found) => found,
    };
    if let Some(answer) = discovery::review(&head.method, &found, &body) {
        return answer.map(Routed::Answer);
    }
    let resource = find(inner, &head.method, &found)?;
    let form = negotiate(text(header::ACCEPT))?;
    query.check_timeout()?;
    let verb = verb(&head.method, &found, &query, &resource)?;
    Ok(Routed::Call(Box::new(Call {
        inner: inner.clone(),
        resource,
        verb,
        namespace: found.namespace.unwrap_or_default(),
        name: found.name.unwrap_or_default(),
        subresource: found.subresource,
        query,
        client,
        form,
        content_type: text(header::CONTENT_TYPE).map(str::to_owned),
        body,
        warnings: Vec::new(),
    })))
}

/// The resource of a path, if it is served there.
fn find(inner: &Inner, method: &Method, found: &ResourcePath) -> Result<Arc<Resource>, ApiError> {
    let registry = inner.registry();
    let absent = || match registry.is_builtin(&found.group, &found.version) {
        true => ApiError::no_such_resource(),
        false => ApiError::page_not_found(),
    };
    let resource = registry.find(&found.group, &found.version, &found.plural).ok_or_else(absent)?;
    let across = found.namespace.is_none() && found.name.is_none() && *method != Method::POST && *method != Method::PUT;
    if resource.namespaced && found.namespace.is_none() && !across {
        return Err(if *method == Method::POST && resource.custom().is_none() {
            ApiError::method_not_allowed()
        } else {
            absent()
        });
    }
    if !resource.namespaced && found.namespace.is_some() {
        return Err(absent());
    }
    if !found.subresource.is_empty() && !resource.has_subresource(&found.subresource) {
        return Err(ApiError::no_such_resource());
    }
    Ok(resource.clone())
}

fn verb(method: &Method, found: &ResourcePath, query: &Query, resource: &Resource) -> Result<&'static str, ApiError> {
    let custom = resource.custom().is_some();
    let one = found.name.is_some();
    let whole = found.subresource.is_empty();
    match *method {
        Method::GET if (found.watch || query.flag("watch")) && whole => Ok("watch"),
        Method::GET if one => Ok("get"),
        Method::GET => Ok("list"),
        Method::POST if !one || custom || !whole => Ok("create"),
        Method::PUT if one => Ok("update"),
        Method::PUT if custom => {
            Err(ApiError::bad_request("the name of the object was undeterminable: name must be provided"))
        }
        Method::PATCH if one => Ok("patch"),
        Method::DELETE if one && whole => Ok("delete"),
        Method::DELETE if whole => Ok("deletecollection"),
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Does what is asked.
pub(crate) async fn perform(call: &mut Call) -> Result<Answer, ApiError> {
    let call_to = (call.verb, call.subresource.clone());
    match (call_to.0, call_to.1.as_str()) {
        ("watch", _) => watch::watch(call).await,
        ("list", _) => read::list(call).await,
        ("get" | "update" | "patch", "scale") => write::scale(call).await,
        ("get", "" | "status") => read::get(call).await,
        ("create", "binding") => write::bind(call).await,
        ("create", "eviction") => write::evict(call).await,
        ("update", "finalize") => write::finalize_namespace(call).await,
        ("create", "") => write::create(call).await,
        ("update", "" | "status" | "ephemeralcontainers" | "resize") => write::put(call).await,
        ("patch", "" | "status" | "ephemeralcontainers" | "resize") => write::patch(call).await,
        ("delete", _) => write::delete(call).await,
        ("deletecollection", _) if call.resource.key.as_ref() == "namespaces" => Err(ApiError::method_not_allowed()),
        ("deletecollection", _) => write::delete_collection(call).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}
