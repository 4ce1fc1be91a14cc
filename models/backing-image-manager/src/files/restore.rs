//! Filling a file from a backup.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use host::fs::{File, OpenOptions};
use host::time::sleep;
use longhorn_backupstore::url::{Url, unescape_ampersand};
use longhorn_backupstore::{BackingImageWriter, Backupstore, Credentials};

use super::file::{SyncingFile, set_progress};
use crate::error::{Error, Result};
use crate::image::remove_if_there;
use crate::info::State;

/// How often it is asked how far the restore is.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

impl SyncingFile {
    /// Restores it from a backup.
    pub async fn restore(
        self: Arc<Self>,
        url: &str,
        credential: BTreeMap<String, String>,
        workers: usize,
        data_engine: &str,
    ) -> Result<()> {
        self.process(data_engine, async {
            // What needs no credentials gets none.
            Url::parse(url)?;
            let url = unescape_ampersand(url);
            let credentials: Credentials = credential.into_iter().collect();
            let store = Backupstore::open(&url, &credentials, &self.process.store).await?;
            self.info().size = store.inspect_backing_image(&url).await?.size;
            let writer = Arc::new(Writer { file: self.clone(), open: Mutex::new(None) });
            store.restore_backing_image(&url, writer, workers).await?;
            self.wait_for_the_restore().await
        })
        .await
    }

    async fn wait_for_the_restore(&self) -> Result<()> {
        loop {
            sleep(CHECK_INTERVAL).await;
            let info = self.info();
            if info.progress == 100 {
                return Ok(());
            }
            if !info.message.is_empty() {
                return Err(Error::Invalid(info.message.clone()));
            }
        }
    }
}

struct Writer {
    file: Arc<SyncingFile>,
    open: Mutex<Option<Arc<File>>>,
}

impl Writer {
    fn open(&self) -> std::sync::MutexGuard<'_, Option<Arc<File>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn invalid(error: impl std::fmt::Display) -> longhorn_backupstore::Error {
    longhorn_backupstore::Error::Invalid(error.to_string())
}

impl BackingImageWriter for Writer {
    fn create(&self, size: i64) -> BoxFuture<'_, longhorn_backupstore::Result<()>> {
        async move {
            let path = &self.file.temporary;
            remove_if_there(path).await.map_err(invalid)?;
            let file = OpenOptions::new().read(true).write(true).create(true).open(path).await.map_err(invalid)?;
            file.set_len(u64::try_from(size).map_err(invalid)?).await.map_err(invalid)?;
            *self.open() = Some(Arc::new(file));
            Ok(())
        }
        .boxed()
    }

    fn write<'a>(&'a self, offset: i64, data: &'a [u8]) -> BoxFuture<'a, longhorn_backupstore::Result<()>> {
        async move {
            let file = self.open().clone().ok_or_else(|| invalid("the file is closed"))?;
            file.write_all_at(data, u64::try_from(offset).map_err(invalid)?).await.map_err(invalid)
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.open().take();
        std::future::ready(()).boxed()
    }

    fn status(&self, bytes: i64, error: Option<&longhorn_backupstore::Error>) {
        let mut info = self.file.info();
        if info.state == State::Starting {
            info.state = State::InProgress;
        }
        if info.state == State::Ready {
            return;
        }
        info.processed_size = bytes;
        set_progress(&mut info);
        if let Some(error) = error {
            info.message = format!("failed to restore backing image: {error}");
        }
    }
}
