//! The part of JSONPath that printer columns use: `.a.b`, `['a']`, `[0]`, `[*]`, `[?(@.type=="Ready")]`.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(usize),
    Every,
    Where(Vec<String>, Value),
}

/// A compiled path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonPath {
    steps: Vec<Step>,
}

impl JsonPath {
    /// Compiles a path; none if it uses what is not supported.
    pub fn parse(text: &str) -> Option<JsonPath> {
        let mut steps = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('[') {
                let end = closing_bracket(after)?;
                steps.push(bracket(after[..end].trim())?);
                rest = &after[end + 1..];
            } else {
                let after = rest.strip_prefix('.').unwrap_or(rest);
                let (name, remaining) = field(after);
                if !name.is_empty() {
                    steps.push(Step::Field(name));
                } else if remaining.len() == rest.len() {
                    return None;
                }
                rest = remaining;
            }
        }
        Some(JsonPath { steps })
    }

    /// The values that the path reaches.
    pub fn find<'a>(&self, object: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![object];
        for step in &self.steps {
            found = found.into_iter().flat_map(|value| step.apply(value)).collect();
        }
        found
    }
}

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Step::Field(name) => value.get(name).into_iter().collect(),
            Step::Index(index) => value.get(index).into_iter().collect(),
            Step::Every => match value {
                Value::Array(list) => list.iter().collect(),
                Value::Object(map) => map.values().collect(),
                _ => Vec::new(),
            },
            Step::Where(path, wanted) => {
                let fits = |item: &&Value| {
                    let at = path.iter().try_fold(*item, |value, step| value.get(step));
                    at.is_some_and(|value| value == wanted)
                };
                value.as_array().into_iter().flatten().filter(fits).collect()
            }
        }
    }
}

/// A field's name up to the next step; a backslash escapes.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, escaped)| escaped)),
            '.' | '[' => return (name, &text[at..]),
            _ => name.push(c),
        }
    }
    (name, "")
}

fn closing_bracket(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, ']') => return Some(at),
            _ => {}
        }
    }
    None
}

fn unquote(text: &str) -> Option<&str> {
    let text = text.trim();
    ['\'', '"'].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

fn bracket(inside: &str) -> Option<Step> {
    if inside == "*" {
        return Some(Step::Every);
    }
    if let Some(name) = unquote(inside) {
        return Some(Step::Field(name.to_owned()));
    }
    if let Some(condition) = inside.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        let (path, wanted) = condition.split_once("==")?;
        let path = path.trim().strip_prefix("@.")?.split('.').map(str::to_owned).collect();
        let wanted = match unquote(wanted) {
            Some(text) => Value::from(text),
            None => serde_json::from_str(wanted.trim()).ok()?,
        };
        return Some(Step::Where(path, wanted));
    }
    inside.parse().ok().map(Step::Index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_find_their_cells() {
        let object = json!({"spec": {"size": 3, "a.b": "x"}, "status": {"conditions": [{"type": "Ready", "status": "True"}], "list": [1, 2]}});
        let find =
            |path: &str| JsonPath::parse(path).expect(path).find(&object).into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(find(".spec.size"), [json!(3)]);
        assert_eq!(find(r".spec.a\.b"), [json!("x")]);
        assert_eq!(find(".spec['a.b']"), [json!("x")]);
        assert_eq!(find(".status.conditions[?(@.type=='Ready')].status"), [json!("True")]);
        assert_eq!(find(".status.list[1]"), [json!(2)]);
        assert_eq!(find(".status.list[*]"), [json!(1), json!(2)]);
        assert_eq!(find(".absent"), Vec::<Value>::new());
        assert_eq!(JsonPath::parse(".a[?(bad)]"), None);
    }
}
