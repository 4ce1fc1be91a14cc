//! Copying a stream into a file, with holes where it has zeros (pkg/sync/handler.go, `IdleTimeoutCopy`).

use std::time::Duration;

use host::fs::File;
use host::time::timeout;

use crate::cancel::Cancel;
use crate::error::{Context, Error, Result};

/// Zeros are looked for in pieces of this size.
const PIECE_BYTES: usize = 4096;

/// A file that is filled from its beginning on.
pub(super) struct Sink<'a> {
    file: &'a File,
    at: u64,
}

impl<'a> Sink<'a> {
    pub fn new(file: &'a File) -> Sink<'a> {
        Sink { file, at: 0 }
    }

    /// How many bytes have come.
    pub fn copied(&self) -> u64 {
        self.at
    }

    /// Writes what is not zero, and goes on behind the rest.
    pub async fn write(&mut self, data: &[u8]) -> Result<()> {
        let mut run = 0..0;
        for begin in (0..data.len()).step_by(PIECE_BYTES) {
            let end = (begin + PIECE_BYTES).min(data.len());
            if data[begin..end].iter().all(|byte| *byte == 0) {
                self.write_run(&data[run.clone()], run.start).await?;
                run = end..end;
            } else {
                run.end = end;
            }
        }
        self.write_run(&data[run.clone()], run.start).await?;
        self.at += data.len() as u64;
        Ok(())
    }

    async fn write_run(&self, data: &[u8], offset: usize) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(data, self.at + offset as u64).await.context(|| "write".to_owned())
    }
}

/// The next piece, unless the work is called off or nothing comes for too long.
pub(super) async fn next_in_time<T>(
    cancel: &Cancel,
    idle: Duration,
    piece: impl Future<Output = Result<Option<T>>>,
) -> Result<Option<T>> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Cancelled),
        piece = timeout(idle, piece) => piece.unwrap_or(Err(Error::Cancelled)),
    }
}
