//! Field selectors: `metadata.name=a,status.phase!=Running`. Which fields a kind offers is its resource's business.

use serde_json::Value;

use crate::error::ApiError;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    path: String,
    value: String,
    equal: bool,
}

/// A field selector; empty matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

impl FieldSelector {
    /// Reads the text form; `supported` says which fields the kind offers.
    pub fn parse(text: &str, supported: impl Fn(&str) -> bool) -> Result<FieldSelector, ApiError> {
        let mut terms = Vec::new();
        for term in split_unescaped(text, ',').into_iter().filter(|term| !term.is_empty()) {
            let Some((at, operator)) = find_operator(&term) else {
                return Err(ApiError::bad_request(format!("invalid selector: '{text}'; can't understand '{term}'")));
            };
            let path = term[..at].to_owned();
            if !matches!(path.as_str(), "metadata.name" | "metadata.namespace") && !supported(&path) {
                return Err(ApiError::bad_request(format!("field label not supported: {path}")));
            }
            let value = unescape(&term[at + operator.len()..]);
            terms.push(Term { path, value, equal: operator != "!=" });
        }
        Ok(FieldSelector { terms })
    }

    /// The selector for one object by its name.
    pub fn name(name: &str) -> FieldSelector {
        FieldSelector { terms: vec![Term { path: "metadata.name".into(), value: name.into(), equal: true }] }
    }

    /// Adds what another selector asks for.
    pub fn and(mut self, other: FieldSelector) -> FieldSelector {
        self.terms.extend(other.terms);
        self
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that a field must have, if one is asked for.
    pub fn required(&self, path: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.path == path).map(|term| term.value.as_str())
    }

    /// Whether this object is meant. An absent field is the empty string.
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| (field_text(object, &term.path) == term.value) == term.equal)
    }
}

fn field_text(object: &Value, path: &str) -> String {
    let mut at = Some(object);
    for step in path.split('.') {
        at = at.and_then(|value| value.get(step));
    }
    match at {
        // Core kinds with a boolean among their fields show its default when it is absent.
        None | Some(Value::Null) if matches!(path, "spec.hostNetwork" | "spec.unschedulable") => "false".into(),
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn split_unescaped(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == separator && !escaped {
            parts.push(String::new());
        } else {
            parts.last_mut().expect("never empty").push(c);
        }
        escaped = c == '\\' && !escaped;
    }
    parts
}

fn find_operator(term: &str) -> Option<(usize, &'static str)> {
    (0..term.len()).filter(|at| term.is_char_boundary(*at)).find_map(|at| {
        let rest = &term[at..];
        ["!=", "==", "="].into_iter().find(|operator| rest.starts_with(operator)).map(|operator| (at, operator))
    })
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_compared_as_text() {
        let pod = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        let of_pod = |path: &str| matches!(path, "spec.nodeName" | "status.phase" | "spec.hostNetwork");
        let matches = |text| FieldSelector::parse(text, of_pod).expect(text).matches(&pod);
        assert!(matches("metadata.name=a,spec.nodeName==n1"));
        assert!(matches("status.phase!=Failed"));
        assert!(matches("spec.hostNetwork=false"));
        assert!(!matches("spec.nodeName="));
        let refused = FieldSelector::parse("spec.size=1", of_pod).expect_err("not offered");
        assert_eq!(refused.message, "field label not supported: spec.size");
        assert_eq!(
            FieldSelector::parse(r"metadata.name=a\,b", of_pod).expect("escaped").required("metadata.name"),
            Some("a,b")
        );
    }
}
