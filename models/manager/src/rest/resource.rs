//! Resources and collections in the style of go-rancher, which upstream's API is written with: every answer says what it is and how to
//! reach it. Clients follow these links, so their host is the one that the answering manager was asked under.

use bytes::Bytes;
use host::http::{Body, empty, full};
use http::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::runtime::{Error, Result};

/// A request, taken apart.
#[derive(Debug, Clone)]
pub struct Call {
    /// GET, PUT, POST or DELETE.
    pub method: Method,
    /// Path and query, as they were.
    pub path_and_query: String,
    /// The Host header.
    pub host: String,
    /// The body.
    pub body: Bytes,
}

impl Call {
    /// The parts of the path after the version.
    pub fn parts(&self) -> Vec<&str> {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        path.trim_start_matches("/v1").split('/').filter(|part| !part.is_empty()).collect()
    }

    /// The value of `action` in the query, empty if there is none.
    pub fn action(&self) -> &str {
        let query = self.path_and_query.split_once('?').map_or("", |(_, query)| query);
        query.split('&').find_map(|pair| pair.strip_prefix("action=")).unwrap_or_default()
    }

    /// The body, read as JSON.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T> {
        if self.body.is_empty() {
            return Err(Error::message("EOF"));
        }
        serde_json::from_slice(&self.body).map_err(|error| Error::message(error.to_string()))
    }

    fn path(&self) -> &str {
        self.path_and_query.split('?').next().unwrap_or_default()
    }

    /// The address that the call was made to.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.host, self.path())
    }

    fn link(&self, kind: &str, id: &str) -> String {
        format!("http://{}/v1/{}/{id}", self.host, plural(kind))
    }

    /// A resource: `kind` such as `backupVolume`, with links to itself and to its actions.
    pub fn resource(&self, kind: &str, id: &str, actions: &[&str], fields: Value) -> Value {
        let link = self.link(kind, id);
        let actions: Map<String, Value> =
            actions.iter().map(|action| ((*action).to_owned(), format!("{link}?action={action}").into())).collect();
        let mut resource = fields;
        resource["id"] = id.into();
        resource["type"] = kind.into();
        resource["actions"] = actions.into();
        resource["links"] = json!({"self": link});
        resource
    }

    /// A collection of resources of a kind.
    pub fn collection(&self, kind: &str, data: Vec<Value>) -> Reply {
        Reply::Json(json!({"type": "collection", "resourceType": kind, "links": {"self": self.url()}, "data": data}))
    }
}

/// The plural of a kind in paths: all its letters small, and an `s`.
pub fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}

/// What a handler answers.
#[derive(Debug)]
pub enum Reply {
    /// A resource or a collection.
    Json(Value),
    /// Nothing, with success: what a deletion answers.
    Nothing,
    /// There is no such resource, without words.
    Absent,
    /// The method is not one of this path.
    MethodNotAllowed,
    /// What another manager answered.
    Forwarded(Response<Body>),
}

impl Reply {
    /// The reply to `call` as an HTTP answer.
    pub fn into_response(self, call: &Call) -> Response<Body> {
        match self {
            Self::Forwarded(response) => response,
            Self::Nothing => answer(StatusCode::OK, empty()),
            Self::Absent => answer(StatusCode::NOT_FOUND, empty()),
            Self::MethodNotAllowed => answer(StatusCode::METHOD_NOT_ALLOWED, empty()),
            Self::Json(value) => json_answer(StatusCode::OK, &value, call),
        }
    }
}

/// A failure as an answer: 404 if an object is not there, else 500, whatever the reason.
pub fn error(error: &Error, call: &Call) -> Response<Body> {
    let status = if error.is_not_found() { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
    let body = json!({
        "type": "error", "status": status.as_u16(), "code": status.canonical_reason(), "message": error.to_string(), "detail": "",
        "actions": {}, "links": {"self": call.url()},
    });
    json_answer(status, &body, call)
}

fn answer(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn json_answer(status: StatusCode, value: &Value, call: &Call) -> Response<Body> {
    let mut response = answer(status, full(format!("{value}\n")));
    let schemas = format!("http://{}/v1/schemas", call.host);
    for (name, value) in [("content-type", "application/json"), ("x-api-schemas", schemas.as_str())] {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn call(method: Method, path_and_query: &str) -> Call {
        let host = "longhorn-backend:9500".to_owned();
        Call { method, path_and_query: path_and_query.to_owned(), host, body: Bytes::new() }
    }

    #[test]
    fn a_call_is_taken_apart() {
        let call = call(Method::POST, "/v1/backupvolumes/vol-1?action=backupList");
        assert_eq!((call.parts(), call.action()), (vec!["backupvolumes", "vol-1"], "backupList"));
        assert_eq!(call.url(), "http://longhorn-backend:9500/v1/backupvolumes/vol-1");
        assert_eq!(call.input::<Value>().unwrap_err().to_string(), "EOF");
    }

    #[test]
    fn resources_link_to_themselves() {
        let call = call(Method::GET, "/v1/backupvolumes");
        let resource = call.resource("backupVolume", "vol-1", &["backupList"], json!({"name": "vol-1"}));
        let link = "http://longhorn-backend:9500/v1/backupvolumes/vol-1";
        assert_eq!(resource["links"]["self"], link);
        assert_eq!(resource["actions"]["backupList"], format!("{link}?action=backupList"));
    }

    #[test]
    fn what_is_not_there_is_404() {
        let call = call(Method::GET, "/v1/nodes/n1");
        let absent = Error::from(corral_kube_client::Error::not_found("longhorn.io", "nodes", "n1"));
        assert_eq!(error(&absent, &call).status(), StatusCode::NOT_FOUND);
        assert_eq!(error(&Error::message("x"), &call).status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
