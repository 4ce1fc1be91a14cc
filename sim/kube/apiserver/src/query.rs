//! Parameters of a request, as the real server reads them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::ApiError;
use crate::path::percent_decode;

/// The parameters of one request; the first of several equal names counts.
#[derive(Clone, Debug, Default)]
pub struct Query {
    values: BTreeMap<String, String>,
}

impl Query {
    /// Reads what follows the question mark.
    pub fn parse(text: Option<&str>) -> Query {
        let mut values = BTreeMap::new();
        for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decode(name.as_bytes(), true);
            values.entry(name).or_insert_with(|| percent_decode(value.as_bytes(), true));
        }
        Query { values }
    }

    /// A parameter that is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A truth value: everything but empty, `0` and `false` is true, as apimachinery's query decoding has it.
    pub fn flag(&self, name: &str) -> bool {
        match self.values.get(name).map(String::as_str) {
            None | Some("0") => false,
            Some(value) => !value.eq_ignore_ascii_case("false"),
        }
    }

    /// A number.
    pub fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            ApiError::bad_request(format!("strconv.ParseInt: parsing {}: invalid syntax", crate::error::json(text)))
        })
    }

    /// Whether nothing is to be stored.
    pub fn dry_run(&self) -> Result<bool, ApiError> {
        match self.get("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => {
                let cause =
                    crate::error::Cause::not_supported("dryRun", crate::error::json(other), &["\"All\"".into()]);
                Err(ApiError::invalid("meta.k8s.io", "CreateOptions", "", vec![cause]))
            }
        }
    }

    /// Checks the parameter `timeout`, which every request may carry; the server itself never runs out of it.
    pub fn check_timeout(&self) -> Result<(), ApiError> {
        let Some(text) = self.get("timeout") else { return Ok(()) };
        go_duration(text).map(|_| ()).ok_or_else(|| {
            let shown = crate::error::json(text);
            ApiError::bad_request(format!(
                "invalid timeout specified in the request URL - time: invalid duration {shown}"
            ))
        })
    }
}

/// Reads a duration as Go writes them: `15m0s`, `1.5h`, `300ms`.
pub fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "\u{b5}s" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number * seconds).ok()?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_flags_are_lenient() {
        let query = Query::parse(Some("labelSelector=app+in+%28a%2Cb%29&watch&limit=5&dryRun=All&timeout=15m0s"));
        assert_eq!(query.get("labelSelector"), Some("app in (a,b)"));
        assert!(query.flag("watch") && !query.flag("allowWatchBookmarks"));
        assert_eq!(query.number("limit"), Ok(Some(5)));
        assert_eq!((query.dry_run(), query.check_timeout()), (Ok(true), Ok(())));
        assert_eq!(Query::parse(Some("timeout=abc")).check_timeout().expect_err("no duration").code, 400);
        assert!(!Query::parse(Some("watch=false")).flag("watch"));
        assert_eq!(go_duration("1m1.5s"), Some(Duration::from_millis(61_500)));
    }
}
