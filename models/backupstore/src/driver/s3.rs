//! A target in a bucket (s3/s3.go upstream). Directories are prefixes: there are none, only keys that begin alike.
//!
//! Fault model: the store's, as the client below meets it. A look at an object that fails for any reason counts as "not
//! there".

mod answers;
mod client;
mod signature;

use std::io;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use host::fs;
use jiff::Timestamp;

use super::Driver;
use crate::context::Context;
use crate::credentials::Credentials;
use crate::error::{Context as _, Error, Result};
use crate::gopath::{join, parent};
use crate::url::Url;
use client::S3Client;

/// A bucket, and a path in it, as a target.
pub struct S3Driver {
    client: S3Client,
    path: String,
    url: String,
}

impl S3Driver {
    /// The bucket that the address names: `s3://bucket@region/path/`, or `s3://bucket/path`.
    pub async fn open(url: &Url, credentials: &Credentials, context: &Context) -> Result<Self> {
        let (bucket, region) = match &url.user {
            Some(bucket) => (bucket.clone(), url.host.clone()),
            None => (url.host.clone(), String::new()),
        };
        if bucket.is_empty() || url.path.is_empty() {
            let expected = "invalid URL. Must be either s3://bucket@region/path/, or s3://bucket/path";
            return Err(Error::Invalid(expected.to_owned()));
        }
        let path = url.path.trim_start_matches('/').to_owned();
        let at_region = if region.is_empty() { String::new() } else { format!("@{region}") };
        let url = format!("s3://{bucket}{at_region}/{path}");
        let driver = Self { client: S3Client::new(bucket, &region, credentials, context)?, path, url };
        driver.list("").await?;
        Ok(driver)
    }

    /// The key of a path. A slash at the end of the path is kept: a prefix without it would meet `name-2` where `name`
    /// is meant.
    fn key(&self, path: &str) -> String {
        let joined = join(&[&self.path, path]);
        if path.ends_with('/') { joined + "/" } else { joined }
    }

    async fn names_in(&self, path: &str) -> Result<Vec<String>> {
        let mut prefix = self.key(path);
        if !prefix.ends_with('/') {
            prefix.push('/');
        }
        let listed = self.client.list(&prefix, "/").await?;
        let below = |key: &str| key.strip_prefix(&prefix).unwrap_or(key).to_owned();
        let files = listed.keys.iter().map(|key| below(key));
        let directories = listed.common_prefixes.iter().map(|key| below(key).trim_end_matches('/').to_owned());
        Ok(files.chain(directories).filter(|name| !name.is_empty()).collect())
    }

    async fn remove_prefix(&self, path: &str) -> Result<()> {
        let prefix = self.key(path);
        let listed = self.client.list(&prefix, "").await;
        let listed = listed.context(|| format!("failed to list objects with prefix {prefix} before removing them"))?;
        let mut failed = Vec::new();
        for key in listed.keys {
            if let Err(error) = self.client.delete(&key).await {
                tracing::error!(%error, key, "failed to delete object");
                failed.push(key);
            }
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(Error::Driver(format!("failed to delete objects [{}]", failed.join(" "))))
        }
    }

    async fn fetch_to(&self, path: &str, local: &str) -> Result<()> {
        let failed = |error: io::Error| Error::Driver(format!("create {local}: {error}"));
        fs::create_dir_all(&parent(local)).await.map_err(failed)?;
        // The file is made before the object is asked for, and stays if that fails.
        fs::write(local, &[]).await.map_err(failed)?;
        let content = self.read(path).await?;
        fs::write(local, &content).await.map_err(failed)
    }
}

impl Driver for S3Driver {
    fn kind(&self) -> &'static str {
        "s3"
    }

    fn url(&self) -> &str {
        &self.url
    }

    fn list<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        self.names_in(path).boxed()
    }

    fn read<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Bytes>> {
        async move { self.client.get(&self.key(path)).await }.boxed()
    }

    fn write<'a>(&'a self, path: &'a str, content: Bytes) -> BoxFuture<'a, Result<()>> {
        async move { self.client.put(&self.key(path), content).await }.boxed()
    }

    fn remove<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>> {
        self.remove_prefix(path).boxed()
    }

    fn file_size<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Option<u64>> {
        async move { self.client.head(&self.key(path)).await.ok().map(|head| head.size) }.boxed()
    }

    fn file_time<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Option<Timestamp>> {
        async move { self.client.head(&self.key(path)).await.ok().and_then(|head| head.modified) }.boxed()
    }

    fn upload<'a>(&'a self, local: &'a str, path: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            // Upstream reports success when the local file cannot be opened, and so is this.
            let Ok(content) = fs::read(local).await else { return Ok(()) };
            self.client.put(&self.key(path), content.into()).await
        }
        .boxed()
    }

    fn download<'a>(&'a self, path: &'a str, local: &'a str) -> BoxFuture<'a, Result<()>> {
        self.fetch_to(path, local).boxed()
    }
}
