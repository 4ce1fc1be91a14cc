//! Addresses of backup targets and of what lies in them, as Go's `net/url` takes them apart and puts them together.
//!
//! A backup is named by its target's address with `backup` and `volume` in the query, a backing image's backup by
//! `backingImage`, a system backup by its path in the store (backupstore.go, backupbackingimage/config.go and
//! systembackup/system_backup.go upstream).

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::gopath;
use crate::layout::BASE;

/// An address in its parts. The path is kept as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `s3`, `vfs`, `nfs`, ...; lower case.
    pub scheme: String,
    /// What stands before an `@`.
    pub user: Option<String>,
    /// Host, and port if there is one.
    pub host: String,
    /// The path with its leading slash, or empty.
    pub path: String,
    /// The query's values by name, sorted by name as Go encodes them.
    pub query: BTreeMap<String, Vec<String>>,
}

impl Url {
    /// Takes an address apart.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| Error::Invalid(format!("parse {text:?}: {why}"));
        if text.chars().any(|c| c.is_ascii_control()) {
            return Err(invalid("net/url: invalid control character in URL"));
        }
        let text = text.split_once('#').map_or(text, |(before, _fragment)| before);
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
            Some(("", _)) => return Err(invalid("missing protocol scheme")),
            _ => (String::new(), text),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match rest.strip_prefix("//") {
            Some(after) => after.find('/').map_or((after, ""), |at| after.split_at(at)),
            None => ("", rest),
        };
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => {
                (Some(unescape(user, false).ok_or_else(|| invalid("net/url: invalid userinfo"))?), host)
            }
            None => (None, authority),
        };
        let query = parse_query(query).ok_or_else(|| invalid("invalid URL escape"))?;
        Ok(Self { scheme, user, host: host.to_owned(), path: path.to_owned(), query })
    }

    fn first(&self, name: &str) -> &str {
        self.query.get(name).and_then(|values| values.first()).map_or("", String::as_str)
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.scheme.is_empty() {
            write!(formatter, "{}://", self.scheme)?;
        }
        if let Some(user) = &self.user {
            write!(formatter, "{}@", escape(user))?;
        }
        write!(formatter, "{}{}", self.host, self.path)?;
        if !self.query.is_empty() {
            write!(formatter, "?{}", encode_query(&self.query))?;
        }
        Ok(())
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn parse_query(text: &str) -> Option<BTreeMap<String, Vec<String>>> {
    let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        query.entry(unescape(name, true)?).or_default().push(unescape(value, true)?);
    }
    Some(query)
}

fn encode_query(query: &BTreeMap<String, Vec<String>>) -> String {
    let pairs: Vec<String> = query
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| format!("{}={}", escape(name), escape(value))))
        .collect();
    pairs.join("&")
}

/// Go's `url.QueryEscape`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte as char),
            b' ' => escaped.push('+'),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

fn unescape(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            b'+' if plus_is_space => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

/// Whether a volume, backup or backing image may have this name: two characters or more, the first a letter or digit.
pub fn is_valid_name(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// What a backup address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupAddress {
    /// The target's address, without the two names.
    pub target: String,
    /// The volume.
    pub volume: String,
    /// The backup, unless the address names a volume only.
    pub backup: Option<String>,
}

/// The address of a backup, or of a volume if no backup is named; empty if the target's address cannot be read.
pub fn encode_backup(backup: Option<&str>, volume: &str, target: &str) -> String {
    let Ok(mut url) = Url::parse(target) else { return String::new() };
    url.query.entry("volume".to_owned()).or_default().push(volume.to_owned());
    if let Some(backup) = backup.filter(|backup| !backup.is_empty()) {
        url.query.entry("backup".to_owned()).or_default().push(backup.to_owned());
    }
    url.to_string()
}

/// Takes a backup's or volume's address apart.
pub fn decode_backup(address: &str) -> Result<BackupAddress> {
    let mut url = Url::parse(address)?;
    let (volume, backup) = (url.first("volume").to_owned(), url.first("backup").to_owned());
    if !is_valid_name(&volume) {
        return Err(Error::Invalid(format!("invalid volume name parsed, got {volume}")));
    }
    if !backup.is_empty() && !is_valid_name(&backup) {
        return Err(Error::Invalid(format!("invalid backup name parsed, got {backup}")));
    }
    url.query.remove("volume");
    url.query.remove("backup");
    Ok(BackupAddress { target: url.to_string(), volume, backup: Some(backup).filter(|backup| !backup.is_empty()) })
}

/// The address of a backing image's backup; empty if the target has no scheme or nothing is named.
pub fn encode_backing_image(name: &str, target: &str) -> String {
    let readable = Url::parse(target).is_ok_and(|url| !url.scheme.is_empty());
    if target.is_empty() || name.is_empty() || !readable {
        return String::new();
    }
    let separator = if target.contains('?') { '&' } else { '?' };
    format!("{target}{separator}backingImage={}", escape(name))
}

/// The name in a backing image backup's address, and the target's address without any query.
pub fn decode_backing_image(address: &str) -> Result<(String, String)> {
    let mut url = Url::parse(address)?;
    let name = url.first("backingImage").to_owned();
    if !is_valid_name(&name) {
        return Err(Error::Invalid(format!("invalid backing image name parsed: {name}")));
    }
    url.query.clear();
    Ok((name, url.to_string()))
}

/// What a system backup's address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemBackupAddress {
    /// The target's address.
    pub target: String,
    /// The Longhorn version that made it.
    pub version: String,
    /// Its name.
    pub name: String,
}

/// The address of a system backup.
pub fn encode_system_backup(name: &str, version: &str, target: &str) -> Result<String> {
    let mut url = Url::parse(target)?;
    for (what, value) in [("system backup name", name), ("Longhorn version", version)] {
        if value.is_empty() {
            return Err(Error::Invalid(format!("getting system backup URL: missing {what}")));
        }
    }
    url.path = gopath::join(&[&url.path, &crate::layout::system_backup(name, version)]);
    Ok(url.to_string())
}

/// Takes a system backup's address apart: `<target>backupstore/system-backups/<version>/<name>`.
pub fn decode_system_backup(address: &str) -> Result<SystemBackupAddress> {
    let mut url = Url::parse(address)?;
    let path = url.path.clone();
    let elements: Vec<&str> = path.split('/').collect();
    let [before @ .., base, directory, version, name] = elements.as_slice() else {
        return Err(Error::Invalid(format!("invalid system backup URI: {path}")));
    };
    if before.is_empty() {
        return Err(Error::Invalid(format!("invalid system backup URI: {path}")));
    }
    if *directory != crate::layout::SYSTEM_BACKUPS {
        return Err(Error::Invalid(format!("invalid system backup URL subdirectory {directory}: {address}")));
    }
    if *base != BASE {
        return Err(Error::Invalid(format!("invalid system backup URL backupstore directory {base}: {address}")));
    }
    url.path = before.join("/");
    let mut target = url.to_string();
    if target.contains('@') {
        target.push('/');
    }
    Ok(SystemBackupAddress { target, version: (*version).to_owned(), name: (*name).to_owned() })
}

/// Undoes what a shell or Go's JSON made of an ampersand in an address: the first `\u0026` becomes `&`, and so does the
/// first `u0026`.
pub fn unescape_ampersand(address: &str) -> String {
    address.replacen("\\u0026", "&", 1).replacen("u0026", "&", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_named_in_the_sorted_query() {
        let address = encode_backup(Some("backup-one"), "vol-1", "s3://bucket@region/path/");
        assert_eq!(address, "s3://bucket@region/path/?backup=backup-one&volume=vol-1");
        let parts = decode_backup(&address).unwrap();
        assert_eq!(parts.target, "s3://bucket@region/path/");
        assert_eq!((parts.volume.as_str(), parts.backup.as_deref()), ("vol-1", Some("backup-one")));
    }

    #[test]
    fn options_of_the_target_stay_in_the_query() {
        let target = "nfs://server:/share?nfsOptions=soft,timeo=330";
        let address = encode_backup(None, "vol-1", target);
        assert_eq!(address, "nfs://server:/share?nfsOptions=soft%2Ctimeo%3D330&volume=vol-1");
        assert_eq!(decode_backup(&address).unwrap().target, "nfs://server:/share?nfsOptions=soft%2Ctimeo%3D330");
        assert_eq!(
            encode_backing_image("bi-1", target),
            "nfs://server:/share?nfsOptions=soft,timeo=330&backingImage=bi-1"
        );
    }

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for name in ["", "a", "../etc", "-x", "a/b", "x y"] {
            assert!(!is_valid_name(name), "{name}");
        }
        assert_eq!(
            decode_backup("vfs:///t?volume=..%2Fx&backup=b1").unwrap_err().to_string(),
            "invalid volume name parsed, got ../x"
        );
        assert_eq!(decode_backing_image("vfs:///t").unwrap_err().to_string(), "invalid backing image name parsed: ");
    }

    #[test]
    fn a_system_backup_is_named_by_its_path() {
        for target in ["s3://bucket@region/path/", "vfs:///target", "s3://bucket@region/"] {
            let address = encode_system_backup("sys-1", "v1.8.0", target).unwrap();
            let parts = decode_system_backup(&address).unwrap();
            assert_eq!(
                (parts.target.as_str(), parts.version.as_str(), parts.name.as_str()),
                (target, "v1.8.0", "sys-1")
            );
        }
        assert_eq!(
            decode_system_backup("vfs:///target/backupstore/other/v1/x").unwrap_err().to_string(),
            "invalid system backup URL subdirectory other: vfs:///target/backupstore/other/v1/x"
        );
        assert!(decode_system_backup("vfs:///backupstore").is_err());
    }

    #[test]
    fn an_escaped_ampersand_is_restored_once() {
        assert_eq!(unescape_ampersand("vfs:///t?backup=b\\u0026volume=v"), "vfs:///t?backup=b&volume=v");
        assert_eq!(unescape_ampersand("vfs:///t?backup=bu0026volume=v"), "vfs:///t?backup=b&volume=v");
    }
}
