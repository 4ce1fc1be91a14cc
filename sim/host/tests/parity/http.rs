//! HTTP over the host's network: answers, streams, pooled connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use host::http::{Client, channel, collect, empty, full, serve};
use host::net::TcpListener;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;

parity!(
    requests_are_answered,
    a_streamed_answer_arrives_piece_by_piece,
    connections_are_used_again,
    a_broken_transfer_is_an_error
);

async fn server<H, F>(handler: H) -> String
where
    H: Fn(Request<hyper::body::Incoming>) -> F + Clone + Send + Sync + 'static,
    F: std::future::Future<Output = Response<host::http::Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    host::spawn(serve(listener, move |request, _peer| handler(request)));
    base
}

async fn requests_are_answered(_folder: String) {
    let base = server(|request| async move {
        let body = collect(request.into_body(), 100).await.unwrap();
        Response::builder().status(StatusCode::CREATED).body(full(body)).unwrap()
    })
    .await;
    let request = Request::post(format!("{base}/x")).body(full("hello")).unwrap();
    let response = Client::new().send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    assert!(response.headers().get("date").is_none());
    assert_eq!(collect(response.into_body(), 100).await.unwrap(), "hello");
}

async fn a_streamed_answer_arrives_piece_by_piece(_folder: String) {
    let base = server(|_| async {
        let (sender, body) = channel(1);
        host::spawn(async move {
            for number in 0..5 {
                if sender.send(Bytes::from(format!("{number}\n"))).await.is_err() {
                    return;
                }
            }
        });
        Response::new(body)
    })
    .await;
    let response = Client::new().send(Request::get(&base).body(empty()).unwrap()).await.unwrap();
    let whole = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(whole, "0\n1\n2\n3\n4\n");
}

async fn connections_are_used_again(_folder: String) {
    let connections = Arc::new(AtomicU32::new(0));
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let last = Arc::new(std::sync::Mutex::new(None));
    let counted = connections.clone();
    host::spawn(serve(listener, move |_request, peer: host::http::Peer| {
        if last.lock().unwrap().replace(peer.address) != Some(peer.address) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        async { Response::new(full("ok")) }
    }));
    let client = Client::new();
    for _ in 0..5 {
        let response = client.send(Request::get(&base).body(empty()).unwrap()).await.unwrap();
        collect(response.into_body(), 100).await.unwrap();
        // The connection's own task sees the end of the answer, and returns to the pool, after its reader does: in the real world on another thread.
        host::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

async fn a_broken_transfer_is_an_error(_folder: String) {
    let base = server(|_| async {
        let (sender, body) = channel(1);
        host::spawn(async move {
            let _ = sender.send(Bytes::from_static(b"half of it")).await;
            sender.abort().await;
        });
        Response::new(body)
    })
    .await;
    let response = Client::new().send(Request::get(&base).body(empty()).unwrap()).await.unwrap();
    assert!(collect(response.into_body(), 1000).await.is_err());
}
