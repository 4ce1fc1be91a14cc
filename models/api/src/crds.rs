//! The CustomResourceDefinitions: what an API server must be told so that it takes what a release's manager writes and drops the
//! rest, as upstream's manifests tell it (k8s/crds.yaml). All from the records of [`crate::kinds`].
//!
//! Known differences: no `v1beta1` beside `v1beta2` and so no conversion webhook; no descriptions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, CustomResourceSubresourceStatus,
    CustomResourceSubresources, CustomResourceValidation, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::kinds::DEFINITIONS;
use crate::releases::Release;
use crate::resource::Definition;
use crate::schema::{Field, Type};

/// The definitions of all kinds, as `release` installs them.
pub fn all(release: Release) -> Vec<CustomResourceDefinition> {
    DEFINITIONS.iter().map(|definition| of(definition, release)).collect()
}

/// The definition of one kind, as `release` installs it.
pub fn of(definition: &Definition, release: Release) -> CustomResourceDefinition {
    CustomResourceDefinition {
        metadata: ObjectMeta { name: Some(definition.name()), ..ObjectMeta::default() },
        spec: CustomResourceDefinitionSpec {
            group: crate::GROUP.to_owned(),
            names: CustomResourceDefinitionNames {
                kind: definition.kind.to_owned(),
                list_kind: Some(format!("{}List", definition.kind)),
                plural: definition.plural.to_owned(),
                singular: Some(definition.singular()),
                short_names: Some(vec![definition.short_name.to_owned()]),
                categories: None,
            },
            scope: "Namespaced".to_owned(),
            versions: vec![version(definition, release)],
            ..CustomResourceDefinitionSpec::default()
        },
        status: None,
    }
}

/// Every field of a kind in `release`, one line each, sorted: path, type and format, permitted values, `r` if it is required, `n`
/// if null is stored. In a path `{}` stands for the entries of a map and `[]` for the items of a list; a list or map of records has
/// a line of its own only if it is required or nullable.
pub fn field_paths(definition: &Definition, release: Release) -> Vec<String> {
    let mut lines = Vec::new();
    add_paths("", definition.fields, release, &mut lines);
    lines.sort();
    lines
}

fn version(definition: &Definition, release: Release) -> CustomResourceDefinitionVersion {
    let mut schema = record_schema(definition.fields, release);
    let properties = schema.properties.get_or_insert_default();
    properties.insert("apiVersion".to_owned(), of_type("string"));
    properties.insert("kind".to_owned(), of_type("string"));
    properties.insert("metadata".to_owned(), of_type("object"));
    CustomResourceDefinitionVersion {
        name: crate::VERSION.to_owned(),
        served: true,
        storage: true,
        schema: Some(CustomResourceValidation { open_api_v3_schema: Some(schema) }),
        subresources: Some(CustomResourceSubresources {
            status: Some(CustomResourceSubresourceStatus(serde_json::json!({}))),
            scale: None,
        }),
        additional_printer_columns: Some(columns(definition, release)),
        ..CustomResourceDefinitionVersion::default()
    }
}

fn columns(definition: &Definition, release: Release) -> Vec<CustomResourceColumnDefinition> {
    let present = definition.columns.iter().filter(|column| column.is_in(release));
    present
        .map(|column| CustomResourceColumnDefinition {
            name: column.name.to_owned(),
            type_: column.column_type.to_owned(),
            json_path: column.json_path.to_owned(),
            ..CustomResourceColumnDefinition::default()
        })
        .collect()
}

fn of_type(name: &str) -> JSONSchemaProps {
    JSONSchemaProps { type_: Some(name.to_owned()), ..JSONSchemaProps::default() }
}

fn with_format(name: &str, format: &str) -> JSONSchemaProps {
    JSONSchemaProps { format: Some(format.to_owned()), ..of_type(name) }
}

fn schema(value: &Type, release: Release) -> JSONSchemaProps {
    match value {
        Type::Text | Type::Duration => of_type("string"),
        Type::Boolean => of_type("boolean"),
        Type::Integer(None) => of_type("integer"),
        Type::Integer(Some(format)) => with_format("integer", format),
        Type::QuotedInteger => with_format("string", "int64"),
        Type::Time => with_format("string", "date-time"),
        Type::List(item) => JSONSchemaProps {
            items: Some(JSONSchemaPropsOrArray::Schema(Box::new(schema(item, release)))),
            ..of_type("array")
        },
        Type::Map(entry) => JSONSchemaProps {
            additional_properties: Some(JSONSchemaPropsOrBool::Schema(Box::new(schema(entry, release)))),
            ..of_type("object")
        },
        Type::Record(fields) => record_schema(fields, release),
    }
}

fn record_schema(fields: &[Field], release: Release) -> JSONSchemaProps {
    let present = || fields.iter().filter(|field| field.is_in(release));
    let required: Vec<_> = present().filter(|field| field.required).map(|field| field.name.to_owned()).collect();
    JSONSchemaProps {
        properties: Some(present().map(|field| (field.name.to_owned(), field_schema(field, release))).collect()),
        required: (!required.is_empty()).then_some(required),
        ..of_type("object")
    }
}

fn field_schema(field: &Field, release: Release) -> JSONSchemaProps {
    let choices: Vec<_> = field.choices_in(release).map(|choice| JSON(choice.into())).collect();
    JSONSchemaProps {
        nullable: field.is_nullable_in(release).then_some(true),
        default: field.default.map(|value| JSON(value.into())),
        enum_: (!choices.is_empty()).then_some(choices),
        min_length: field.least_length.map(i64::from),
        ..schema(&field.value, release)
    }
}

fn add_paths(parent: &str, fields: &[Field], release: Release, lines: &mut Vec<String>) {
    for field in fields.iter().filter(|field| field.is_in(release)) {
        let mut path = format!("{parent}{}", field.name);
        let mut value = &field.value;
        // Lists and maps of records go on inside their entries.
        while let Type::List(inner) | Type::Map(inner) = value
            && matches!(inner, Type::Record(_) | Type::List(_) | Type::Map(_))
        {
            path += if matches!(value, Type::List(_)) { "[]" } else { "{}" };
            value = inner;
        }
        let marks = format!(
            "{}{}",
            if field.required { " r" } else { "" },
            if field.is_nullable_in(release) { " n" } else { "" }
        );
        if let Type::Record(inner) = value {
            if !marks.is_empty() {
                lines.push(format!("{path}{marks}"));
            }
            add_paths(&format!("{path}."), inner, release, lines);
            continue;
        }
        let choices: Vec<_> = field.choices_in(release).map(|choice| format!("'{choice}'")).collect();
        let choices = if choices.is_empty() { String::new() } else { format!(" [{}]", choices.join(", ")) };
        lines.push(format!("{path} {}{choices}{marks}", type_name(value)));
    }
}

fn type_name(value: &Type) -> String {
    match value {
        Type::Text | Type::Duration => "string".to_owned(),
        Type::Boolean => "boolean".to_owned(),
        Type::Integer(None) => "integer".to_owned(),
        Type::Integer(Some(format)) => format!("integer/{format}"),
        Type::QuotedInteger => "string/int64".to_owned(),
        Type::Time => "string/date-time".to_owned(),
        Type::List(item) => format!("list<{}>", type_name(item)),
        Type::Map(entry) => format!("map<{}>", type_name(entry)),
        Type::Record(_) => "object".to_owned(),
    }
}
