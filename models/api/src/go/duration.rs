//! Go's `time.Duration` as `metav1.Duration` writes it: `5m0s`, `1h0m0s`, `1.5s`, `0s`.
//!
//! kube-core has a type for it too, which reads all of these but writes Rust's notation (`300s`), so that a five-minute poll
//! interval would change its spelling with our first write.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const NANOSECOND: u64 = 1;
const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// A signed duration in nanoseconds, spelled as Go spells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    nanoseconds: i64,
}

/// Why a text is no duration.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no duration (numbers with the units ns, us, ms, s, m and h, as in 5m0s)")]
pub struct DurationError(String);

impl Duration {
    /// Whole seconds.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { nanoseconds: seconds * SECOND as i64 }
    }

    /// The duration for a timer; a negative one has no length.
    pub const fn to_std(self) -> std::time::Duration {
        if self.nanoseconds < 0 {
            return std::time::Duration::ZERO;
        }
        std::time::Duration::from_nanos(self.nanoseconds.unsigned_abs())
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.nanoseconds.unsigned_abs();
        if self.nanoseconds < 0 {
            formatter.write_str("-")?;
        }
        if total == 0 {
            return formatter.write_str("0s");
        }
        // Below a second Go takes the largest unit that leaves no leading zero.
        if total < SECOND {
            let (unit, name) = match total {
                MILLISECOND.. => (MILLISECOND, "ms"),
                MICROSECOND.. => (MICROSECOND, "µs"),
                _ => (NANOSECOND, "ns"),
            };
            write_fraction(formatter, total, unit)?;
            return formatter.write_str(name);
        }
        if total >= HOUR {
            write!(formatter, "{}h", total / HOUR)?;
        }
        if total >= MINUTE {
            write!(formatter, "{}m", total % HOUR / MINUTE)?;
        }
        write_fraction(formatter, total % MINUTE, SECOND)?;
        formatter.write_str("s")
    }
}

/// Writes `value / unit` with as many decimals as it has.
fn write_fraction(formatter: &mut fmt::Formatter<'_>, value: u64, unit: u64) -> fmt::Result {
    write!(formatter, "{}", value / unit)?;
    let rest = value % unit;
    if rest == 0 {
        return Ok(());
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{rest:0width$}");
    write!(formatter, ".{}", digits.trim_end_matches('0'))
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| DurationError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Duration> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(Duration::default());
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        total = total.checked_add(scaled(number, unit_in_nanoseconds(unit)?)?)?;
        rest = tail;
    }
    let magnitude = i64::try_from(total).ok()?;
    Some(Duration { nanoseconds: if negative { -magnitude } else { magnitude } })
}

fn unit_in_nanoseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => NANOSECOND,
        "us" | "µs" | "μs" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

/// `number` (digits with at most one point) times `unit`, without passing through floating point.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && decimals.is_empty()) || decimals.contains('.') {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    let mut total = whole.checked_mul(unit)?;
    let mut part = unit;
    for digit in decimals.bytes() {
        part /= 10;
        total = total.checked_add(part * u64::from(digit - b'0'))?;
    }
    Some(total)
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
