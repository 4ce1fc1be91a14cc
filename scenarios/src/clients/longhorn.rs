//! A client of the Longhorn API (port 9500, behind the service longhorn-backend), as the Python client of longhorn-tests is one.
//!
//! Every request may be answered by another manager, each from its own cache: successive answers may go backwards in time.

use std::time::Duration;

use host::http::{Body, Client, ClientOptions, collect, empty, full};
use http::{Method, Request};
use serde_json::Value;

/// Longest answer that is read, in bytes.
const ANSWER_LIMIT_BYTES: usize = 64 << 20;
/// The Python client's time-out of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Why the Longhorn API gave no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer.
    #[error("{what}: {error}")]
    Transport {
        /// Method and path.
        what: String,
        /// What happened instead.
        error: String,
    },
    /// An answer that is an error.
    #[error("{what}: {code} {message}")]
    Refused {
        /// Method and path.
        what: String,
        /// HTTP status.
        code: u16,
        /// The error's message.
        message: String,
    },
}

impl ApiError {
    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ApiError::Refused { code: 404, .. })
    }
}

/// A resource as the API shows it.
#[derive(Clone, Debug)]
pub struct Item {
    /// The whole.
    pub value: Value,
}

impl Item {
    /// Its id: the resource's name.
    pub fn id(&self) -> &str {
        self.value["id"].as_str().unwrap_or_default()
    }
}

/// The client.
#[derive(Clone, Debug)]
pub struct LonghornClient {
    base: String,
    http: Client,
}

impl LonghornClient {
    /// A client of the API at this host and port.
    pub fn new(authority: &str) -> LonghornClient {
        LonghornClient { base: format!("http://{authority}/v1"), http: Client::with_options(ClientOptions::default()) }
    }

    /// All resources of a collection, such as `backupvolumes`.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn list(&self, collection: &str) -> Result<Vec<Item>, ApiError> {
        let answer = self.send(Method::GET, &format!("/{collection}"), empty()).await?;
        let data = answer["data"].as_array().cloned().unwrap_or_default();
        Ok(data.into_iter().map(|value| Item { value }).collect())
    }

    /// One resource.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn get(&self, collection: &str, id: &str) -> Result<Item, ApiError> {
        Ok(Item { value: self.send(Method::GET, &format!("/{collection}/{id}"), empty()).await? })
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn delete(&self, collection: &str, id: &str) -> Result<(), ApiError> {
        self.send(Method::DELETE, &format!("/{collection}/{id}"), empty()).await.map(|_| ())
    }

    /// Replaces what may be changed of a resource.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn update(&self, collection: &str, id: &str, value: &Value) -> Result<Item, ApiError> {
        let body = full(value.to_string());
        Ok(Item { value: self.send(Method::PUT, &format!("/{collection}/{id}"), body).await? })
    }

    /// Asks a resource to do something.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn act(&self, collection: &str, id: &str, action: &str, input: &Value) -> Result<Item, ApiError> {
        let path = format!("/{collection}/{id}?action={action}");
        Ok(Item { value: self.send(Method::POST, &path, full(input.to_string())).await? })
    }

    async fn send(&self, method: Method, path: &str, body: Body) -> Result<Value, ApiError> {
        let what = format!("{method} {path}");
        let lost = |error: String| ApiError::Transport { what: what.clone(), error };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| lost(error.to_string()))?;
        let exchange = async {
            let response = self.http.send(request).await?;
            let status = response.status();
            Ok::<_, host::http::Error>((status, collect(response.into_body(), ANSWER_LIMIT_BYTES).await?))
        };
        let (status, bytes) = host::time::timeout(REQUEST_TIMEOUT, exchange)
            .await
            .map_err(|_| lost("no answer in 60 s".to_owned()))?
            .map_err(|error| lost(error.to_string()))?;
        let value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let message =
            value["message"].as_str().map_or_else(|| String::from_utf8_lossy(&bytes).into_owned(), str::to_owned);
        Err(ApiError::Refused { what, code: status.as_u16(), message })
    }
}
