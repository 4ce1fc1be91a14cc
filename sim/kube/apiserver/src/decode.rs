//! From a request's body to an object that the rest of the server can rely on.

use serde_json::{Map, Value};

use crate::error::{ApiError, Cause, json};
use crate::meta;
use crate::resource::{Model, Resource};

/// What the real server reads at most.
pub(crate) const BODY_LIMIT: usize = 3 << 20;

/// What to do about fields that nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    pub fn of(parameter: Option<&str>) -> Result<FieldValidation, ApiError> {
        match parameter {
            None | Some("Warn") => Ok(FieldValidation::Warn),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some(other) => {
                let known = ["Ignore", "Strict", "Warn"].map(json);
                let cause = Cause::not_supported("fieldValidation", json(other), &known);
                Err(ApiError::invalid("meta.k8s.io", "CreateOptions", "", vec![cause]))
            }
        }
    }

    /// Turns unknown fields into warnings or an error.
    pub fn judge(self, resource: &Resource, unknown: Vec<String>, warnings: &mut Vec<String>) -> Result<(), ApiError> {
        if unknown.is_empty() || self == FieldValidation::Ignore {
            return Ok(());
        }
        let texts = unknown.iter().map(|path| format!("unknown field {}", json(path)));
        if self == FieldValidation::Strict {
            let all: Vec<String> = texts.collect();
            return Err(resource.cannot_be_handled(&format!("strict decoding error: {}", all.join(", "))));
        }
        warnings.extend(texts);
        Ok(())
    }
}

/// The media type of a body without its parameters.
pub(crate) fn media_type(content_type: Option<&str>) -> &str {
    content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

/// How the real server shows a body that it cannot read.
fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    if body.first() == Some(&b'{') {
        let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).into_owned();
        return if body.len() > SHOWN { text + " ..." } else { text };
    }
    let hex: String = body.iter().take(SHOWN / 2).map(|byte| format!("{byte:02x}")).collect();
    if body.len() > SHOWN / 2 { hex + " ..." } else { hex }
}

/// Go's words for a JSON error, where clients may have seen them.
pub(crate) fn json_error(error: &serde_json::Error) -> String {
    if error.is_eof() { "unexpected end of JSON input".into() } else { format!("invalid character: {error}") }
}

/// Parses a body into an object of this resource, checks its type, and cleans its metadata.
pub(crate) fn object(
    resource: &Resource,
    content_type: Option<&str>,
    body: &[u8],
    unknown: &mut Vec<String>,
) -> Result<Map<String, Value>, ApiError> {
    if !matches!(media_type(content_type), "" | "application/json" | "application/yaml") {
        return Err(ApiError::unsupported_media_type(
            "application/json, application/yaml, application/vnd.kubernetes.protobuf",
        ));
    }
    let unrecognized = |why: &str| {
        let (kind, shown) = (&resource.kind, summary(body));
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {why} ({shown})"
        ))
    };
    let parsed: Value = serde_json::from_slice(body).map_err(|error| unrecognized(&json_error(&error)))?;
    let mut object = match parsed {
        Value::Object(object) => object,
        other => {
            let kind = crate::schema::type_name(&other);
            return Err(unrecognized(&format!(
                "json: cannot unmarshal {kind} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
            )));
        }
    };
    check_type(resource, &mut object)?;
    meta::clean(resource, &mut object, unknown)?;
    Ok(object)
}

fn check_type(resource: &Resource, object: &mut Map<String, Value>) -> Result<(), ApiError> {
    let text = |object: &Map<String, Value>, field: &str| {
        object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (kind, version) = (text(object, "kind"), text(object, "apiVersion"));
    let expected = resource.api_version();
    match &resource.model {
        Model::Custom(_) => {
            if kind.is_empty() {
                return Err(ApiError::bad_request("Object 'Kind' is missing in the request body"));
            }
            if version != expected {
                return Err(ApiError::bad_request(format!(
                    "the API version in the data ({version}) does not match the expected API version ({expected})"
                )));
            }
            if kind != resource.kind {
                let name = object
                    .get("metadata")
                    .and_then(|metadata| metadata.get("name"))
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let why = format!("must be {}", resource.kind);
                let cause = Cause::invalid("kind", json(&kind), &why);
                return Err(ApiError::invalid(&resource.group, &kind, name, vec![cause]));
            }
        }
        Model::Builtin(..) => {
            if !version.is_empty() && version != expected {
                let why = format!(
                    "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\""
                );
                let shown = version.rsplit('/').next().unwrap_or_default();
                let own = &resource.kind;
                return Err(ApiError::bad_request(format!(
                    "{kind} in version \"{shown}\" cannot be handled as a {own}: {why}"
                )));
            }
            if !kind.is_empty() && kind != resource.kind {
                let (own, shown) = (&resource.kind, &resource.version);
                return Err(ApiError::bad_request(format!(
                    "{kind} in version \"{shown}\" cannot be handled as a {own}: converting ({shown}.{kind}) to ({own}): unknown conversion"
                )));
            }
            object.insert("kind".into(), resource.kind.clone().into());
            object.insert("apiVersion".into(), expected.into());
        }
    }
    Ok(())
}

/// Prunes and fills in defaults.
pub(crate) fn shape(
    resource: &Resource,
    object: &mut Map<String, Value>,
    unknown: &mut Vec<String>,
) -> Result<(), ApiError> {
    match &resource.model {
        Model::Custom(version) => {
            version.schema.shape_root(object, unknown);
            // One storage form for all versions.
            if !version.is_storage {
                object.insert("apiVersion".into(), version.storage_api_version.clone().into());
            }
        }
        Model::Builtin(model, types) => {
            crate::builtin::clean(resource, types, object, unknown)?;
            (model.defaults)(object);
        }
    }
    Ok(())
}
