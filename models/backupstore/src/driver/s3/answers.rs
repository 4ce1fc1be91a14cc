//! What the store answers: lists and errors in XML, heads of objects.

use http::HeaderMap;
use http::StatusCode;
use http::header;
use jiff::Timestamp;
use serde::Deserialize;

/// What HEAD tells of an object.
pub(super) struct Head {
    pub size: u64,
    pub modified: Option<Timestamp>,
}

impl Head {
    /// `None` if the store does not even tell the length.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let size = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
        let modified = headers.get(header::LAST_MODIFIED).and_then(|value| http_date(value.to_str().ok()?));
        Some(Self { size, modified })
    }
}

fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// One page of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ListPage {
    pub contents: Vec<Contents>,
    pub common_prefixes: Vec<CommonPrefix>,
    pub is_truncated: bool,
    pub next_marker: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Contents {
    pub key: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CommonPrefix {
    pub prefix: String,
}

impl ListPage {
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
        quick_xml::de::from_str(text).map_err(|error| error.to_string())
    }

    /// Where the next page begins. A list without delimiter names no marker: its last key is it.
    pub fn marker(&self) -> Option<String> {
        match (self.is_truncated, self.next_marker.as_str()) {
            (false, _) => None,
            (true, "") => self.contents.last().map(|last| last.key.clone()),
            (true, marker) => Some(marker.to_owned()),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ErrorDocument {
    code: String,
    message: String,
}

/// Code and message of an error answer; without a body they are made of the status, as the AWS SDK does.
pub(super) fn error(status: StatusCode, body: &[u8]) -> (String, String) {
    let document: ErrorDocument =
        std::str::from_utf8(body).ok().and_then(|text| quick_xml::de::from_str(text).ok()).unwrap_or_default();
    if document.code.is_empty() {
        let reason = status.canonical_reason().unwrap_or_default();
        return (reason.replace(' ', ""), reason.to_owned());
    }
    (document.code, document.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_name_their_successor_or_their_last_key_is_it() {
        let page = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><IsTruncated>true</IsTruncated>\
                    <Contents><Key>a&amp;b</Key><Size>1</Size></Contents><Contents><Key>c</Key></Contents></ListBucketResult>";
        let page = ListPage::parse(page.as_bytes()).unwrap();
        assert_eq!(page.contents.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["a&b", "c"]);
        assert_eq!(page.marker().as_deref(), Some("c"));
        let last = ListPage::parse(b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>").unwrap();
        assert_eq!((last.contents.len(), last.marker()), (0, None));
        assert!(ListPage::parse(b"<ListBucketResult><Contents>").is_err());
    }

    #[test]
    fn an_error_without_a_body_is_named_by_its_status() {
        assert_eq!(error(StatusCode::NOT_FOUND, b""), ("NotFound".to_owned(), "Not Found".to_owned()));
        let body = b"<Error><Code>SlowDown</Code><Message>Please.</Message></Error>";
        assert_eq!(error(StatusCode::SERVICE_UNAVAILABLE, body), ("SlowDown".to_owned(), "Please.".to_owned()));
    }

    #[test]
    fn dates_of_the_store_have_whole_seconds() {
        assert_eq!(http_date("Fri, 20 Nov 2026 17:29:28 GMT"), Some("2026-11-20T17:29:28Z".parse().unwrap()));
        assert_eq!(http_date("yesterday"), None);
    }
}
