//! The fields of the built-in kinds, from `fields.txt`: which there are, of what type, and how their lists are merged.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

static TEXT: &str = include_str!("fields.txt");

/// The type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    String,
    Integer,
    Number,
    Boolean,
    Quantity,
    /// RFC 3339, to the second.
    Time,
    /// RFC 3339 with exactly six decimals.
    MicroTime,
    /// Base64.
    Bytes,
    IntegerOrString,
    /// Whatever it is.
    Any,
    Map(Box<Shape>),
    List(Box<Shape>, ListMerge),
    /// An object of this type.
    Object(&'static str),
}

/// How a list is merged by a strategic merge patch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListMerge {
    /// It is replaced.
    #[default]
    Atomic,
    /// Its items are values, each once.
    Set,
    /// Its items are objects, told apart by a field.
    Key(&'static str),
}

/// A field.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub shape: Shape,
    /// An empty list or map is kept: it is not the same as none.
    pub keeps_empty: bool,
}

/// The fields of a type.
pub(crate) type Fields = BTreeMap<&'static str, Field>;

#[derive(Debug)]
struct Entry {
    text: &'static str,
    fields: OnceLock<Fields>,
}

/// All types; each is read when it is first asked for.
#[derive(Debug)]
pub(crate) struct Types {
    entries: BTreeMap<&'static str, Entry>,
}

impl Types {
    pub fn new() -> Arc<Types> {
        let lines = TEXT.lines().filter(|line| !line.starts_with('#'));
        let entry = |line: &'static str| {
            let (name, text) = line.split_once(' ').unwrap_or((line, ""));
            (name, Entry { text, fields: OnceLock::new() })
        };
        Arc::new(Types { entries: lines.map(entry).collect() })
    }

    /// The fields of a type, if it is known.
    pub fn fields(&self, name: &str) -> Option<&Fields> {
        let entry = self.entries.get(name)?;
        Some(entry.fields.get_or_init(|| entry.text.split_ascii_whitespace().filter_map(field).collect()))
    }
}

fn field(text: &'static str) -> Option<(&'static str, Field)> {
    let (name, shape) = text.split_once(':')?;
    let (shape, keeps_empty) = shape.strip_suffix('!').map_or((shape, false), |shape| (shape, true));
    Some((name, Field { shape: parse(shape), keeps_empty }))
}

fn parse(text: &'static str) -> Shape {
    if let Some(values) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        return Shape::Map(Box::new(parse(values)));
    }
    if let Some((items, merge)) = text.strip_prefix('[').and_then(|rest| rest.rsplit_once(']')) {
        let merge = match merge {
            "" => ListMerge::Atomic,
            "*" => ListMerge::Set,
            key => ListMerge::Key(key),
        };
        return Shape::List(Box::new(parse(items)), merge);
    }
    match text {
        "string" => Shape::String,
        "int" => Shape::Integer,
        "number" => Shape::Number,
        "bool" => Shape::Boolean,
        "quantity" => Shape::Quantity,
        "time" => Shape::Time,
        "microtime" => Shape::MicroTime,
        "bytes" => Shape::Bytes,
        "intstr" => Shape::IntegerOrString,
        "any" => Shape::Any,
        name => Shape::Object(name),
    }
}

/// The rules of a strategic merge at one place of an object.
#[derive(Clone, Debug)]
pub(crate) struct MergeRules {
    types: Arc<Types>,
    place: Option<&'static str>,
}

impl MergeRules {
    /// The rules at the root of a kind.
    pub fn of_kind(types: &Arc<Types>, kind: &'static str) -> MergeRules {
        MergeRules { types: types.clone(), place: Some(kind) }
    }

    fn shape(&self, name: &str) -> Option<&Shape> {
        Some(&self.types.fields(self.place?)?.get(name)?.shape)
    }

    /// The rules of a field's value, or of the items of a list.
    pub fn field(&self, name: &str) -> MergeRules {
        let mut shape = self.shape(name);
        while let Some(Shape::List(inner, _) | Shape::Map(inner)) = shape {
            shape = Some(inner);
        }
        let place = match shape {
            Some(Shape::Object(place)) => Some(*place),
            _ => None,
        };
        MergeRules { types: self.types.clone(), place }
    }

    /// How a list is merged.
    pub fn list(&self, name: &str) -> ListMerge {
        match self.shape(name) {
            Some(Shape::List(_, merge)) => merge.clone(),
            _ => ListMerge::Atomic,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_every_type_in_a_field_is_known() {
        let types = Types::new();
        for kind in super::super::KINDS {
            assert!(types.fields(kind.kind).is_some(), "{} has no fields", kind.kind);
        }
        for name in types.entries.keys() {
            for (field, Field { shape, .. }) in types.fields(name).expect("listed") {
                let mut shape = shape;
                while let Shape::List(inner, _) | Shape::Map(inner) = shape {
                    shape = inner;
                }
                if let Shape::Object(object) = shape {
                    assert!(types.fields(object).is_some(), "{name}.{field} is of unknown type {object}");
                }
            }
        }
    }

    #[test]
    fn lists_say_how_they_are_merged() {
        let rules = MergeRules::of_kind(&Types::new(), "Deployment").field("spec").field("template").field("spec");
        assert_eq!(rules.list("containers"), ListMerge::Key("name"));
        assert_eq!(rules.list("tolerations"), ListMerge::Atomic);
        assert_eq!(rules.field("containers").list("ports"), ListMerge::Key("containerPort"));
        assert_eq!(MergeRules::of_kind(&Types::new(), "Service").field("spec").list("ports"), ListMerge::Key("port"));
    }
}
