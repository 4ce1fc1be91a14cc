//! The errors a client can meet, with S3's codes, statuses and texts (Amazon S3 API reference, "Error responses").

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// An S3 error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ErrorCode {
    /// 403: the client may not.
    #[error("Access Denied")]
    AccessDenied,
    /// 400: the content does not have the checksum the client announced.
    #[error("The provided 'x-amz-content-sha256' header does not match what was computed.")]
    XAmzContentSHA256Mismatch,
    /// 409: the bucket exists.
    #[error("Your previous request to create the named bucket succeeded and you already own it.")]
    BucketAlreadyOwnedByYou,
    /// 409: the bucket holds objects.
    #[error("The bucket you tried to delete is not empty")]
    BucketNotEmpty,
    /// 500: the store failed.
    #[error("We encountered an internal error. Please try again.")]
    InternalError,
    /// 400: an argument makes no sense.
    #[error("Invalid Argument")]
    InvalidArgument,
    /// 416: the range lies behind the object's end.
    #[error("The requested range is not satisfiable")]
    InvalidRange,
    /// 400: the address cannot be understood.
    #[error("Couldn't parse the specified URI.")]
    InvalidURI,
    /// 411: an upload without a length.
    #[error("You must provide the Content-Length HTTP header.")]
    MissingContentLength,
    /// 405: such a request is not made of such a resource.
    #[error("The specified method is not allowed against this resource.")]
    MethodNotAllowed,
    /// 404: no such bucket.
    #[error("The specified bucket does not exist")]
    NoSuchBucket,
    /// 404: no such object.
    #[error("The specified key does not exist.")]
    NoSuchKey,
    /// 501: a part of S3 that is not modelled.
    #[error("A header or parameter you provided implies functionality that is not implemented")]
    NotImplemented,
    /// 400: the client took too long.
    #[error("Your socket connection to the server was not read from or written to within the timeout period.")]
    RequestTimeout,
    /// 503: the client must go slower.
    #[error("Please reduce your request rate.")]
    SlowDown,
    /// 503: the store is away.
    #[error("Service is unable to handle request.")]
    ServiceUnavailable,
}

impl ErrorCode {
    /// The HTTP status S3 answers with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::AccessDenied => StatusCode::FORBIDDEN,
            Self::BucketAlreadyOwnedByYou | Self::BucketNotEmpty => StatusCode::CONFLICT,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::InvalidArgument | Self::InvalidURI | Self::RequestTimeout | Self::XAmzContentSHA256Mismatch => {
                StatusCode::BAD_REQUEST
            }
            Self::InvalidRange => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::MissingContentLength => StatusCode::LENGTH_REQUIRED,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoSuchBucket | Self::NoSuchKey => StatusCode::NOT_FOUND,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::SlowDown | Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// How an operation fails.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// With an answer.
    Code(ErrorCode),
    /// Without one: the connection ends.
    ConnectionCut,
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}
