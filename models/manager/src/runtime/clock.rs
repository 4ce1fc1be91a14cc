//! The manager's wall clock, and the comparisons it makes with times that went through the API.
//!
//! A time is written with whole seconds (`metav1.Time`), so every gate of the form "requested after the last sync" compares
//! truncated seconds: a request made in the second in which a sync started is lost until the next one.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::error::Error;

/// Now, with all its digits; the API keeps its seconds.
pub fn now() -> Time {
    Time(host::wall_clock::now())
}

/// A time, or the second after another one if that is later: a request that is made then is not lost.
pub fn after(time: Time, other: &Time) -> Time {
    let next = Time(other.0 + jiff::SignedDuration::from_secs(1));
    time.max(next)
}

/// Now as conditions carry it: RFC 3339 with seconds (`util.Now`).
pub fn now_text() -> String {
    text(&now())
}

/// A time in RFC 3339 with seconds.
pub fn text(time: &Time) -> String {
    jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%SZ", time.0).expect("a timestamp has all of these parts")
}

/// A time out of a spec or status.
pub fn parse(text: &str) -> Result<Timestamp, Error> {
    text.parse().map_err(|error| Error::message(format!("cannot parse time {text}: {error}")))
}

/// Whether the first time is later (`util.TimestampAfterTimestamp`).
pub fn is_after(later: &str, earlier: &str) -> Result<bool, Error> {
    Ok(parse(later)? > parse(earlier)?)
}

/// Whether a sync is due: there was none yet, or one was requested after it.
pub fn sync_is_due(requested: Option<&Time>, last_synced: Option<&Time>) -> bool {
    match (requested, last_synced) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(requested), Some(last_synced)) => requested > last_synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        // Through the wire, as every time a controller compares.
        serde_json::from_str(&serde_json::to_string(&Time(text.parse().unwrap())).unwrap()).unwrap()
    }

    #[test]
    fn a_request_within_the_second_of_the_last_sync_is_lost() {
        let synced = at("2026-11-20T10:00:00.100Z");
        assert!(!sync_is_due(Some(&at("2026-11-20T10:00:00.900Z")), Some(&synced)));
        assert!(sync_is_due(Some(&at("2026-11-20T10:00:01.000Z")), Some(&synced)));
    }

    #[test]
    fn the_first_sync_needs_no_request() {
        assert!(sync_is_due(None, None));
        assert!(!sync_is_due(None, Some(&at("2026-11-20T10:00:00Z"))));
    }

    #[test]
    fn conditions_carry_seconds() {
        assert_eq!(text(&Time("2026-11-20T10:00:00.999Z".parse().unwrap())), "2026-11-20T10:00:00Z");
    }
}
