//! CustomResourceDefinitions: what they must say, and what becomes of them.
//!
//! Facts: apiextensions-apiserver's `pkg/apis/apiextensions` (defaults, validation) and `pkg/controller` (names, establishing, finalizing);
//! facts/kubernetes.md section 1 for what the measured server does around a change.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::builtin::Surroundings;
use crate::error::{ApiError, Cause, json as as_json, qualified};
use crate::resource::{Model, Resource, head};
use crate::schema::{Schema, compile};

/// The finalizer that makes the instances go before their definition.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// A column of a Table, from `additionalPrinterColumns`.
#[derive(Clone, Debug)]
pub(crate) struct PrinterColumn {
    pub name: String,
    pub kind: String,
    pub format: String,
    pub description: String,
    pub priority: i64,
    pub path: crate::jsonpath::JsonPath,
}

/// The paths of a scale subresource.
#[derive(Clone, Debug)]
pub(crate) struct ScalePaths {
    pub spec: Vec<String>,
    pub status: Vec<String>,
    pub selector: Option<Vec<String>>,
}

/// One version of a custom resource.
#[derive(Debug)]
pub(crate) struct CustomVersion {
    pub schema: Schema,
    pub status_subresource: bool,
    pub scale: Option<ScalePaths>,
    pub columns: Vec<PrinterColumn>,
    pub selectable_fields: Vec<String>,
    pub is_storage: bool,
    /// Other versions are made by a webhook, not by renaming.
    pub conversion_webhook: bool,
    pub storage_api_version: String,
    /// The schema as it was given, for OpenAPI.
    pub open_api: Value,
}

/// Defaults of a definition.
pub(crate) fn defaults(definition: &mut Map<String, Value>) {
    let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut) else { return };
    spec.entry("conversion").or_insert_with(|| json!({ "strategy": "None" }));
    if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
        let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        names.entry("singular").or_insert_with(|| kind.to_lowercase().into());
        names.entry("listKind").or_insert_with(|| format!("{kind}List").into());
    }
    if let Some(service) =
        spec.get_mut("conversion").and_then(|conversion| conversion.pointer_mut("/webhook/clientConfig/service"))
        && let Some(service) = service.as_object_mut()
    {
        service.entry("port").or_insert_with(|| 443.into());
    }
}

/// A new definition has no status yet, and waits for its instances at its end.
pub(crate) fn prepare(definition: &mut Map<String, Value>, _: &dyn Surroundings) -> Result<(), ApiError> {
    let stored = storage_version(definition).unwrap_or_default();
    let status = json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": [], "storedVersions": [stored]});
    definition.insert("status".into(), status);
    if let Some(metadata) = definition.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(finalizers) = metadata.entry("finalizers").or_insert_with(|| json!([])).as_array_mut()
        && !finalizers.iter().any(|one| one == CLEANUP)
    {
        finalizers.push(CLEANUP.into());
    }
    Ok(())
}

/// A new storage version is remembered as stored.
pub(crate) fn prepare_update(definition: &mut Map<String, Value>, _: &Map<String, Value>, _: &dyn Surroundings) {
    let Some(stored) = storage_version(definition) else { return };
    if let Some(versions) = definition.get_mut("status").and_then(|status| status.get_mut("storedVersions"))
        && let Some(versions) = versions.as_array_mut()
        && !versions.iter().any(|one| *one == stored)
    {
        versions.push(stored.into());
    }
}

fn versions(definition: &Map<String, Value>) -> impl Iterator<Item = &Map<String, Value>> {
    definition
        .get("spec")
        .and_then(|spec| spec.get("versions"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
}

fn is_true(map: &Map<String, Value>, field: &str) -> bool {
    map.get(field) == Some(&Value::Bool(true))
}

fn storage_version(definition: &Map<String, Value>) -> Option<String> {
    let stored = versions(definition).find(|version| is_true(version, "storage"))?;
    Some(stored.get("name")?.as_str()?.to_owned())
}

fn text<'a>(definition: &'a Map<String, Value>, pointer: &[&str]) -> &'a str {
    let mut at = definition.get(pointer[0]);
    for step in &pointer[1..] {
        at = at.and_then(|value| value.get(step));
    }
    at.and_then(Value::as_str).unwrap_or_default()
}

/// Says what is wrong with a definition.
pub(crate) fn validate(definition: &Map<String, Value>, old: Option<&Map<String, Value>>, causes: &mut Vec<Cause>) {
    let group = text(definition, &["spec", "group"]);
    let plural = text(definition, &["spec", "names", "plural"]);
    let name = text(definition, &["metadata", "name"]);
    if name != format!("{plural}.{group}") {
        let why = "must be spec.names.plural+\".\"+spec.group";
        causes.push(Cause::invalid("metadata.name", as_json(name), why));
    }
    for (value, path) in [
        (group, "spec.group"),
        (plural, "spec.names.plural"),
        (text(definition, &["spec", "names", "kind"]), "spec.names.kind"),
    ] {
        if value.is_empty() {
            causes.push(Cause::required(path, ""));
        }
    }
    let scope = text(definition, &["spec", "scope"]);
    if !matches!(scope, "Namespaced" | "Cluster") {
        let known = ["Cluster", "Namespaced"].map(as_json);
        causes.push(Cause::not_supported("spec.scope", as_json(scope), &known));
    }
    let stored = versions(definition).filter(|version| is_true(version, "storage")).count();
    if stored != 1 {
        let why = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", "[]", why));
    }
    for (index, version) in versions(definition).enumerate() {
        validate_version(version, &format!("spec.versions[{index}]"), causes);
    }
    if let Some(old) = old {
        for field in ["group", "scope"] {
            let (before, now) = (text(old, &["spec", field]), text(definition, &["spec", field]));
            if before != now {
                causes.push(Cause::invalid(format!("spec.{field}"), as_json(now), "field is immutable"));
            }
        }
    }
}

fn validate_version(version: &Map<String, Value>, path: &str, causes: &mut Vec<Cause>) {
    let schema = version.get("schema").and_then(|schema| schema.get("openAPIV3Schema"));
    let schema_path = format!("{path}.schema.openAPIV3Schema");
    match schema {
        None | Some(Value::Null) => causes.push(Cause::required(schema_path, "")),
        Some(schema) => {
            if schema.get("type").and_then(Value::as_str) != Some("object") {
                let given = schema.get("type").and_then(Value::as_str).unwrap_or_default();
                causes.push(Cause::invalid(
                    format!("{schema_path}.type"),
                    as_json(given),
                    "must be object at the root",
                ));
            }
            if let Err(why) = compile(schema) {
                causes.push(Cause::invalid(schema_path, "{}", &why));
            }
        }
    }
}

fn steps(path: Option<&Value>) -> Option<Vec<String>> {
    let path = path?.as_str()?.strip_prefix('.')?;
    Some(path.split('.').map(str::to_owned).collect())
}

/// The resources that a definition serves. What does not compile is left out: validation has refused it before.
pub(crate) fn resources(definition: &Value) -> Vec<Resource> {
    let Some(map) = definition.as_object() else { return Vec::new() };
    let group = text(map, &["spec", "group"]);
    let names = definition.pointer("/spec/names").cloned().unwrap_or_default();
    let name = |field: &str| names.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |field: &str| -> Vec<String> {
        let all = names.get(field).and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let plural = name("plural");
    let key: Arc<str> = Arc::from(qualified(&plural, group));
    let storage_api_version = format!("{group}/{}", storage_version(map).unwrap_or_default());
    let webhook = text(map, &["spec", "conversion", "strategy"]) == "Webhook";
    let served = versions(map).filter(|version| is_true(version, "served"));
    served
        .filter_map(|version| {
            let version_name = version.get("name")?.as_str()?.to_owned();
            let custom = custom_version(version, &storage_api_version, webhook)?;
            Some(Resource {
                group: group.to_owned(),
                plural: plural.clone(),
                singular: name("singular"),
                kind: name("kind"),
                list_kind: name("listKind"),
                short_names: list("shortNames"),
                categories: list("categories"),
                namespaced: text(map, &["spec", "scope"]) == "Namespaced",
                key: key.clone(),
                head: head(&name("kind"), group, &version_name),
                version: version_name,
                model: Model::Custom(Arc::new(custom)),
            })
        })
        .collect()
}

fn custom_version(version: &Map<String, Value>, storage: &str, webhook: bool) -> Option<CustomVersion> {
    let open_api = version.get("schema")?.get("openAPIV3Schema")?.clone();
    let subresource =
        |name: &str| version.get("subresources").and_then(|all| all.get(name)).filter(|one| !one.is_null());
    let scale = subresource("scale").and_then(|scale| {
        Some(ScalePaths {
            spec: steps(scale.get("specReplicasPath"))?,
            status: steps(scale.get("statusReplicasPath"))?,
            selector: steps(scale.get("labelSelectorPath")),
        })
    });
    let columns = version.get("additionalPrinterColumns").and_then(Value::as_array).into_iter().flatten();
    let fields = version.get("selectableFields").and_then(Value::as_array).into_iter().flatten();
    Some(CustomVersion {
        schema: compile(&open_api).ok()?,
        status_subresource: subresource("status").is_some(),
        scale,
        columns: columns.filter_map(printer_column).collect(),
        selectable_fields: fields
            .filter_map(|field| Some(field.get("jsonPath")?.as_str()?.trim_start_matches('.').to_owned()))
            .collect(),
        is_storage: is_true(version, "storage"),
        conversion_webhook: webhook,
        storage_api_version: storage.to_owned(),
        open_api,
    })
}

fn printer_column(column: &Value) -> Option<PrinterColumn> {
    let text = |field: &str| column.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(PrinterColumn {
        name: text("name"),
        kind: text("type"),
        format: text("format"),
        description: text("description"),
        priority: column.get("priority").and_then(Value::as_i64).unwrap_or(0),
        path: crate::jsonpath::JsonPath::parse(&text("jsonPath"))?,
    })
}
