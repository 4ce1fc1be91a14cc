//! How a backup target is reached: a store of files by path, as upstream's driver interface has it (driver.go).
//!
//! Two kinds are here, `s3` and `vfs`. An NFS or CIFS share, once mounted, is a `vfs` directory, which is what
//! upstream's drivers make of it.

mod files;
mod s3;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::context::Context;
use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::url::Url;

pub use files::FileDriver;
pub use s3::S3Driver;

/// A backup target. Paths are relative to the target's own path and have no leading slash.
pub trait Driver: Send + Sync {
    /// The scheme of its address.
    fn kind(&self) -> &'static str;

    /// Its address, without query.
    fn url(&self) -> &str;

    /// The names in a directory, one level deep; empty if there is no such directory.
    fn list<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<String>>>;

    /// A file's content.
    fn read<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Bytes>>;

    /// Writes a file, whole or not at all.
    fn write<'a>(&'a self, path: &'a str, content: Bytes) -> BoxFuture<'a, Result<()>>;

    /// Removes a file or a directory with all that is in it; what is absent is removed already.
    fn remove<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>>;

    /// A file's size. `None` if it is absent, and also if the look failed: the interface upstream has does not tell one
    /// from the other.
    fn file_size<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Option<u64>>;

    /// When a file was written, by the store's clock, with the same ambiguity.
    fn file_time<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Option<Timestamp>>;

    /// Copies a local file into the store.
    fn upload<'a>(&'a self, local: &'a str, path: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Copies a file from the store to a local file.
    fn download<'a>(&'a self, path: &'a str, local: &'a str) -> BoxFuture<'a, Result<()>>;
}

/// The driver for an address; like upstream it looks once whether the target can be listed.
pub async fn open(address: &str, credentials: &Credentials, context: &Context) -> Result<Arc<dyn Driver>> {
    if address.is_empty() {
        return Err(Error::Invalid("destination URL hasn't been specified".to_owned()));
    }
    let url = Url::parse(address)?;
    match url.scheme.as_str() {
        "s3" => Ok(Arc::new(S3Driver::open(&url, credentials, context).await?)),
        "vfs" => Ok(Arc::new(FileDriver::open(&url).await?)),
        known @ ("nfs" | "cifs" | "azblob") => {
            Err(Error::Invalid(format!("driver {known} is not modelled here: use s3, or vfs with a mounted directory")))
        }
        other => Err(Error::Invalid(format!("driver {other} is not supported"))),
    }
}
