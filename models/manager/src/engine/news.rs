//! Streams on which a manager's pod says that something changed, and not what.

use longhorn_rpc::Streaming;

use super::connection::failure;
use crate::runtime::{Error, Result};

/// Such a stream.
pub struct News(pub(super) Streaming<()>);

impl News {
    /// Waits until something changes. After an error there are only errors.
    pub async fn next(&mut self) -> Result<()> {
        match self.0.message().await {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err(Error::Rpc("EOF".to_owned())),
            Err(status) => Err(failure(&status)),
        }
    }
}
