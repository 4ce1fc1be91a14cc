//! The data source's client (pkg/client/data_source_client.go).

use host::http::Client;
use http::Method;

use crate::error::{Error, Result};
use crate::info::DataSourceInfo;
use crate::web;

/// Asks the data source at an address.
pub(crate) struct DataSourceClient {
    client: Client,
    url: String,
}

impl DataSourceClient {
    /// A client of the data source at `host:port`.
    pub fn new(client: Client, address: &str) -> DataSourceClient {
        DataSourceClient { client, url: format!("http://{address}/v1/file") }
    }

    /// How far the file is.
    pub async fn get(&self) -> Result<DataSourceInfo> {
        let answer = web::request(&self.client, Method::GET, &self.url, None).await?;
        serde_json::from_slice(&answer).map_err(|error| Error::Invalid(format!("the answer cannot be read: {error}")))
    }

    /// Has it give up the file.
    pub async fn transfer(&self) -> Result<()> {
        let url = format!("{}?action=transfer", self.url);
        match web::request(&self.client, Method::POST, &url, None).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}
