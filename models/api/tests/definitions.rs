//! The CustomResourceDefinitions: structural, as an API server demands, and what kubectl shows of them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use longhorn_api::releases::ReleaseLine;
use longhorn_api::{Release, crds};
use serde_json::Value;

/// The rules of a structural schema: a type everywhere, fields or entries but not both, items for a list.
fn assert_structural(path: &str, schema: &Value) {
    let kind = schema["type"].as_str().unwrap_or_else(|| panic!("{path} has no type"));
    assert!(["string", "boolean", "integer", "array", "object"].contains(&kind), "{path}: {kind}");
    assert_eq!(schema.get("items").is_some(), kind == "array", "{path}");
    let (fields, entries) = (schema.get("properties"), schema.get("additionalProperties"));
    assert!(fields.is_none() || entries.is_none(), "{path} has both fields and entries");
    if let Some(inner) = entries.or(schema.get("items")) {
        assert_structural(&format!("{path}[]"), inner);
    }
    for (name, field) in fields.and_then(Value::as_object).into_iter().flatten() {
        assert_structural(&format!("{path}.{name}"), field);
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(fields.is_some_and(|fields| fields.get(required.as_str().unwrap_or_default()).is_some()), "{path}");
    }
}

#[test]
fn definitions_are_structural_and_have_a_status_subresource() {
    for release in Release::ALL {
        let definitions = crds::all(*release);
        assert_eq!(definitions.len(), 22);
        for definition in definitions {
            let written = serde_json::to_value(&definition).expect("it can be written");
            assert_eq!(serde_json::from_value::<CustomResourceDefinition>(written.clone()).ok(), Some(definition));
            assert_eq!(written["kind"], "CustomResourceDefinition");
            let spec = &written["spec"];
            let name = format!("{}.longhorn.io", spec["names"]["plural"].as_str().expect("a plural"));
            assert_eq!(written["metadata"]["name"], name.as_str());
            assert_eq!(spec["scope"], "Namespaced");
            let version = &spec["versions"][0];
            assert_eq!((&version["name"], &version["storage"]), (&"v1beta2".into(), &true.into()));
            assert_eq!(version["subresources"], serde_json::json!({ "status": {} }));
            assert_structural(&name, &version["schema"]["openAPIV3Schema"]);
        }
    }
}

fn columns(release: Release) -> String {
    let mut text = String::new();
    for definition in crds::all(release) {
        let names = definition.spec.names;
        text += &format!("{} ({})\n", names.plural, names.short_names.unwrap_or_default().join(", "));
        for column in definition.spec.versions[0].additional_printer_columns.iter().flatten() {
            text += &format!("  {:<18}{:<9}{}\n", column.name, column.type_, column.json_path);
        }
    }
    text
}

#[test]
fn columns_are_those_of_the_release() {
    insta::assert_snapshot!("columns", columns(Release::V1_9_2));
    let changed = |release| columns(release) != columns(Release::V1_9_2);
    let differing: Vec<_> = Release::ALL.iter().copied().filter(|release| changed(*release)).collect();
    assert_eq!(differing, [Release::V1_7_2, Release::V1_8_0_RC1, Release::V1_8_0_RC2]);
    let of_candidates = columns(Release::V1_8_0_RC2);
    assert!(of_candidates.contains(".status.backupTarget\n") && !of_candidates.contains(".status.backupTargetName"));
    assert!(!columns(Release::V1_7_2).contains("BackupTarget "));
}
