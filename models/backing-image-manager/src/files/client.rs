//! The file service's client (pkg/client/sync_client.go).

use std::collections::BTreeMap;

use bytes::Bytes;
use host::http::Client;
use http::Method;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::form::{encode, escape};
use crate::info::FileInfo;
use crate::web;

/// Asks the file service at an address.
#[derive(Clone)]
pub(crate) struct FilesClient {
    client: Client,
    address: String,
}

/// What every new file is told.
pub(crate) struct NewFile<'a> {
    pub path: &'a str,
    pub uuid: &'a str,
    pub disk_uuid: &'a str,
    pub checksum: &'a str,
}

impl FilesClient {
    /// A client of the service at `host:port`.
    pub fn new(client: Client, address: &str) -> FilesClient {
        FilesClient { client, address: address.to_owned() }
    }

    /// Where the service's files are.
    pub fn url(&self) -> String {
        format!("http://{}/v1/files", self.address)
    }

    fn file_url(&self, path: &str) -> String {
        format!("{}/{}", self.url(), escape(path))
    }

    /// One file.
    pub async fn get(&self, path: &str) -> Result<FileInfo> {
        read(&web::request(&self.client, Method::GET, &self.file_url(path), None).await?)
    }

    /// All files by path.
    pub async fn list(&self) -> Result<BTreeMap<String, FileInfo>> {
        read(&web::request(&self.client, Method::GET, &self.url(), None).await?)
    }

    /// Forgets a file and removes it from the disk.
    pub async fn delete(&self, path: &str) -> Result<()> {
        accept_absence(web::request(&self.client, Method::DELETE, &self.file_url(path), None).await)
    }

    /// Forgets a file, which stays on the disk.
    pub async fn forget(&self, path: &str) -> Result<()> {
        let url = format!("{}?action=forget", self.file_url(path));
        accept_absence(web::request(&self.client, Method::POST, &url, None).await)
    }

    /// Sends a file to the receiver at an address.
    pub async fn send(&self, path: &str, to: &str) -> Result<()> {
        let url = format!("{}?{}", self.file_url(path), encode(&[("action", "sendToPeer"), ("to-address", to)]));
        web::request(&self.client, Method::POST, &url, None).await.map(|_| ())
    }

    /// Begins to take over a file.
    pub async fn fetch(&self, file: NewFile<'_>, source: &str, size: i64) -> Result<()> {
        let query = [
            ("action", "fetch"),
            ("dst-file-path", file.path),
            ("src-file-path", source),
            ("size", &size.to_string()),
            ("uuid", file.uuid),
            ("disk-uuid", file.disk_uuid),
            ("expected-checksum", file.checksum),
        ];
        let url = format!("{}?{}", self.url(), encode(&query));
        web::request(&self.client, Method::POST, &url, None).await.map(|_| ())
    }

    /// Begins to fill a file, as `action` and what belongs to it say.
    pub async fn begin(
        &self,
        action: &str,
        file: NewFile<'_>,
        more: &[(&str, &str)],
        credential: Option<&BTreeMap<String, String>>,
    ) -> Result<()> {
        let mut query = vec![
            ("action", action),
            ("file-path", file.path),
            ("uuid", file.uuid),
            ("disk-uuid", file.disk_uuid),
            ("expected-checksum", file.checksum),
        ];
        query.extend_from_slice(more);
        let url = format!("{}?{}", self.url(), encode(&query));
        let body = credential.map(|credential| serde_json::to_vec(credential).expect("strings are JSON"));
        web::request(&self.client, Method::POST, &url, body).await.map(|_| ())
    }
}

fn read<T: DeserializeOwned>(answer: &Bytes) -> Result<T> {
    serde_json::from_slice(answer).map_err(|error| Error::invalid(format!("the answer cannot be read: {error}")))
}

fn accept_absence(answer: Result<Bytes>) -> Result<()> {
    match answer {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
