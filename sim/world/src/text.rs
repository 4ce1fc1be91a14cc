//! How durations, names, signatures and words of a command line are written by people.

use std::fmt::Display;
use std::time::Duration;

use corral_core::{Fork, Nanos};

/// For serde: a duration as people write it in plans: `200ms`, `12m30s`, `1h`.
pub mod duration {
    use std::fmt;
    use std::time::Duration;

    use serde::de::{Deserializer, Error, Visitor};

    pub use jiff::fmt::serde::unsigned_duration::friendly::compact::required::serialize;

    /// Reads what [`parse_duration`](super::parse_duration) takes, and nothing else.
    ///
    /// # Errors
    /// No text, or no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        from.deserialize_str(Written)
    }

    struct Written;

    impl Visitor<'_> for Written {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration in quotes, such as \"30s\"")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            super::parse_duration(text).map_err(E::custom)
        }
    }
}

/// A duration as people write it.
///
/// # Errors
/// Not a duration, or a negative one.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed = jiff::fmt::friendly::SpanParser::new().parse_unsigned_duration(text);
    parsed.map_err(|_| format!("{text:?} is no duration; allowed are 200ms, 30s, 12m30s, 1h and the like"))
}

/// What a table is refused for, in one line: the key, where it is known, and what is wrong there.
pub fn refusal(error: &toml::de::Error) -> String {
    // Only its text tells the key.
    let text = error.to_string();
    let text = match text.trim().rsplit_once("\nin `") {
        Some((message, keys)) => format!("{}: {message}", keys.trim_end_matches('`')),
        None => error.message().trim().to_owned(),
    };
    text.replace('\n', "; ")
}

/// The line of a text, from 1, that has this offset.
pub fn line_at(text: &str, offset: usize) -> usize {
    text[..offset.min(text.len())].matches('\n').count() + 1
}

/// The line of a plan's text, from 1, that a message is about which begins with a part of the plan: `[cluster]: machines = 9`, `[[step]] 3: ...`. In
/// that part, it is the first with the key that the message begins with, or with a word that the message has in quotes; else the part's first.
pub fn line_about(text: &str, message: &str) -> Option<usize> {
    let (place, rest) = message.split_once(": ")?;
    let (header, number) = place.split_once(' ').unwrap_or((place, "1"));
    let nth: usize = number.parse().ok().filter(|_| header.starts_with('['))?;
    let lines: Vec<&str> = text.lines().collect();
    let begins = |line: &&str| line.trim() == header;
    let (begin, _) = lines.iter().enumerate().filter(|(_, line)| begins(line)).nth(nth.checked_sub(1)?)?;
    // Tables inside the part, such as [step.do.wait], belong to it.
    let inside = format!("[{}.", header.trim_matches(['[', ']']));
    let part = lines[begin + 1..].iter().take_while(|line| !line.starts_with('[') || line.starts_with(&inside));
    let first = rest.split([' ', ':']).next().unwrap_or_default();
    let quoted = rest.split('"').nth(1).map(|word| format!("\"{word}\""));
    let word = rest.split(['"', '`']).nth(1).filter(|word| !word.is_empty());
    let of_key = part.clone().position(|line| is_of_key(line, first));
    let with = |word: &str| part.clone().position(|line| line.contains(word));
    let found = of_key.or_else(|| with(&quoted?)).or_else(|| with(word?)).or_else(|| with(first));
    Some(found.map_or(begin, |index| begin + 1 + index) + 1)
}

/// Whether a line of TOML gives this key its value.
pub(crate) fn is_of_key(line: &str, key: &str) -> bool {
    line.trim_start().split([' ', '=']).next() == Some(key)
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
        for other in ["-3s", "PT30S", "30", ""] {
            assert!(parse_duration(other).is_err(), "{other}");
        }
    }

    #[derive(Debug, serde::Deserialize, serde::Serialize)]
    struct Waits {
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
    }

    #[test]
    fn tables_take_the_durations_that_the_command_line_takes() {
        let read = |value: &str| toml::from_str::<Waits>(&format!("for = {value}"));
        assert_eq!(read("\"9s 300ms\"").unwrap().lasts, Duration::from_millis(9300));
        for other in ["soon", "PT30S", "30", "", "-3s"] {
            let refused = read(&format!("\"{other}\"")).unwrap_err();
            assert_eq!(refused.message(), parse_duration(other).unwrap_err());
            assert!(refused.span().is_some(), "the line is known");
        }
        assert!(read("5").unwrap_err().message().contains("expected a duration in quotes"));
        let nanos = Waits { lasts: Duration::from_nanos(5_123_456_789) };
        assert_eq!(toml::from_str::<Waits>(&toml::to_string(&nanos).unwrap()).unwrap().lasts, nanos.lasts);
        let table: toml::Table = toml::from_str("for = \"soon\"").unwrap();
        let refused = refusal(&table.try_into::<Waits>().unwrap_err());
        assert!(refused.starts_with("for: \"soon\" is no duration; allowed are 200ms"), "{refused}");
    }

    #[test]
    fn messages_find_their_lines() {
        let text = "[cluster]\nmachines = 3\nage  = \"1m\"\nstore-latency = \"1\"\n[[step]]\ndo = { a = {} }\n[[step]]\n[step.do.wait]\nfor = \"x\"\n[[fault]]\n";
        let line = |message: &str| line_about(text, message);
        assert_eq!(line("[cluster]: machines = 3; allowed are 4"), Some(2));
        assert_eq!(line("[cluster]: age: \"1m\" is no duration"), Some(3));
        assert_eq!(line("[cluster]: \"1\" is no duration"), Some(4));
        assert_eq!(line("[cluster]: unknown field `machines`, expected `x`"), Some(2));
        assert_eq!(line("[cluster]: all is wrong"), Some(1));
        assert_eq!(line("[[step]] 1: unknown variant `a`"), Some(6));
        assert_eq!(line("[[step]] 2: wait.for: \"x\" is no duration"), Some(9));
        assert_eq!((line("[[fault]] 2: x"), line("unknown release \"x\": y")), (None, None));
        assert_eq!((line_at(text, 0), line_at(text, 10), line_at(text, 9999)), (1, 2, 11));
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
