//! AdmissionReview (admission.k8s.io/v1) as the webhooks read and answer it, and their refusals (`webhook/admission`, `webhook/error`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::runtime::Error;

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is created.
    Create,
    /// It is replaced or patched.
    Update,
    /// It is deleted.
    Delete,
}

impl Operation {
    /// The word in reviews and rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// The question of a review.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    uid: String,
    /// The resource in the plural: `backups`.
    pub resource: String,
    /// What is done.
    pub operation: Operation,
    object: Value,
    old_object: Value,
}

impl Request {
    /// Reads a review. An operation that no webhook here is registered for is an error, as an unreadable review is.
    pub fn read(review: &[u8]) -> Result<Self, Denial> {
        let review: Value = serde_json::from_slice(review)
            .map_err(|error| Denial::internal(format!("failed to decode objects: {error}")))?;
        let request = &review["request"];
        let operation = match request["operation"].as_str().unwrap_or_default() {
            "CREATE" => Operation::Create,
            "UPDATE" => Operation::Update,
            "DELETE" => Operation::Delete,
            other => return Err(Denial::internal(format!("unsupported operation {other}"))),
        };
        Ok(Self {
            uid: request["uid"].as_str().unwrap_or_default().to_owned(),
            resource: request["resource"]["resource"].as_str().unwrap_or_default().to_owned(),
            operation,
            object: request["object"].clone(),
            old_object: request["oldObject"].clone(),
        })
    }

    /// The new state of the object.
    pub fn object<K: DeserializeOwned>(&self) -> Result<K, Denial> {
        decode(&self.object)
    }

    /// The old state of the object.
    pub fn old_object<K: DeserializeOwned>(&self) -> Result<K, Denial> {
        decode(&self.old_object)
    }

    /// The review with its answer.
    pub fn answer(&self, verdict: Result<Patch, Denial>) -> Value {
        let mut response = json!({"uid": self.uid, "allowed": verdict.is_ok()});
        match verdict {
            Ok(patch) if patch.0.is_empty() => {}
            Ok(patch) => {
                response["patchType"] = "JSONPatch".into();
                response["patch"] = STANDARD.encode(Value::Array(patch.0).to_string()).into();
            }
            Err(denial) => response["status"] = denial.status(),
        }
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
    }
}

fn decode<K: DeserializeOwned>(object: &Value) -> Result<K, Denial> {
    K::deserialize(object).map_err(|error| Denial::internal(error.to_string()))
}

/// What a mutator changes. Fields are replaced whether they are there or not, as the API server's JSON patch allows for members.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patch(Vec<Value>);

impl Patch {
    /// Puts a value at a path such as `/spec/labels`.
    pub fn replace(&mut self, path: impl Into<String>, value: impl Into<Value>) {
        self.0.push(json!({"op": "replace", "path": path.into(), "value": value.into()}));
    }

    /// The changes.
    #[cfg(test)]
    pub fn operations(&self) -> &[Value] {
        &self.0
    }
}

/// Why a write is refused, in the terms of a Status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denial {
    code: u16,
    reason: &'static str,
    message: String,
    /// The field that is to blame, for what is invalid.
    field: Option<&'static str>,
}

impl Denial {
    /// The object is not as it should be.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::invalid_field("", message)
    }

    /// A field is not as it should be.
    pub fn invalid_field(field: &'static str, message: impl Into<String>) -> Self {
        Self { code: 422, reason: "Invalid", message: message.into(), field: Some(field) }
    }

    /// The request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self { code: 400, reason: "BadRequest", message: message.into(), field: None }
    }

    /// The state of things forbids it for now.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self { code: 403, reason: "Forbidden", message: message.into(), field: None }
    }

    /// The webhook could not find out.
    pub fn internal(message: impl Into<String>) -> Self {
        Self { code: 500, reason: "InternalError", message: message.into(), field: None }
    }

    fn status(&self) -> Value {
        let mut status = json!({
            "metadata": {}, "status": "Failure", "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(field) = self.field {
            let mut cause = json!({"reason": "FieldValueInvalid", "message": self.message});
            if !field.is_empty() {
                cause["field"] = field.into();
            }
            status["details"] = json!({"causes": [cause]});
        }
        status
    }
}

/// What the datastore cannot do for a webhook makes the object invalid, whatever the reason.
impl From<Error> for Denial {
    fn from(error: Error) -> Self {
        Self::invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use longhorn_api::Backup;

    use super::*;

    fn review(operation: &str) -> Vec<u8> {
        let request = json!({
            "uid": "u", "operation": operation, "resource": {"group": "longhorn.io", "version": "v1beta2", "resource": "backups"},
            "object": {"apiVersion": "longhorn.io/v1beta2", "kind": "Backup", "metadata": {"name": "b"}}, "oldObject": null,
        });
        json!({"kind": "AdmissionReview", "request": request}).to_string().into_bytes()
    }

    #[test]
    fn a_review_is_read_and_answered() {
        let request = Request::read(&review("CREATE")).unwrap();
        assert_eq!((request.resource.as_str(), request.operation), ("backups", Operation::Create));
        let backup: Backup = request.object().unwrap();
        assert_eq!(backup.metadata.name.as_deref(), Some("b"));
        assert_eq!(request.answer(Ok(Patch::default()))["response"], json!({"uid": "u", "allowed": true}));
    }

    #[test]
    fn a_patch_travels_in_base64() {
        let mut patch = Patch::default();
        patch.replace("/spec/labels", json!({}));
        let answer = Request::read(&review("UPDATE")).unwrap().answer(Ok(patch));
        let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
        let patch: Value = serde_json::from_slice(&patch).unwrap();
        assert_eq!(patch, json!([{"op": "replace", "path": "/spec/labels", "value": {}}]));
        assert_eq!(answer["response"]["patchType"], "JSONPatch");
    }

    #[test]
    fn a_refusal_names_its_field() {
        let denial = Denial::invalid_field("value", "no");
        let answer = Request::read(&review("UPDATE")).unwrap().answer(Err(denial));
        let status = &answer["response"]["status"];
        assert_eq!((status["code"].as_u64(), status["reason"].as_str()), (Some(422), Some("Invalid")));
        let causes = json!([{"reason": "FieldValueInvalid", "message": "no", "field": "value"}]);
        assert_eq!(status["details"]["causes"], causes);
        assert!(Request::read(&review("CONNECT")).is_err());
    }
}
