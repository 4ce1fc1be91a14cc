//! The grammar of request paths: what a request is about, before anybody asks whether that exists.
//!
//! Facts: apiserver's `endpoints/request/requestinfo.go` and its REST installer, for the shapes; facts/kubernetes.md for empty names.

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Not below `/api` or `/apis`: discovery, health, version, OpenAPI; the path as it came.
    Other(String),
    /// `/api`, `/apis`, `/apis/GROUP` or `/apis/GROUP/VERSION`.
    Discovery {
        /// Group, if one is named; `Some("")` is the core group.
        group: Option<String>,
        /// Version, if one is named.
        version: Option<String>,
    },
    /// A resource, or something in it.
    Resource(ResourcePath),
}

/// A path into a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourcePath {
    /// API group; empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Namespace, if the path has one.
    pub namespace: Option<String>,
    /// Plural of the resource.
    pub plural: String,
    /// Name of one object.
    pub name: Option<String>,
    /// Subresource; empty for the object itself.
    pub subresource: String,
    /// The old `/watch/` prefix.
    pub watch: bool,
}

/// Decodes `%XX`; what is not valid stays as it is.
fn decode(segment: &str) -> String {
    if !segment.contains('%') {
        return segment.to_owned();
    }
    percent_decode(segment.as_bytes(), false)
}

/// Decodes `%XX`, and `+` as a blank where a form has it.
pub(crate) fn percent_decode(text: &[u8], plus_is_blank: bool) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let hex = |i: usize| text.get(i).and_then(|digit| (*digit as char).to_digit(16));
        match (text[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) if plus_is_blank => decoded.push(b' '),
            (byte, ..) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Reads a path.
pub fn parse(path: &str) -> Target {
    let mut segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (group, rest) = match segments.first().copied() {
        Some("api") => (Some(String::new()), segments.split_off(1)),
        Some("apis") => match segments.get(1) {
            None => return Target::Discovery { group: None, version: None },
            Some(group) => (Some(decode(group)), segments.split_off(2)),
        },
        _ => return Target::Other(path.to_owned()),
    };
    match rest.as_slice() {
        [] => Target::Discovery { group, version: None },
        [version] => Target::Discovery { group, version: Some(decode(version)) },
        [version, rest @ ..] => match resource_path(group.unwrap_or_default(), decode(version), rest) {
            Some(found) => Target::Resource(found),
            None => Target::Other(path.to_owned()),
        },
    }
}

fn resource_path(group: String, version: String, mut rest: &[&str]) -> Option<ResourcePath> {
    let mut found = ResourcePath { group, version, ..ResourcePath::default() };
    if let ["watch", after @ ..] = rest
        && !after.is_empty()
    {
        (found.watch, rest) = (true, after);
    }
    // A namespace is itself an object: only what follows tells which is meant.
    let of_namespace = |segment: &str| matches!(segment, "status" | "finalize");
    match rest {
        ["namespaces", namespace, plural, after @ ..] if !(after.is_empty() && of_namespace(plural)) => {
            found.namespace = Some(decode(namespace));
            found.plural = decode(plural);
            rest = after;
        }
        [plural, after @ ..] => {
            found.plural = decode(plural);
            rest = after;
        }
        [] => return None,
    }
    match rest {
        [] => {}
        [name] => found.name = Some(decode(name)),
        [name, subresource @ ..] => {
            found.name = Some(decode(name));
            found.subresource = subresource.join("/");
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(path: &str) -> ResourcePath {
        match parse(path) {
            Target::Resource(found) => found,
            other => panic!("{path} is {other:?}"),
        }
    }

    #[test]
    fn every_shape_of_path_is_understood() {
        assert_eq!(parse("/apis"), Target::Discovery { group: None, version: None });
        assert_eq!(parse("/api/"), Target::Discovery { group: Some("".into()), version: None });
        assert_eq!(
            parse("/apis/apps/v1"),
            Target::Discovery { group: Some("apps".into()), version: Some("v1".into()) }
        );
        assert_eq!(parse("/version"), Target::Other("/version".into()));
        let pods = resource("/api/v1/namespaces/n/pods/a%2Db/status");
        assert_eq!(
            (pods.namespace.as_deref(), pods.name.as_deref(), pods.subresource.as_str()),
            (Some("n"), Some("a-b"), "status")
        );
        let namespace = resource("/api/v1/namespaces/n/finalize");
        assert_eq!(
            (namespace.plural.as_str(), namespace.name.as_deref(), namespace.subresource.as_str()),
            ("namespaces", Some("n"), "finalize")
        );
        let list = resource("/apis/longhorn.io/v1beta2/namespaces/n/volumes/");
        assert_eq!((list.plural.as_str(), list.name), ("volumes", None), "a trailing slash without a name is a list");
        assert!(resource("/api/v1/watch/pods").watch);
        assert_eq!(resource("/api/v1/namespaces").plural, "namespaces");
    }
}
