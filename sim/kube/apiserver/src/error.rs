//! What the server answers when it refuses: `metav1.Status`, in the words that clients match on.
//!
//! Facts: facts/kubernetes.md section 1 and conformance/real.json, recorded on kube-apiserver 1.36; apimachinery's `api/errors` and
//! `util/validation/field`.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::Serialize;

/// One reason why an object is invalid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, ...; webhook failures have none.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: &'static str,
    /// What is wrong with the value.
    pub message: String,
    /// Path of the field.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

impl Cause {
    fn new(reason: &'static str, field: impl Into<String>, message: String) -> Cause {
        Cause { reason, message, field: field.into() }
    }

    /// A missing value.
    pub fn required(field: impl Into<String>, detail: &str) -> Cause {
        let message = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        Cause::new("FieldValueRequired", field, message)
    }

    /// A value that breaks a rule; `value` is already written as JSON.
    pub fn invalid(field: impl Into<String>, value: impl std::fmt::Display, detail: &str) -> Cause {
        Cause::new("FieldValueInvalid", field, format!("Invalid value: {value}: {detail}"))
    }

    /// A value of another type.
    pub fn type_invalid(field: impl Into<String>, value: impl std::fmt::Display, detail: &str) -> Cause {
        Cause::new("FieldValueTypeInvalid", field, format!("Invalid value: {value}: {detail}"))
    }

    /// A value outside a fixed set.
    pub fn not_supported(field: impl Into<String>, value: impl std::fmt::Display, supported: &[String]) -> Cause {
        let list = supported.join(", ");
        Cause::new("FieldValueNotSupported", field, format!("Unsupported value: {value}: supported values: {list}"))
    }

    /// A change that is not allowed.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Cause {
        Cause::new("FieldValueForbidden", field, format!("Forbidden: {detail}"))
    }

    /// A value that may occur once only.
    pub fn duplicate(field: impl Into<String>, value: impl std::fmt::Display) -> Cause {
        Cause::new("FieldValueDuplicate", field, format!("Duplicate value: {value}"))
    }

    /// A string or object over its size.
    pub fn too_long(field: impl Into<String>, detail: &str) -> Cause {
        Cause::new("FieldValueTooLong", field, format!("Too long: {detail}"))
    }

    /// A list over its length.
    pub fn too_many(field: impl Into<String>, detail: &str) -> Cause {
        Cause::new("FieldValueTooMany", field, format!("Too many: {detail}"))
    }

    /// What a create in a dying namespace runs into.
    pub fn namespace_terminating(namespace: &str) -> Cause {
        Cause::new("NamespaceTerminating", "metadata.namespace", format!("namespace {namespace} is being terminated"))
    }

    fn text(&self) -> String {
        if self.field.is_empty() { self.message.clone() } else { format!("{}: {}", self.field, self.message) }
    }
}

/// What an error is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Details {
    /// Name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind, or resource: the real server is not of one mind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The object's uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// What is wrong, one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to come back.
    #[serde(rename = "retryAfterSeconds", skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

fn is_zero(seconds: &u32) -> bool {
    *seconds == 0
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} {}: {message}", reason.as_deref().unwrap_or("-"))]
pub struct ApiError {
    /// HTTP status.
    pub code: u16,
    /// The machine-readable reason; some of the real server's errors have none.
    pub reason: Option<String>,
    /// For people, and for those who match on it.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
    /// In the metadata of the Status: how a list may go on.
    pub continue_token: String,
    /// True for the errors that the real server's router answers as plain text.
    pub plain_text: bool,
}

/// Name of a resource in messages: `widgets.conform.example`, `pods`.
pub(crate) fn qualified(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

impl ApiError {
    /// Any error.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> ApiError {
        ApiError {
            code,
            reason: Some(reason.to_owned()),
            message: message.into(),
            details: None,
            continue_token: String::new(),
            plain_text: false,
        }
    }

    /// An error to which the real server gives no reason.
    pub fn without_reason(code: u16, message: impl Into<String>) -> ApiError {
        ApiError {
            code,
            reason: None,
            message: message.into(),
            details: None,
            continue_token: String::new(),
            plain_text: false,
        }
    }

    /// The router's 404 in plain text.
    pub fn page_not_found() -> ApiError {
        ApiError { plain_text: true, ..ApiError::new(404, "NotFound", "404 page not found\n") }
    }

    /// 404 for a resource that the group does not have.
    pub fn no_such_resource() -> ApiError {
        ApiError::new(404, "NotFound", "the server could not find the requested resource").with(Details::default())
    }

    fn with(mut self, details: Details) -> ApiError {
        self.details = Some(Box::new(details));
        self
    }

    fn about(self, group: &str, kind: &str, name: &str) -> ApiError {
        self.with(Details { name: name.into(), group: group.into(), kind: kind.into(), ..Details::default() })
    }

    /// 404 for an object.
    pub fn not_found(group: &str, plural: &str, name: &str) -> ApiError {
        ApiError::new(404, "NotFound", format!("{} \"{name}\" not found", qualified(plural, group)))
            .about(group, plural, name)
    }

    /// 409 at a create.
    pub fn already_exists(group: &str, plural: &str, name: &str, terminating: bool) -> ApiError {
        let prefix = if terminating { "object is being deleted: " } else { "" };
        let message = format!("{prefix}{} \"{name}\" already exists", qualified(plural, group));
        ApiError::new(409, "AlreadyExists", message).about(group, plural, name)
    }

    /// 409 at a write to what is there; `kind` is the resource or the kind.
    pub fn conflict(group: &str, kind: &str, name: &str, why: &str) -> ApiError {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", qualified(kind, group));
        ApiError::new(409, "Conflict", message).about(group, kind, name)
    }

    /// 409 by a stale resourceVersion.
    pub fn stale(group: &str, plural: &str, name: &str) -> ApiError {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        ApiError::conflict(group, plural, name, why)
    }

    /// 422 with its causes.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> ApiError {
        let mut texts: Vec<String> = Vec::with_capacity(causes.len());
        for cause in &causes {
            let text = cause.text();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let all = if let [one] = texts.as_slice() { one.clone() } else { format!("[{}]", texts.join(", ")) };
        let message = format!("{} \"{name}\" is invalid: {all}", qualified(kind, group));
        let details =
            Details { name: name.into(), group: group.into(), kind: kind.into(), causes, ..Details::default() };
        ApiError::new(422, "Invalid", message).with(details)
    }

    /// 422 by a JSON patch that cannot be applied.
    pub fn patch_failed() -> ApiError {
        ApiError::new(422, "Invalid", "the server rejected our request due to an error in our request")
            .with(Details::default())
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "BadRequest", message)
    }

    /// 403.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> ApiError {
        let message = format!("{} \"{name}\" is forbidden: {why}", qualified(plural, group));
        ApiError::new(403, "Forbidden", message).about(group, plural, name)
    }

    /// 405.
    pub fn method_not_allowed() -> ApiError {
        ApiError::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
            .with(Details::default())
    }

    /// 406.
    pub fn not_acceptable() -> ApiError {
        ApiError::new(
            406,
            "NotAcceptable",
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )
    }

    /// 410: the version is gone.
    pub fn expired(message: impl Into<String>) -> ApiError {
        ApiError::new(410, "Expired", message)
    }

    /// Adds a cause to the details.
    pub(crate) fn with_cause(mut self, cause: Cause) -> ApiError {
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// Adds a token with which a list may go on.
    pub(crate) fn with_continue(mut self, token: String) -> ApiError {
        self.continue_token = token;
        self
    }

    /// 413.
    pub fn too_large(limit: usize) -> ApiError {
        ApiError::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
    }

    /// 415.
    pub fn unsupported_media_type(accepted: &str) -> ApiError {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        ApiError::new(415, "UnsupportedMediaType", message)
    }

    /// 429.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> ApiError {
        ApiError::new(429, "TooManyRequests", message).with(Details { retry_after_seconds, ..Details::default() })
    }

    /// 500 with its cause.
    pub fn internal(message: impl Into<String>) -> ApiError {
        let message = message.into();
        let cause = Cause { reason: "", message: message.clone(), field: String::new() };
        ApiError::new(500, "InternalError", format!("Internal error occurred: {message}"))
            .with(Details { causes: vec![cause], ..Details::default() })
    }

    /// 504: the caller has seen a version that this server has not.
    pub fn version_too_large(asked: u64, current: u64) -> ApiError {
        let cause = Cause {
            reason: "ResourceVersionTooLarge",
            message: "Too large resource version".into(),
            field: String::new(),
        };
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        ApiError::new(504, "Timeout", message).with(Details {
            causes: vec![cause],
            retry_after_seconds: 1,
            ..Details::default()
        })
    }

    /// The Status object, as it goes over the wire (without a line end).
    pub fn body(&self) -> Bytes {
        if self.plain_text {
            return Bytes::from(self.message.clone());
        }
        let mut text = String::from(r#"{"kind":"Status","apiVersion":"v1","metadata":{"#);
        if !self.continue_token.is_empty() {
            let _ = write!(text, r#""continue":{}"#, json(&self.continue_token));
        }
        text.push_str(r#"},"status":"Failure","message":"#);
        text.push_str(&json(&self.message));
        if let Some(reason) = &self.reason {
            let _ = write!(text, r#","reason":{}"#, json(reason));
        }
        if let Some(details) = &self.details {
            let _ = write!(text, r#","details":{}"#, json(details));
        }
        let _ = write!(text, r#","code":{}}}"#, self.code);
        Bytes::from(text)
    }
}

/// The Status that answers a deletion which leaves no object behind.
pub(crate) fn deleted(group: &str, plural: &str, name: &str, uid: &str) -> Bytes {
    let details =
        Details { name: name.into(), group: group.into(), kind: plural.into(), uid: uid.into(), ..Details::default() };
    let head = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":"#;
    Bytes::from(format!("{head}{}}}", json(&details)))
}

/// A value as JSON text.
pub(crate) fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("strings and values have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_the_real_servers() {
        let absent = ApiError::not_found("conform.example", "widgets", "absent");
        let expected = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"widgets.conform.example \"absent\" not found","reason":"NotFound","details":{"name":"absent","group":"conform.example","kind":"widgets"},"code":404}"#;
        assert_eq!(absent.body(), expected.as_bytes());
        let causes =
            vec![Cause::required("spec.a", ""), Cause::forbidden("spec.b", "no"), Cause::required("spec.a", "")];
        let invalid = ApiError::invalid("", "Pod", "p", causes);
        assert_eq!(invalid.message, "Pod \"p\" is invalid: [spec.a: Required value, spec.b: Forbidden: no]");
        assert_eq!(invalid.details.expect("causes").causes.len(), 3, "texts are said once, causes are all there");
    }
}
