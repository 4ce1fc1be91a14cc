//! How durations, names, signatures and words of a command line are written by people.

use std::fmt::Display;
use std::time::Duration;

use corral_core::{Fork, Nanos};

/// For serde: a duration as people write it in plans: `200ms`, `12m30s`, `1h`.
pub use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;

/// A duration as people write it.
///
/// # Errors
/// Not a duration, or a negative one.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed = jiff::fmt::friendly::SpanParser::new().parse_unsigned_duration(text);
    parsed.map_err(|_| format!("{text:?} is no duration; allowed are 200ms, 30s, 12m30s, 1h and the like"))
}

/// A fork as its `Display` prints it: `111.040184123s/2`.
///
/// # Errors
/// Not that.
pub fn parse_fork(text: &str) -> Result<Fork, String> {
    let parts = text.split_once('/').and_then(|(at, number)| Some((parse_duration(at).ok()?, number.parse().ok()?)));
    let (at, number) = parts.ok_or_else(|| format!("{text:?} is no fork; allowed is TIME/N, as in 1m51s/0"))?;
    Ok(Fork { at: Nanos::ZERO + at, number })
}

/// The known name nearest to a mistyped one, if any is near.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// One line that refuses an unknown name: what it is, what is near, what there is.
pub fn unknown_name<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let all = known.clone().into_iter().collect::<Vec<_>>().join(", ");
    match nearest(name, known) {
        Some(near) => format!("unknown {what} {name:?}; did you mean {near:?}? There are: {all}"),
        None => format!("unknown {what} {name:?}; there are: {all}"),
    }
}

/// A word of a command line, so that a shell takes it for one and as it stands.
pub fn quoted(word: impl Display) -> String {
    let word = word.to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,+@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// A message with all that is random in it made equal, so that equal failures group: runs of eight or more hexadecimal digits and uids become `*`.
pub fn normalised(message: &str) -> String {
    let random = regex_lite::Regex::new(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{8,}")
        .expect("a constant pattern");
    random.replace_all(message, "*").into_owned()
}

/// A duration as a reader wants it: two significant units at the most.
pub fn brief(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{}.{} s", seconds, duration.subsec_millis() / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse_duration("12m30s"), Ok(Duration::from_secs(750)));
        let fork = Fork { at: Nanos(111_040_184_123), number: 2 };
        assert_eq!((parse_fork(&fork.to_string()), parse_fork("1m").is_err()), (Ok(fork), true));
        assert_eq!(parse_duration("200ms"), Ok(Duration::from_millis(200)));
        assert!(parse_duration("soon").unwrap_err().contains("\"soon\" is no duration"));
        assert!(parse_duration("-3s").is_err());
    }

    #[test]
    fn a_mistyped_name_finds_its_neighbour() {
        let line = unknown_name("scenario", "backup-clenup", ["backup-cleanup", "upgrade"]);
        assert!(line.contains("did you mean \"backup-cleanup\"?"), "{line}");
        assert!(!unknown_name("scenario", "zzz", ["backup-cleanup"]).contains("did you mean"));
    }

    #[test]
    fn a_shell_reads_quoted_words_as_they_stand() {
        for plain in ["seeds/10740.toml", "lock-wait=0s", "a_b:c,d+e@f%1"] {
            assert_eq!(quoted(plain), plain);
        }
        assert_eq!(quoted("my night/a.toml"), "'my night/a.toml'");
        assert_eq!(quoted("it's $5"), r"'it'\''s $5'");
        assert_eq!((quoted(""), quoted("~")), ("''".to_owned(), "'~'".to_owned()));
    }

    #[test]
    fn signatures_forget_what_is_random() {
        assert_eq!(
            normalised("backups.longhorn.io \"backup-c0882962ebbd4ddf\" not found"),
            "backups.longhorn.io \"backup-*\" not found"
        );
    }
}
