//! From outcomes to HTTP answers: headers, and XML as S3 writes it.

use bytes::Bytes;
use host::http::Body;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;

use super::errors::ErrorCode;
use super::request::{List, ListVersion, make_token};
use crate::listing::Page;
use crate::text::percent_encode;

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// What identifies an object's content to a client.
pub(super) struct Entity<'a> {
    pub etag: &'a str,
    pub modified: Timestamp,
}

pub(super) fn empty(status: StatusCode) -> Response<Body> {
    with_status(status, host::http::empty())
}

/// An answer whose transfer breaks at once: the peer sees the connection end, whatever it has of the answer.
pub(super) async fn broken_connection() -> Response<Body> {
    let (sender, body) = host::http::channel(1);
    sender.abort().await;
    with_status(StatusCode::OK, body)
}

pub(super) fn stored(etag: &str) -> Response<Body> {
    let mut response = empty(StatusCode::OK);
    response.headers_mut().insert(header::ETAG, quoted(etag));
    response
}

/// An object's content, or the part of it that was asked for.
pub(super) fn content(entity: &Entity<'_>, content: Bytes, part: Option<String>) -> Response<Body> {
    let status = if part.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = with_status(status, host::http::full(content));
    entity_headers(&mut response, entity);
    if let Some(part) = part {
        response.headers_mut().insert(header::CONTENT_RANGE, value(&part));
    }
    response
}

pub(super) fn head(entity: &Entity<'_>, length: usize) -> Response<Body> {
    let mut response = empty(StatusCode::OK);
    entity_headers(&mut response, entity);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn entity_headers(response: &mut Response<Body>, entity: &Entity<'_>) {
    let headers = response.headers_mut();
    headers.insert(header::ETAG, quoted(entity.etag));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("binary/octet-stream"));
    headers.insert(header::LAST_MODIFIED, value(&http_date(entity.modified)));
}

/// An error. An answer to HEAD carries no body, so it tells by its status alone.
pub(super) fn error(code: ErrorCode, request: &Parts) -> Response<Body> {
    if request.method == Method::HEAD {
        return empty(code.status());
    }
    let document = ErrorDocument { code, message: code.to_string(), resource: request.uri.path().to_owned() };
    xml(code.status(), &document)
}

pub(super) fn buckets(buckets: &[(String, Timestamp)]) -> Response<Body> {
    let bucket = buckets
        .iter()
        .map(|(name, created)| BucketEntry { name: name.clone(), creation_date: iso(*created) })
        .collect();
    xml(StatusCode::OK, &BucketsDocument { namespace: NAMESPACE, buckets: BucketList { bucket } })
}

pub(super) fn list(bucket: &str, list: &List, page: &Page) -> Response<Body> {
    let encode = |text: &str| if list.url_encoded { percent_encode(text) } else { text.to_owned() };
    let two = list.version == ListVersion::Two;
    // ListObjects names the next marker only when there is a delimiter; otherwise the client takes the last key.
    let next_marker = page.next.as_ref().filter(|_| !two && !list.page.delimiter.is_empty());
    let document = ListDocument {
        namespace: NAMESPACE,
        name: bucket.to_owned(),
        prefix: encode(&list.prefix),
        delimiter: Some(&list.page.delimiter).filter(|text| !text.is_empty()).map(|text| encode(text)),
        marker: (!two).then(|| encode(list.marker.as_deref().unwrap_or_default())),
        start_after: list.start_after.as_deref().map(encode),
        continuation_token: list.token.clone(),
        next_marker: next_marker.map(|next| encode(next)),
        next_continuation_token: page.next.as_deref().filter(|_| two).map(make_token),
        key_count: two.then_some(page.objects.len() + page.common_prefixes.len()),
        max_keys: list.page.max_keys,
        is_truncated: page.next.is_some(),
        encoding_type: list.url_encoded.then_some("url"),
        contents: page
            .objects
            .iter()
            .map(|(key, object)| Contents {
                key: encode(key),
                last_modified: iso(object.modified),
                etag: format!("\"{}\"", object.etag),
                size: object.size,
                storage_class: "STANDARD",
            })
            .collect(),
        common_prefixes: page.common_prefixes.iter().map(|prefix| CommonPrefix { prefix: encode(prefix) }).collect(),
    };
    xml(StatusCode::OK, &document)
}

#[derive(Serialize)]
#[serde(rename = "Error", rename_all = "PascalCase")]
struct ErrorDocument {
    code: ErrorCode,
    message: String,
    resource: String,
}

#[derive(Serialize)]
#[serde(rename = "ListAllMyBucketsResult", rename_all = "PascalCase")]
struct BucketsDocument {
    #[serde(rename = "@xmlns")]
    namespace: &'static str,
    buckets: BucketList,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct BucketList {
    bucket: Vec<BucketEntry>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct BucketEntry {
    name: String,
    creation_date: String,
}

#[derive(Serialize)]
#[serde(rename = "ListBucketResult", rename_all = "PascalCase")]
struct ListDocument {
    #[serde(rename = "@xmlns")]
    namespace: &'static str,
    name: String,
    prefix: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    delimiter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    marker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    continuation_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_continuation_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_count: Option<usize>,
    max_keys: usize,
    is_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_type: Option<&'static str>,
    contents: Vec<Contents>,
    common_prefixes: Vec<CommonPrefix>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Contents {
    key: String,
    last_modified: String,
    #[serde(rename = "ETag")]
    etag: String,
    size: usize,
    storage_class: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CommonPrefix {
    prefix: String,
}

fn xml(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    let text = quick_xml::se::to_string(document).expect("these documents have only plain fields");
    let mut response =
        with_status(status, host::http::full(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}")));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

fn with_status(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn quoted(etag: &str) -> HeaderValue {
    value(&format!("\"{etag}\""))
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("made of visible characters")
}

/// As in `Last-Modified`: whole seconds.
fn http_date(time: Timestamp) -> String {
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .expect("the store's times lie within the years that RFC 9110 knows")
}

/// As in lists: milliseconds, which are always zero.
fn iso(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}
