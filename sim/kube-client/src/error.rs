//! What a call to the API server can end in, and apierrors' questions about it.
//!
//! An [`Error::Api`] is the server's own Status; everything else happened on this side or on the way. An empty object name is refused here,
//! before anything is sent, and is not a NotFound: controllers that swallow NotFound do not swallow this one.
//! Source: k8s.io/apimachinery pkg/api/errors/errors.go, client-go rest/request.go.

use std::io;

pub use kube_core::response::{Status, StatusCause, StatusDetails};

/// Why a call to the API server failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused, with this Status. Its text is the Status' message alone, as in client-go.
    #[error("{}", .0.message)]
    Api(Box<Status>),
    /// No whole answer came back: the connection could not be made or broke.
    #[error("{0}")]
    Transport(#[from] host::http::Error),
    /// The client's own time-out ended the call; the server may have carried it out.
    #[error("context deadline exceeded")]
    Timeout,
    /// An empty object name, refused before anything was sent.
    #[error("resource name may not be empty")]
    EmptyName,
    /// An object name or namespace that cannot stand in a path, refused before anything was sent.
    #[error("invalid {what} {name:?}: {reason}")]
    InvalidName {
        /// `resource name` or `namespace`.
        what: &'static str,
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The answer was no JSON of the type asked for.
    #[error("cannot decode {what}: {source}")]
    Decode {
        /// What it should have been.
        what: String,
        /// Where the decoding stopped.
        source: serde_json::Error,
    },
    /// The object could not be written as JSON.
    #[error("cannot encode {what}: {source}")]
    Encode {
        /// What it is.
        what: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// The request could not be put together: the server's address or a name in it is no part of a URI.
    #[error("request construction error: {0}")]
    Request(#[from] http::Error),
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Reasons that decide on their own; with any other the HTTP code is asked.
const KNOWN_REASONS: [&str; 19] = [
    "Unauthorized",
    "Forbidden",
    "NotFound",
    "AlreadyExists",
    "Conflict",
    "Gone",
    "Invalid",
    "ServerTimeout",
    "StorageReadError",
    "Timeout",
    "TooManyRequests",
    "BadRequest",
    "MethodNotAllowed",
    "NotAcceptable",
    "RequestEntityTooLarge",
    "UnsupportedMediaType",
    "InternalError",
    "Expired",
    "ServiceUnavailable",
];

impl Error {
    /// The server's Status, if the server answered.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Error::Api(status) => Some(status),
            _ => None,
        }
    }

    /// The HTTP code of the server's Status, 0 if none came.
    pub fn code(&self) -> u16 {
        self.status().map_or(0, |status| status.code)
    }

    /// The Status' reason, empty if none came (apierrors.ReasonForError).
    pub fn reason(&self) -> &str {
        self.status().map_or("", |status| &status.reason)
    }

    fn is(&self, reason: &str, code: u16) -> bool {
        self.reason() == reason || (self.code() == code && !KNOWN_REASONS.contains(&self.reason()))
    }

    /// The object, or the resource, is not there.
    pub fn is_not_found(&self) -> bool {
        self.is("NotFound", 404)
    }

    /// An object of this name is there already. Not decided by the code 409, which it shares with a conflict.
    pub fn is_already_exists(&self) -> bool {
        self.reason() == "AlreadyExists"
    }

    /// The object was written since it was read.
    pub fn is_conflict(&self) -> bool {
        self.is("Conflict", 409)
    }

    /// The object breaks its schema or a rule of its kind.
    pub fn is_invalid(&self) -> bool {
        self.is("Invalid", 422)
    }

    /// 410 with reason Gone, as servers before 1.18 had it; see [`Error::is_expired`].
    pub fn is_gone(&self) -> bool {
        self.is("Gone", 410)
    }

    /// 410 with reason Expired: the resourceVersion or continue token is too old.
    pub fn is_resource_expired(&self) -> bool {
        self.reason() == "Expired"
    }

    /// Either of the two forms of 410, as a reflector asks.
    pub fn is_expired(&self) -> bool {
        self.is_resource_expired() || self.is_gone()
    }

    /// The request makes no sense to the server, or a webhook denied it without a code.
    pub fn is_bad_request(&self) -> bool {
        self.is("BadRequest", 400)
    }

    /// Not allowed.
    pub fn is_forbidden(&self) -> bool {
        self.is("Forbidden", 403)
    }

    /// No valid credentials.
    pub fn is_unauthorized(&self) -> bool {
        self.is("Unauthorized", 401)
    }

    /// The resource does not know this verb.
    pub fn is_method_not_supported(&self) -> bool {
        self.is("MethodNotAllowed", 405)
    }

    /// The server could not answer in time and may still be at it (504). The client's own time-out is [`Error::Timeout`].
    pub fn is_timeout(&self) -> bool {
        self.is("Timeout", 504)
    }

    /// The server asks to try again later, the request was not carried out.
    pub fn is_server_timeout(&self) -> bool {
        self.reason() == "ServerTimeout"
    }

    /// The server failed in itself; a webhook that cannot be reached under failurePolicy Fail ends in this.
    pub fn is_internal_error(&self) -> bool {
        self.is("InternalError", 500)
    }

    /// The server is overloaded or its storage is being set up.
    pub fn is_too_many_requests(&self) -> bool {
        self.reason() == "TooManyRequests" || self.code() == 429
    }

    /// The server cannot serve at all at the moment.
    pub fn is_service_unavailable(&self) -> bool {
        self.is("ServiceUnavailable", 503)
    }

    /// The resourceVersion asked for lies ahead of what this server knows.
    pub fn is_too_large_resource_version(&self) -> bool {
        self.has_cause("ResourceVersionTooLarge")
            || (self.is_timeout() && self.status().is_some_and(|s| s.message.contains("Too large resource version")))
    }

    /// Whether the Status names this cause (apierrors.HasStatusCause).
    pub fn has_cause(&self, cause: &str) -> bool {
        let details = self.status().and_then(|status| status.details.as_ref());
        details.is_some_and(|details| details.causes.iter().any(|found| found.reason == cause))
    }

    /// How many seconds the server asks to wait, if it does (apierrors.SuggestsClientDelay).
    pub fn suggested_delay_seconds(&self) -> Option<u32> {
        let seconds = self.status()?.details.as_ref()?.retry_after_seconds;
        (seconds > 0 || self.is_server_timeout()).then_some(seconds)
    }

    /// Nobody listens there, at the moment.
    pub fn is_connection_refused(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::ConnectionRefused)
    }

    /// The connection was there and broke before the answer was whole: reset, or an early end.
    pub fn is_connection_broken(&self) -> bool {
        match self {
            Error::Transport(error) => is_broken(error),
            _ => false,
        }
    }

    /// The connection could not be made in time, or its peer fell silent for longer than the kernel waits.
    pub fn is_connection_timeout(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::TimedOut)
    }

    fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Error::Transport(error) => io_kind(error),
            _ => None,
        }
    }

    /// A NotFound as the server would say it, for readers of a cache (apierrors.NewNotFound).
    pub fn not_found(group: &str, plural: &str, name: &str) -> Error {
        let resource = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        let details = StatusDetails { name: name.into(), group: group.into(), kind: plural.into(), ..no_details() };
        let status = Status::failure(&format!("{resource} {name:?} not found"), "NotFound");
        Error::Api(Box::new(status.with_code(404).with_details(details)))
    }
}

/// kube-core's type has no default.
pub(crate) fn no_details() -> StatusDetails {
    StatusDetails {
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: Vec::new(),
        retry_after_seconds: 0,
    }
}

/// The kind of the I/O error at the root of a transport error, if there is one.
fn io_kind(error: &host::http::Error) -> Option<io::ErrorKind> {
    use host::http::Error as Http;
    let mut source: Option<&(dyn std::error::Error + 'static)> = match error {
        Http::Connect { error, .. } | Http::Resolve { error, .. } => Some(error),
        Http::Transfer(error) => Some(error),
        Http::Body(error) => Some(&**error),
        Http::ConnectTimeout { .. } => return Some(io::ErrorKind::TimedOut),
        Http::Uri(_) => None,
    };
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        source = error.source();
    }
    None
}

fn is_broken(error: &host::http::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    // Without an I/O error at its root, a transfer ended early: hyper's "incomplete message" or "connection closed".
    let lost = |kind| matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof);
    !error.is_connect() && io_kind(error).is_none_or(lost)
}
