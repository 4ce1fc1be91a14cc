//! Query strings as Go's `net/url` writes and reads them.

use std::collections::BTreeMap;

/// A text as it may stand in a query, or as one segment of a path.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// The text that was escaped so; none if it cannot have been.
pub(crate) fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || Some(char::from(rest.next()?).to_digit(16)? as u8);
                digit()? << 4 | digit()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Pairs as a query, sorted by name.
pub(crate) fn encode(pairs: &[(&str, &str)]) -> String {
    let sorted: BTreeMap<_, _> = pairs.iter().copied().collect();
    let pairs: Vec<_> = sorted.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    pairs.join("&")
}

/// The values of a query; of several for a name the first counts, and what cannot be read is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads a query.
    pub fn parse(query: &str) -> Query {
        let mut values = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(name), Some(value)) = (unescape(name), unescape(value)) {
                values.entry(name).or_insert(value);
            }
        }
        Query(values)
    }

    /// A value; empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// All values by name.
    pub fn pairs(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let pairs = [("url", "http://a/b?c=d&e=f g"), ("size", "512"), ("file-path", "/data/tmp/bi-1234-ü")];
        let query = encode(&pairs);
        assert!(query.starts_with("file-path=%2Fdata%2Ftmp%2Fbi-1234-%C3%BC&size=512&url="), "{query}");
        let read = Query::parse(&query);
        for (name, value) in pairs {
            assert_eq!(read.get(name), value);
        }
        assert_eq!(unescape("%zz"), None);
        assert_eq!(unescape("%2"), None);
        assert_eq!(Query::parse("a=1&a=2&&b").pairs(), [("a", "1"), ("b", "")]);
    }
}
