//! Structural schemas: what the objects of a kind look like. Compiled once, when a definition is stored; used at every write.
//!
//! Facts: apiextensions-apiserver's `pkg/apiserver/schema`, for pruning, defaulting and nullability. Left out: CEL rules
//! (`x-kubernetes-validations`).

mod compile;
mod shape;
mod validate;

use std::collections::BTreeMap;
use std::fmt;

use regex_lite::Regex;
use serde_json::Value;

pub(crate) use compile::compile;

/// What a value may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Type {
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntOrString,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Type::Any => "any",
            Type::Object => "object",
            Type::Array => "array",
            Type::String => "string",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Boolean => "boolean",
            Type::IntOrString => "integer,string",
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Type::Any => true,
            Type::Object => value.is_object(),
            Type::Array => value.is_array(),
            Type::String => value.is_string(),
            Type::Integer => {
                value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            Type::Number => value.is_number(),
            Type::Boolean => value.is_boolean(),
            Type::IntOrString => value.is_string() || value.is_i64() || value.is_u64(),
        }
    }
}

/// The JSON type of a value, as error messages name it.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What becomes of fields that the schema does not name.
#[derive(Clone, Debug, Default)]
pub(crate) enum Additional {
    /// They are dropped.
    #[default]
    Dropped,
    /// They are kept as they are.
    Kept,
    /// They are values of one schema.
    Of(Box<Schema>),
}

/// How a list is told apart and merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListKind {
    #[default]
    Atomic,
    Set,
    Map(Vec<String>),
}

/// Rules beyond the type; most values have none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checks {
    pub choices: Vec<Value>,
    pub minimum: Option<(f64, bool)>,
    pub maximum: Option<(f64, bool)>,
    pub multiple_of: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub pattern: Option<Pattern>,
    pub format: String,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
}

/// A regular expression with its text.
#[derive(Clone)]
pub(crate) struct Pattern {
    pub text: String,
    pub regex: Regex,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// A schema.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schema {
    pub kind: Type,
    pub nullable: bool,
    pub properties: BTreeMap<String, Schema>,
    pub additional: Additional,
    pub items: Option<Box<Schema>>,
    pub required: Vec<String>,
    pub default: Option<Value>,
    /// A whole object with type and metadata of its own.
    pub embedded: bool,
    pub list: ListKind,
    pub checks: Option<Box<Checks>>,
    /// Whether anything below has a default: saves the walk where nothing is to be filled in.
    pub has_defaults: bool,
}

/// Where in an object one is; linked on the stack and written out for errors only.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => formatter.write_str(name),
            Path::Field(parent, name) => write!(formatter, "{parent}.{name}"),
            Path::Index(parent, index) => write!(formatter, "{parent}[{index}]"),
        }
    }
}
