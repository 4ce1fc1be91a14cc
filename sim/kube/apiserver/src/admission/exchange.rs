//! One question to one webhook: the AdmissionReview over HTTP, and what can go wrong with it.

use base64::Engine as _;
use host::time::timeout;
use http::{Method, Request, header};
use serde_json::{Value, json};

use super::{Hook, Operation, Review};
use crate::call::Call;
use crate::error::ApiError;
use crate::options::Access;
use crate::patch::Patch;
use crate::server::Inner;

const ANSWER_LIMIT: usize = 3 << 20;

/// A hook lets the write pass, perhaps changed.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub warnings: Vec<String>,
    pub patch: Option<Patch>,
}

/// A hook does not let the write pass.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It said no.
    Denied(ApiError),
    /// It could not be asked.
    Failed(String),
    /// It answered, and that was no answer.
    Invalid(String),
}

impl Refusal {
    /// A failure counts unless the hook's policy is to ignore it.
    pub fn unless_ignored(self, hook: &Hook) -> Result<(), ApiError> {
        let why = match self {
            Refusal::Denied(error) => return Err(error),
            Refusal::Failed(why) => format!("failed to call webhook: {why}"),
            Refusal::Invalid(why) => format!("received invalid webhook response: {why}"),
        };
        if hook.ignore_failure {
            tracing::warn!(webhook = %hook.name, %why, "failed calling webhook, failing open");
            return Ok(());
        }
        Err(ApiError::internal(format!("failed calling webhook \"{}\": {why}", hook.name)))
    }
}

fn options(call: &Call, review: &Review) -> Value {
    let kind = match (&review.operation, call.verb) {
        (Operation::Delete(given), _) => return given.clone(),
        (Operation::Create, _) => "CreateOptions",
        (Operation::Update, "patch") => "PatchOptions",
        (Operation::Update, _) => "UpdateOptions",
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    for name in ["fieldManager", "fieldValidation"] {
        if let Some(value) = call.query.get(name) {
            options[name] = value.into();
        }
    }
    if review.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    options
}

/// The review of a write in one API version.
fn review_body(call: &Call, review: &Review, uid: &str, version: &str) -> String {
    let resource = &call.resource;
    let shown = |object: Option<&serde_json::Map<String, Value>>| {
        let mut object = object.cloned().map_or(Value::Null, Value::Object);
        if resource.custom().is_some() && !object.is_null() {
            object["apiVersion"] = crate::resource::api_version(&resource.group, version).into();
        }
        object
    };
    let kind = |version: &str| json!({"group": resource.group, "version": version, "kind": resource.kind});
    let plural = |version: &str| json!({"group": resource.group, "version": version, "resource": resource.plural});
    let mut request = json!({
        "uid": uid,
        "kind": kind(version),
        "resource": plural(version),
        "requestKind": kind(&resource.version),
        "requestResource": plural(&resource.version),
        "operation": review.operation.name(),
        "userInfo": {"username": "kubernetes-admin", "uid": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]},
        "object": shown(review.object.as_ref()),
        "oldObject": shown(review.old.as_ref().and_then(|old| old.value.as_object())),
        "dryRun": review.dry_run,
        "options": options(call, review),
    });
    for (field, value) in [
        ("name", &call.name),
        ("namespace", &call.namespace),
        ("subResource", &call.subresource),
        ("requestSubResource", &call.subresource),
    ] {
        if !value.is_empty() {
            request[field] = value.clone().into();
        }
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}).to_string()
}

/// Asks a hook about a write.
pub(super) async fn ask(
    inner: &Inner,
    hook: &Hook,
    call: &Call,
    review: &Review,
    version: &str,
) -> Result<Verdict, Refusal> {
    let Some(url) = hook.url(inner.options.webhook_scheme) else {
        tracing::debug!(webhook = %hook.name, "not called: it would need TLS");
        return Ok(Verdict::default());
    };
    let uid = inner.new_uid();
    let body = review_body(call, review, &uid, version);
    let answer = timeout(hook.timeout, exchange(inner, &url, body)).await;
    let answer = match answer {
        Err(_) => return Err(Refusal::Failed(format!("Post \"{url}\": context deadline exceeded"))),
        Ok(answer) => answer.map_err(Refusal::Failed)?,
    };
    judge(hook, &uid, &answer)
}

async fn exchange(inner: &Inner, url: &str, body: String) -> Result<Value, String> {
    let failed = |why: String| format!("Post \"{url}\": {why}");
    let request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, */*")
        .header(header::USER_AGENT, "kube-apiserver-admission")
        .body(host::http::full(body))
        .map_err(|error| failed(error.to_string()))?;
    inner.storage(Access::Webhook).await;
    let response = inner.http.send(request).await.map_err(|error| failed(in_gos_words(&error)))?;
    let status = response.status().as_u16();
    let bytes =
        host::http::collect(response.into_body(), ANSWER_LIMIT).await.map_err(|error| failed(error.to_string()))?;
    if status != 200 {
        return Err("an error on the server (\"unknown\") has prevented the request from succeeding".into());
    }
    let answer: Value = serde_json::from_slice(&bytes).map_err(|error| {
        format!("couldn't get version/kind; json parse error: {}", crate::decode::json_error(&error))
    })?;
    if !answer.is_object() {
        return Err("couldn't get version/kind; json parse error: not an object".into());
    }
    Ok(answer)
}

/// What Go's client says of a connection: people and programs match on it.
fn in_gos_words(error: &host::http::Error) -> String {
    use host::http::Error;
    use std::io::ErrorKind;
    match error {
        Error::Resolve { host, .. } => {
            format!("dial tcp: lookup {}: no such host", host.split(':').next().unwrap_or(host))
        }
        Error::Connect { authority, error } => {
            let why = match error.kind() {
                ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                ErrorKind::HostUnreachable => "no route to host".to_owned(),
                ErrorKind::TimedOut => "connection timed out".to_owned(),
                _ => error.to_string(),
            };
            format!("dial tcp {authority}: connect: {why}")
        }
        Error::ConnectTimeout { authority } => format!("dial tcp {authority}: i/o timeout"),
        Error::Transfer(_) => "EOF".to_owned(),
        other => other.to_string(),
    }
}

fn judge(hook: &Hook, uid: &str, answer: &Value) -> Result<Verdict, Refusal> {
    let failed = |why: String| Err(Refusal::Invalid(why));
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if text("/kind") != "AdmissionReview" || text("/apiVersion") != "admission.k8s.io/v1" {
        let (kind, version) = (text("/kind"), text("/apiVersion"));
        return failed(format!(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {version}, Kind={kind}"
        ));
    }
    if answer.get("response").is_none_or(Value::is_null) {
        return failed("webhook response was absent".into());
    }
    if text("/response/uid") != uid {
        let found = text("/response/uid");
        return failed(format!("expected response.uid={uid:?}, got {found:?}"));
    }
    let warnings = answer.pointer("/response/warnings").and_then(Value::as_array).into_iter().flatten();
    let warnings: Vec<String> = warnings.filter_map(Value::as_str).map(str::to_owned).collect();
    if answer.pointer("/response/allowed") != Some(&Value::Bool(true)) {
        return Err(Refusal::Denied(denial(hook, answer.pointer("/response/status"))));
    }
    let patch = text("/response/patch");
    if patch.is_empty() {
        return Ok(Verdict { warnings, patch: None });
    }
    if text("/response/patchType") != "JSONPatch" {
        return failed("webhook returned response.patch but not response.patchType of JSONPatch".into());
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(patch).ok();
    match decoded.and_then(|bytes| Patch::json(&bytes).ok()) {
        Some(patch) => Ok(Verdict { warnings, patch: Some(patch) }),
        None => failed("webhook response.patch is no JSON patch".into()),
    }
}

/// The words of a denial; code and reason are the hook's own.
fn denial(hook: &Hook, status: Option<&Value>) -> ApiError {
    let text = |field: &str| status.and_then(|status| status.get(field)).and_then(Value::as_str).unwrap_or_default();
    let code = status.and_then(|status| status.get("code")).and_then(Value::as_u64).unwrap_or(0);
    let code = u16::try_from(code).ok().filter(|code| (400..600).contains(code)).unwrap_or(400);
    let name = &hook.name;
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("admission webhook \"{name}\" denied the request without explanation"),
        ("", why) | (why, _) => format!("admission webhook \"{name}\" denied the request: {why}"),
    };
    match text("reason") {
        "" => ApiError::without_reason(code, message),
        reason => ApiError::new(code, reason, message),
    }
}
