//! Which names, labels and keys are allowed, and the words in which they are refused.
//!
//! Facts: apimachinery's `util/validation/validation.go`; texts as recorded in conformance/real.json.

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// How the objects of a kind may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain: most kinds.
    Subdomain,
    /// RFC 1123 label: namespaces.
    Label,
    /// RFC 1035 label: services.
    Label1035,
    /// Anything that can stand in a path: RBAC.
    PathSegment,
}

impl NameRule {
    /// What is wrong with a name.
    pub fn error(self, name: &str) -> Option<String> {
        match self {
            NameRule::Subdomain => subdomain_error(name),
            NameRule::Label => label_error(name),
            NameRule::Label1035 if name.len() > 63 => Some(at_most(63)),
            NameRule::Label1035 => {
                (!is_label(name) || !name.starts_with(|c: char| c.is_ascii_lowercase())).then(|| LABEL_1035.into())
            }
            NameRule::PathSegment => match name {
                "." | ".." => Some(format!("may not be '{name}'")),
                _ => ['/', '%'].into_iter().find(|c| name.contains(*c)).map(|c| format!("may not contain '{c}'")),
            },
        }
    }
}

fn at_most(length: usize) -> String {
    format!("must be no more than {length} characters")
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| inner(*byte));
    ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
}

/// What is wrong with an RFC 1123 subdomain.
pub fn subdomain_error(name: &str) -> Option<String> {
    if name.len() > 253 {
        return Some(at_most(253));
    }
    (!name.split('.').all(is_label)).then(|| SUBDOMAIN.into())
}

/// What is wrong with an RFC 1123 label.
pub fn label_error(name: &str) -> Option<String> {
    if name.len() > 63 {
        return Some(at_most(63));
    }
    (!is_label(name)).then(|| LABEL.into())
}

fn is_name_part(text: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// What is wrong with a qualified name: the key of a label or annotation, a finalizer.
pub fn qualified_name_error(key: &str) -> Option<String> {
    let name = match key.split_once('/') {
        None => key,
        Some(("", _)) => return Some("prefix part must be non-empty".into()),
        Some((_, name)) if name.contains('/') => {
            return Some("a valid qualified name must consist of alphanumeric characters, '-', '_' or '.', with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')".into());
        }
        Some((prefix, name)) => match subdomain_error(prefix) {
            Some(why) => return Some(format!("prefix part {why}")),
            None => name,
        },
    };
    if name.is_empty() {
        return Some("name part must be non-empty".into());
    }
    if name.len() > 63 {
        return Some(format!("name part {}", at_most(63)));
    }
    (!is_name_part(name)).then(|| NAME_PART.into())
}

/// What is wrong with the value of a label.
pub fn label_value_error(value: &str) -> Option<String> {
    if value.len() > 63 {
        return Some(at_most(63));
    }
    (!value.is_empty() && !is_name_part(value)).then(|| LABEL_VALUE.into())
}

/// What is wrong with a key of a config map or secret.
pub fn config_key_error(key: &str) -> Option<String> {
    if key.len() > 253 {
        return Some(at_most(253));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (key.is_empty() || !key.bytes().all(plain)).then(|| CONFIG_KEY.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_dns_allows() {
        for good in ["a", "a.b-c", "0", "a1"] {
            assert_eq!(subdomain_error(good), None, "{good}");
        }
        for bad in ["", "A", "a_b", "a/b", "-a", "a.", ".a", "a..b"] {
            assert!(subdomain_error(bad).is_some(), "{bad:?}");
        }
        assert_eq!(subdomain_error(&"a".repeat(253)), None);
        assert_eq!(subdomain_error(&"a".repeat(254)), Some("must be no more than 253 characters".into()));
    }

    #[test]
    fn labels_and_keys() {
        assert_eq!(qualified_name_error("longhorn.io/node"), None);
        assert!(
            qualified_name_error("a b").is_some()
                && qualified_name_error("/a").is_some()
                && qualified_name_error("a/b/c").is_some()
        );
        assert_eq!(label_value_error(""), None);
        assert!(label_value_error("b c").is_some());
        assert!(config_key_error("bad key!").is_some() && config_key_error("a.b_c-d").is_none());
        assert!(NameRule::Label1035.error("1a").is_some() && NameRule::PathSegment.error("system:node").is_none());
    }
}
