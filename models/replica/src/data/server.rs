//! The replica's side of a data connection, and an engine's towards its clients (pkg/dataconn/server.go).
//!
//! Every request is worked on by itself: there is no order between them, not even on one connection.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use host::JoinHandle;
use host::net::{Keepalive, TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::data::wire::{Kind, MAGIC, Message, MessageReader, WireError, write_message};

/// How many answers wait for the connection.
const ANSWERS: usize = 1024;

/// Why a request cannot be answered well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// For this reason.
    Error(String),
    /// The disk is full.
    NoSpace,
}

/// Whatever can be read and written by way of a data connection.
pub trait Processor: Send + Sync + 'static {
    /// Reads so many bytes.
    fn read(&self, offset: i64, size: u32) -> impl Future<Output = Result<Bytes, Failure>> + Send;
    /// Writes; returns how many bytes.
    fn write(&self, offset: i64, data: Bytes) -> impl Future<Output = Result<u32, Failure>> + Send;
    /// Frees a range; returns how many bytes that gave.
    fn unmap(&self, offset: i64, size: u32) -> impl Future<Output = Result<u32, Failure>> + Send;
    /// Whether all is well.
    fn ping(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Open connections; none outlives their server.
#[derive(Default)]
struct Connections(Vec<JoinHandle<()>>);

impl Drop for Connections {
    fn drop(&mut self) {
        for connection in &self.0 {
            connection.abort();
        }
    }
}

/// Serves connections until it is dropped; then they end. What was being worked on is still done.
pub async fn serve<P: Processor>(listener: TcpListener, processor: Arc<P>) {
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_keepalive(Keepalive::GO);
                let processor = Arc::clone(&processor);
                connections.0.retain(|connection| !connection.is_finished());
                connections.0.push(host::spawn(async move {
                    if let Err(error) = serve_connection(stream, processor).await {
                        tracing::warn!(%peer, %error, "data connection ended");
                    }
                }));
            }
            Err(error) => {
                tracing::error!(%error, "failed to accept data connection");
                host::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
}

/// Serves one connection to its end.
///
/// # Errors
/// It failed, or brought something that is no message.
pub async fn serve_connection<P: Processor>(stream: TcpStream, processor: Arc<P>) -> Result<(), WireError> {
    let (reader, mut writer) = tokio::io::split(stream);
    let (answers, mut outgoing) = mpsc::channel::<Message>(ANSWERS);
    host::spawn(async move {
        while let Some(message) = outgoing.recv().await {
            if let Err(error) = write_message(&mut writer, &message).await {
                tracing::warn!(%error, "failed to answer");
                return;
            }
        }
    });
    let mut reader = MessageReader::new(reader);
    loop {
        let request = match reader.read().await {
            Ok(request) => request,
            Err(WireError::End) => return Ok(()),
            Err(error) => return Err(error),
        };
        if !(request.kind.is_io() || request.kind == Kind::PING) {
            continue;
        }
        let (processor, answers) = (Arc::clone(&processor), answers.clone());
        host::spawn(async move {
            let answer = process(processor.as_ref(), request).await;
            let _ = answers.send(answer).await;
        });
    }
}

async fn process<P: Processor>(processor: &P, request: Message) -> Message {
    let Message { sequence, kind, offset, size, data, .. } = request;
    let answer = |kind, size, data| Message { magic: MAGIC, sequence, kind, offset, size, data };
    let with_size = |size| answer(Kind::RESPONSE, size, Bytes::new());
    let result = match kind {
        Kind::READ => {
            let read = processor.read(offset, size).await;
            read.map(|data| answer(Kind::RESPONSE, data.len() as u32, data))
        }
        Kind::WRITE => processor.write(offset, data).await.map(with_size),
        Kind::UNMAP => processor.unmap(offset, size).await.map(with_size),
        _ => processor.ping().await.map(|()| with_size(0)),
    };
    result.unwrap_or_else(|failure| {
        let (kind, text) = match failure {
            Failure::Error(text) => (Kind::ERROR, text),
            Failure::NoSpace => (Kind::NO_SPACE, crate::error::NO_SPACE.to_owned()),
        };
        answer(kind, text.len() as u32, text.into())
    })
}
