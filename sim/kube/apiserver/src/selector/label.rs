//! Label selectors: `app=a,tier in (x, y),!legacy`; and the structured form that objects carry.

use serde_json::{Map, Value};

use crate::error::ApiError;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Greater(String, i64),
    Less(String, i64),
}

/// A label selector; empty matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// Reads the text form of query parameters.
    pub fn parse(text: &str) -> Result<LabelSelector, ApiError> {
        Parser::new(text).selector().map_err(|why| ApiError::bad_request(format!("unable to parse requirement: {why}")))
    }

    /// Reads `matchLabels` and `matchExpressions`; an absent selector matches everything, an unknown operator nothing that is known.
    pub fn from_object(selector: Option<&Value>) -> LabelSelector {
        let mut requirements = Vec::new();
        let labels = selector.and_then(|selector| selector.get("matchLabels")).and_then(Value::as_object);
        for (key, value) in labels.into_iter().flatten() {
            requirements.push(Requirement::In(key.clone(), vec![value.as_str().unwrap_or_default().to_owned()]));
        }
        let expressions = selector.and_then(|selector| selector.get("matchExpressions")).and_then(Value::as_array);
        for expression in expressions.into_iter().flatten() {
            let key = expression.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
            requirements.push(match expression.get("operator").and_then(Value::as_str) {
                Some("NotIn") => Requirement::NotIn(key, values),
                Some("Exists") => Requirement::Exists(key),
                Some("DoesNotExist") => Requirement::Absent(key),
                _ => Requirement::In(key, values),
            });
        }
        LabelSelector { requirements }
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether these labels are meant.
    pub fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        let label = |key: &String| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        let number = |key: &String| label(key).and_then(|value| value.parse::<i64>().ok());
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
            Requirement::In(key, values) => label(key).is_some_and(|value| values.iter().any(|one| one == value)),
            Requirement::NotIn(key, values) => label(key).is_none_or(|value| values.iter().all(|one| one != value)),
            Requirement::Greater(key, bound) => number(key).is_some_and(|value| value > *bound),
            Requirement::Less(key, bound) => number(key).is_some_and(|value| value < *bound),
        })
    }
}

struct Parser<'a> {
    tokens: Vec<&'a str>,
    at: usize,
}

const SYMBOLS: [&str; 8] = ["==", "!=", "=", "!", "(", ")", ",", ">"];

fn tokens(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let symbol = SYMBOLS.iter().chain(&["<"]).find(|symbol| rest.starts_with(**symbol));
        let end = match symbol {
            Some(symbol) => symbol.len(),
            None => rest.find(|c: char| c.is_whitespace() || "=!(),<>".contains(c)).unwrap_or(rest.len()),
        };
        found.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    found
}

fn is_word(token: &str) -> bool {
    !token.is_empty() && !token.starts_with(['=', '!', '(', ')', ',', '<', '>'])
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parser<'a> {
        Parser { tokens: tokens(text), at: 0 }
    }

    fn peek(&self) -> &'a str {
        self.tokens.get(self.at).copied().unwrap_or_default()
    }

    fn next(&mut self) -> &'a str {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn selector(mut self) -> Result<LabelSelector, String> {
        let mut requirements = Vec::new();
        if self.tokens.is_empty() {
            return Ok(LabelSelector::default());
        }
        loop {
            requirements.push(self.requirement()?);
            match self.next() {
                "" => return Ok(LabelSelector { requirements }),
                "," if self.peek().is_empty() => return Err("found '', expected: identifier after ','".into()),
                "," => {}
                other => return Err(format!("found '{other}', expected: ',' or 'end of string'")),
            }
        }
    }

    fn key(&mut self) -> Result<String, String> {
        let token = self.next();
        if !is_word(token) {
            return Err(format!("found '{token}', expected: !, identifier, or 'end of string'"));
        }
        match crate::names::qualified_name_error(token) {
            None => Ok(token.to_owned()),
            Some(why) => Err(format!("key: Invalid value: {}: {why}", crate::error::json(token))),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.peek() == "!" {
            self.next();
            return Ok(Requirement::Absent(self.key()?));
        }
        let key = self.key()?;
        match self.peek() {
            "" | "," => return Ok(Requirement::Exists(key)),
            _ => {}
        }
        match self.next() {
            "=" | "==" => Ok(Requirement::In(key, vec![self.value()?])),
            "!=" => Ok(Requirement::NotIn(key, vec![self.value()?])),
            "in" => Ok(Requirement::In(key, self.values()?)),
            "notin" => Ok(Requirement::NotIn(key, self.values()?)),
            ">" => Ok(Requirement::Greater(key, self.bound()?)),
            "<" => Ok(Requirement::Less(key, self.bound()?)),
            other => Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    /// One value; nothing stands for the empty value.
    fn value(&mut self) -> Result<String, String> {
        match self.peek() {
            "" | "," => Ok(String::new()),
            token if is_word(token) => {
                self.next();
                checked_value(token)
            }
            other => Err(format!("found '{other}', expected: identifier")),
        }
    }

    fn bound(&mut self) -> Result<i64, String> {
        let value = self.value()?;
        value.parse().map_err(|_| {
            let shown = crate::error::json(&value);
            format!("values[0][]: Invalid value: {shown}: for 'Gt', 'Lt' operators, the value must be an integer")
        })
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            "(" => {}
            other => return Err(format!("found '{other}' expected: '('")),
        }
        let mut values = Vec::new();
        loop {
            match self.next() {
                ")" => {
                    values.push(String::new());
                    return Ok(values);
                }
                "," => values.push(String::new()),
                token if is_word(token) => {
                    values.push(checked_value(token)?);
                    match self.next() {
                        ")" => return Ok(values),
                        "," => {}
                        other => return Err(format!("found '{other}', expected: ',', or ')'")),
                    }
                }
                other => return Err(format!("found '{other}', expected: ',', ')' or identifier")),
            }
        }
    }
}

fn checked_value(value: &str) -> Result<String, String> {
    match crate::names::label_value_error(value) {
        None => Ok(value.to_owned()),
        Some(why) => Err(format!("values[0][]: Invalid value: {}: {why}", crate::error::json(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn matches(selector: &str, labels: Value) -> bool {
        LabelSelector::parse(selector).expect(selector).matches(labels.as_object())
    }

    #[test]
    fn each_operator_means_what_it_means_upstream() {
        let labels = json!({"app": "a", "tier": "x", "n": "5"});
        for (selector, expected) in [
            ("app=a", true),
            ("app==b", false),
            ("app!=a", false),
            ("other!=a", true),
            ("app in (a, b)", true),
            ("app notin (b)", true),
            ("other notin (a)", true),
            ("other in (a)", false),
            ("app", true),
            ("!app", false),
            ("!other,app=a", true),
            ("n>4,n<6", true),
            ("app>1", false),
            ("other=", false),
            ("", true),
        ] {
            assert_eq!(matches(selector, labels.clone()), expected, "{selector}");
        }
        assert!(matches("empty=", json!({"empty": ""})), "an empty value is a value");
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        let why = |text| LabelSelector::parse(text).expect_err(text).message;
        assert_eq!(why("a in ("), "unable to parse requirement: found '', expected: ',', ')' or identifier");
        for text in ["a in b", "=a", "a,", "a b", "a=b c", "a@b=c", "a=(", "a>x"] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_structured_form_agrees_with_the_text() {
        let selector = json!({"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "t", "operator": "NotIn", "values": ["x"]}]});
        assert_eq!(
            LabelSelector::from_object(Some(&selector)),
            LabelSelector::parse("app=a,t notin (x)").expect("valid")
        );
        assert!(LabelSelector::from_object(None).is_empty());
    }

    fn labels() -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[a-c]", "[x-z]{0,2}", 0..4).prop_map(|labels| json!(labels))
    }

    proptest! {
        #[test]
        fn operators_agree_with_each_other(labels in labels(), key in "[a-d]", one in "[x-z]{1,2}", two in "[x-z]{1,2}") {
            let holds = |selector: String| matches(&selector, labels.clone());
            prop_assert_eq!(holds(format!("{key} in ({one},{two})")), holds(format!("{key}={one}")) || holds(format!("{key}=={two}")));
            prop_assert_eq!(holds(format!("{key} notin ({one},{two})")), !holds(format!("{key} in ({one}, {two})")));
            prop_assert_eq!(holds(format!("{key}!={one}")), !holds(format!("{key}={one}")));
            prop_assert_eq!(holds(key.clone()), !holds(format!("!{key}")));
            prop_assert_eq!(holds(format!("{key},{key}={one}")), holds(key.clone()) && holds(format!("{key}={one}")));
        }

        #[test]
        fn no_text_breaks_the_parser(text in "[a-c =!(),<>in.]{0,20}") {
            let _ = LabelSelector::parse(&text);
        }
    }
}
