//! The `grpc-timeout` header: at most eight digits and a unit.

use std::time::Duration;

use host::time::Instant;
use http::{HeaderMap, HeaderValue};

const HEADER: &str = "grpc-timeout";

/// Until when the caller waits for an answer; a server finds it among a request's extensions. The handler is not stopped when it passes,
/// as a Go handler is not: whoever passes a call on may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Instant);

/// The time-out that these headers set, if they set one that can be understood.
pub(crate) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(HEADER)?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Tells the server how long the caller waits: in the finest unit that eight digits can hold, rounded up as grpc-go does.
pub(crate) fn set_timeout(headers: &mut HeaderMap, timeout: Duration) {
    const LARGEST: u128 = 99_999_999;
    let nanoseconds = timeout.as_nanos();
    let units = [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M')];
    let (count, unit) = units
        .into_iter()
        .map(|(size, unit)| (nanoseconds.div_ceil(size), unit))
        .find(|(count, _)| *count <= LARGEST)
        .unwrap_or((nanoseconds.div_ceil(3_600_000_000_000).min(LARGEST), 'H'));
    let value = HeaderValue::try_from(format!("{count}{unit}")).expect("digits and a letter make a header");
    headers.insert(HEADER, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_and_never_shorter() {
        for timeout_set in [1, 999, 99_999_999, 100_000_000, 60_000_000_000, 180_000_000_000, 86_400_000_000_000_000u64]
        {
            let timeout_set = Duration::from_nanos(timeout_set);
            let mut headers = HeaderMap::new();
            set_timeout(&mut headers, timeout_set);
            let read = timeout(&headers).expect("our own header");
            assert!(read >= timeout_set && read <= timeout_set + timeout_set / 1000, "{timeout_set:?} {read:?}");
        }
    }

    #[test]
    fn nonsense_sets_no_timeout() {
        for value in ["", "S", "1", "-1S", "1x", "123456789S", "1.5S"] {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_static(value));
            assert_eq!(timeout(&headers), None, "{value:?}");
        }
    }
}
