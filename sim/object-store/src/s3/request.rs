//! From an HTTP request to an operation.

use http::{HeaderMap, Method, Uri, header, request::Parts};

use super::errors::ErrorCode;
use crate::listing::ListRequest;
use crate::text::{percent_decode, query_pairs};

/// S3 hands out at most so many entries a page.
const LARGEST_PAGE: usize = 1000;

/// What a request is about; `bucket` and `key` are empty where the address names none.
pub(super) struct Target {
    pub bucket: String,
    pub key: String,
    query: Vec<(String, String)>,
}

impl Target {
    pub fn of(uri: &Uri) -> Result<Self, ErrorCode> {
        let path = percent_decode(uri.path().trim_start_matches('/'), false).ok_or(ErrorCode::InvalidURI)?;
        let query = query_pairs(uri.query().unwrap_or_default()).ok_or(ErrorCode::InvalidURI)?;
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned(), query })
    }

    fn argument(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value.as_str())
    }
}

/// Which of the two list interfaces was asked; they differ in how a page is continued.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ListVersion {
    /// ListObjects: `marker` and `NextMarker`.
    One,
    /// ListObjectsV2: `start-after` and continuation tokens.
    Two,
}

pub(super) struct List {
    pub version: ListVersion,
    pub prefix: String,
    pub page: ListRequest,
    /// `marker`, `start-after` and token as given, to be repeated in the answer.
    pub marker: Option<String>,
    pub start_after: Option<String>,
    pub token: Option<String>,
    pub url_encoded: bool,
}

pub(super) enum Operation {
    ListBuckets,
    CreateBucket,
    DeleteBucket,
    HeadBucket,
    ListObjects(List),
    GetObject {
        range: Option<String>,
    },
    HeadObject,
    /// `checksum` is the SHA-256 the client announced, if it did.
    PutObject {
        checksum: Option<String>,
    },
    DeleteObject,
}

/// Arguments that select a part of S3 that is not modelled (versions, tags, access control, multipart uploads, ...).
const NOT_MODELLED: [&str; 15] = [
    "acl",
    "cors",
    "delete",
    "encryption",
    "lifecycle",
    "logging",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "tagging",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
];

impl Operation {
    pub fn of(head: &Parts, target: &Target) -> Result<Self, ErrorCode> {
        if NOT_MODELLED.iter().any(|name| target.argument(name).is_some()) {
            return Err(ErrorCode::NotImplemented);
        }
        match (&head.method, target.bucket.is_empty(), target.key.is_empty()) {
            (&Method::GET, true, _) => Ok(Self::ListBuckets),
            (_, true, _) => Err(ErrorCode::MethodNotAllowed),
            (&Method::GET, _, true) if target.argument("location").is_some() => Err(ErrorCode::NotImplemented),
            (&Method::GET, _, true) => Ok(Self::ListObjects(List::of(target)?)),
            (&Method::HEAD, _, true) => Ok(Self::HeadBucket),
            (&Method::PUT, _, true) => Ok(Self::CreateBucket),
            (&Method::DELETE, _, true) => Ok(Self::DeleteBucket),
            (&Method::GET, ..) => Ok(Self::GetObject { range: text(&head.headers, header::RANGE.as_str()) }),
            (&Method::HEAD, ..) => Ok(Self::HeadObject),
            (&Method::DELETE, ..) => Ok(Self::DeleteObject),
            (&Method::PUT, ..) => Self::put(&head.headers),
            _ => Err(ErrorCode::MethodNotAllowed),
        }
    }

    fn put(headers: &HeaderMap) -> Result<Self, ErrorCode> {
        if headers.contains_key("x-amz-copy-source") {
            return Err(ErrorCode::NotImplemented);
        }
        if !headers.contains_key(header::CONTENT_LENGTH) {
            return Err(ErrorCode::MissingContentLength);
        }
        let announced = text(headers, "x-amz-content-sha256").unwrap_or_default();
        if announced.starts_with("STREAMING-") {
            return Err(ErrorCode::NotImplemented);
        }
        let checksum = (announced.len() == 64).then_some(announced);
        Ok(Self::PutObject { checksum })
    }
}

impl List {
    fn of(target: &Target) -> Result<Self, ErrorCode> {
        let version = match target.argument("list-type") {
            None => ListVersion::One,
            Some("2") => ListVersion::Two,
            Some(_) => return Err(ErrorCode::InvalidArgument),
        };
        let given = |name: &str| target.argument(name).map(str::to_owned);
        let max_keys = match target.argument("max-keys") {
            None | Some("") => LARGEST_PAGE,
            Some(text) => text.parse::<u32>().map_err(|_| ErrorCode::InvalidArgument)? as usize,
        };
        let (marker, start_after, token) = match version {
            ListVersion::One => (given("marker"), None, None),
            ListVersion::Two => (None, given("start-after"), given("continuation-token")),
        };
        let after = match &token {
            Some(token) => read_token(token).ok_or(ErrorCode::InvalidArgument)?,
            None => marker.clone().or_else(|| start_after.clone()).unwrap_or_default(),
        };
        Ok(Self {
            version,
            prefix: given("prefix").unwrap_or_default(),
            page: ListRequest {
                delimiter: given("delimiter").unwrap_or_default(),
                after,
                max_keys: max_keys.min(LARGEST_PAGE),
            },
            marker,
            start_after,
            token,
            url_encoded: target.argument("encoding-type") == Some("url"),
        })
    }
}

/// A continuation token is opaque to clients: the last entry, in hexadecimal.
pub(super) fn make_token(last: &str) -> String {
    hex::encode(last)
}

fn read_token(token: &str) -> Option<String> {
    String::from_utf8(hex::decode(token).ok()?).ok()
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
