//! The server loop.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::Body;
use crate::net::TcpListener;

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The connection's other end.
    pub address: SocketAddr,
}

/// Answers requests until the process ends (or this future is dropped, which leaves open connections to themselves).
pub async fn serve<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                // Out of descriptors, say: trying again at once would spin.
                crate::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let handler = handler.clone();
        crate::spawn(async move {
            let service = service_fn(move |request| {
                let answer = handler(request, Peer { address });
                async move { Ok::<_, Infallible>(answer.await) }
            });
            // hyper caches the Date header in a thread-local that would tie a run to its predecessor.
            let connection =
                http1::Builder::new().auto_date_header(false).serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, %address, "connection ended");
            }
        });
    }
}
