//! What goes back: status, headers, body; and the forms in which a client may ask for objects.

use bytes::Bytes;
use host::http::Body;
use http::{HeaderValue, Response, header};

use crate::error::{ApiError, json};

/// In which form objects are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are.
    Plain,
    /// Rows of a Table.
    Table,
    /// Metadata only.
    Partial,
}

/// Reads an Accept header; the first form that the server has wins.
pub(crate) fn negotiate(accept: Option<&str>) -> Result<Form, ApiError> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Ok(Form::Plain) };
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        if !matches!(parts.next(), Some("application/json" | "*/*" | "application/*")) {
            continue;
        }
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let parameter = |name: &str| parameters.iter().find(|(one, _)| *one == name).map(|(_, value)| *value);
        match parameter("as") {
            None => return Ok(Form::Plain),
            Some("Table") if parameter("v") == Some("v1") => return Ok(Form::Table),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => return Ok(Form::Partial),
            Some(_) => {}
        }
    }
    Err(ApiError::not_acceptable())
}

/// An answer before it is one of hyper's.
pub(crate) struct Answer {
    pub code: u16,
    pub body: Body,
    pub content_type: &'static str,
    pub warnings: Vec<String>,
    pub retry_after: Option<u32>,
}

impl Answer {
    /// JSON.
    pub fn json(code: u16, body: impl Into<Bytes>) -> Answer {
        Answer::body(code, host::http::full(body))
    }

    /// JSON that comes piece by piece.
    pub fn body(code: u16, body: Body) -> Answer {
        Answer { code, body, content_type: "application/json", warnings: Vec::new(), retry_after: None }
    }

    /// Plain text.
    pub fn text(code: u16, body: impl Into<Bytes>) -> Answer {
        Answer { content_type: "text/plain; charset=utf-8", ..Answer::json(code, body) }
    }

    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(self.body);
        *response.status_mut() =
            http::StatusCode::from_u16(self.code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        for warning in self.warnings {
            if let Ok(value) = HeaderValue::from_str(&format!("299 - {}", json(&warning))) {
                headers.append(header::WARNING, value);
            }
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<ApiError> for Answer {
    fn from(error: ApiError) -> Answer {
        let retry_after =
            error.details.as_ref().map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
        let body = error.body();
        let answer = if error.plain_text { Answer::text(error.code, body) } else { Answer::json(error.code, body) };
        Answer { retry_after: retry_after.filter(|_| error.code == 429), ..answer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_is_had_wins() {
        assert_eq!(negotiate(None), Ok(Form::Plain));
        assert_eq!(negotiate(Some("application/vnd.kubernetes.protobuf, application/json")), Ok(Form::Plain));
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(negotiate(Some(kubectl)), Ok(Form::Table));
        assert_eq!(
            negotiate(Some("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")),
            Ok(Form::Partial)
        );
        assert_eq!(negotiate(Some("text/html")).expect_err("html").code, 406);
    }
}
