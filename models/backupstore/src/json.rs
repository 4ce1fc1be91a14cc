//! JSON as Go's `encoding/json` writes it, byte for byte, and reads it: the configurations in a store are compared with
//! what the real one wrote.
//!
//! What differs from serde_json's own output: `<`, `>`, `&` and the two Unicode line separators are escaped inside
//! strings; integers, and some strings, stand quoted inside a string (the `,string` tag); absent maps and lists are
//! `null`. Field order is the order of declaration in both.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// Compact, without a newline at the end: what `json.Marshal` gives.
pub fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    write(value, CompactFormatter)
}

/// Indented by tabs: what `json.MarshalIndent(v, "", "\t")` gives.
pub fn to_indented(value: &impl Serialize) -> String {
    let bytes = write(value, PrettyFormatter::with_indent(b"\t"));
    String::from_utf8(bytes).expect("JSON text is UTF-8")
}

fn write(value: &impl Serialize, layout: impl Formatter) -> Vec<u8> {
    let mut bytes = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut bytes, GoEscapes(layout)))
        .expect("configurations have only plain fields");
    bytes
}

/// Reads the first JSON value and leaves what follows alone, as Go's stream decoder does. The texts for input that ends
/// too early are Go's: they tell an empty file from a cut one.
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match serde_json::Deserializer::from_slice(bytes).into_iter::<T>().next() {
        None => Err("EOF".to_owned()),
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) if error.is_eof() => Err("unexpected EOF".to_owned()),
        Some(Err(error)) => Err(error.to_string()),
    }
}

/// Adds Go's escapes to a layout.
struct GoEscapes<L>(L);

impl<L: Formatter> Formatter for GoEscapes<L> {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let escaped = rest[at..].chars().next().expect("find gave a position of a character");
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", u32::from(escaped))?;
            rest = &rest[at + escaped.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }
    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }
    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }
    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }
    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }
    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }
    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }
    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

/// An integer with Go's `,string` tag: a decimal number in a string.
pub mod quoted_integer {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the number as a string.
    pub fn serialize<S: Serializer>(value: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    /// Reads a string that holds a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map_or(Ok(0), |text| text.parse().map_err(|_| D::Error::custom(invalid_use(&text, "int64"))))
    }

    pub(super) fn invalid_use(text: &str, kind: &str) -> String {
        format!("json: invalid use of ,string struct tag, trying to unmarshal {text:?} into {kind}")
    }
}

/// A string with Go's `,string` tag: JSON's text of the string, as a string.
pub mod quoted_string {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::quoted_integer::invalid_use;

    /// Writes the string's JSON text as a string.
    pub fn serialize<S: Serializer>(value: &str, serializer: S) -> Result<S::Ok, S::Error> {
        let inner = String::from_utf8(super::to_bytes(&value)).expect("JSON text is UTF-8");
        serializer.serialize_str(&inner)
    }

    /// Reads a string that holds the JSON text of a string.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map_or(Ok(String::new()), |text| {
            serde_json::from_str(&text).map_err(|_| D::Error::custom(invalid_use(&text, "string")))
        })
    }
}

/// Go leaves a field alone when it meets `null`; so do fields read with this.
pub fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de> + Default,
{
    let value: Option<T> = serde::Deserialize::deserialize(deserializer)?;
    Ok(value.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn html_and_line_separators_are_escaped_in_keys_and_values() {
        let map = BTreeMap::from([("a<b>&", "\u{2028}\u{2029}\"\u{1}\u{8}\n")]);
        assert_eq!(
            String::from_utf8(to_bytes(&map)).unwrap(),
            r#"{"a\u003cb\u003e\u0026":"\u2028\u2029\"\u0001\b\n"}"#
        );
    }

    #[test]
    fn indented_text_has_tabs_and_closed_empty_containers() {
        let map = BTreeMap::from([("a", BTreeMap::from([("b", 1)])), ("c", BTreeMap::new())]);
        assert_eq!(to_indented(&map), "{\n\t\"a\": {\n\t\t\"b\": 1\n\t},\n\t\"c\": {}\n}");
    }

    #[test]
    fn short_input_is_told_as_go_tells_it() {
        assert_eq!(from_bytes::<BTreeMap<String, i32>>(b" \n"), Err("EOF".to_owned()));
        assert_eq!(from_bytes::<BTreeMap<String, i32>>(b"{\"a\":1"), Err("unexpected EOF".to_owned()));
        assert_eq!(
            from_bytes::<BTreeMap<String, i32>>(b"{\"a\":1}}garbage"),
            Ok(BTreeMap::from([("a".to_owned(), 1)]))
        );
    }
}
