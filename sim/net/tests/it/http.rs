//! hyper's HTTP/1 and HTTP/2 over the simulated network: many requests, no livelock, no growth.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::common::*;
use bytes::Bytes;
use corral_core::{Nanos, Sleep, world};
use corral_net::{TcpListener, TcpStream};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::rt::{Executor, Timer};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

#[derive(Clone, Copy)]
struct Spawner;

impl<F> Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        world().spawn(future);
    }
}

/// hyper's clock is `Instant`; madsim answers it with simulated time.
#[derive(Clone, Copy)]
struct Clock;

struct Pause(Sleep);

impl Future for Pause {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl hyper::rt::Sleep for Pause {}

impl Timer for Clock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Pause(corral_core::sleep(duration)))
    }
    #[allow(clippy::disallowed_methods, reason = "hyper hands out instants of std, which madsim simulates")]
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep(deadline.saturating_duration_since(Instant::now()))
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Ok(Response::new(Full::new(body)))
}

fn serve(cluster: &Cluster, http2: bool) {
    pod(cluster.one, SERVER, "http", async move {
        let listener = TcpListener::bind(server()).unwrap();
        loop {
            let io = TokioIo::new(listener.accept().await.unwrap().0);
            world().spawn(async move {
                if http2 {
                    let mut builder = hyper::server::conn::http2::Builder::new(Spawner);
                    builder.auto_date_header(false).timer(Clock);
                    builder.serve_connection(io, service_fn(answer)).await
                } else {
                    let mut builder = hyper::server::conn::http1::Builder::new();
                    builder.auto_date_header(false).timer(Clock);
                    builder.serve_connection(io, service_fn(answer)).await
                }
            });
        }
    });
}

fn request(body: &Bytes) -> Request<Full<Bytes>> {
    Request::put("http://10.0.1.1:9500/object").header("host", "10.0.1.1").body(Full::new(body.clone())).unwrap()
}

const REQUESTS: u64 = 20_000;

#[test]
fn http1_keeps_a_connection_for_thousands_of_requests() {
    run(async {
        let cluster = cluster();
        serve(&cluster, false);
        seconds(0.001).await;
        let io = TokioIo::new(TcpStream::connect(server()).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        world().spawn(connection);
        let body = Bytes::from(vec![b'x'; 1500]);
        let before = cluster.net.statistics().segments_delivered;
        let began = now();
        for _ in 0..REQUESTS {
            let response = sender.send_request(request(&body)).await.unwrap();
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
        }
        let segments = cluster.net.statistics().segments_delivered - before;
        assert!(segments <= 2 * REQUESTS + 10, "{segments} segments");
        assert_took(began, 0.0004 * REQUESTS as f64, 0.002 * REQUESTS as f64);
    });
}

#[test]
fn http2_multiplexes_small_calls_in_few_segments() {
    run(async {
        let cluster = cluster();
        serve(&cluster, true);
        seconds(0.001).await;
        let io = TokioIo::new(TcpStream::connect(server()).await.unwrap());
        let (sender, connection) =
            hyper::client::conn::http2::Builder::new(Spawner).timer(Clock).handshake(io).await.unwrap();
        world().spawn(connection);
        let body = Bytes::from(vec![b'x'; 64]);
        let calls = |count: u64| {
            let (mut sender, body) = (sender.clone(), body.clone());
            async move {
                for _ in 0..count {
                    let response = sender.send_request(request(&body)).await.unwrap();
                    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
                }
            }
        };
        let before = cluster.net.statistics().segments_delivered;
        calls(REQUESTS / 2).await;
        let segments = cluster.net.statistics().segments_delivered - before;
        assert!(segments <= 3 * REQUESTS / 2 + 100, "{segments} segments");
        let crowd: Vec<_> = (0..16).map(|_| world().spawn(calls(REQUESTS / 32))).collect();
        for task in crowd {
            task.await.unwrap();
        }
        let long = Bytes::from(vec![b'y'; 3 << 20]);
        let response = sender.clone().send_request(request(&long)).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), long);
    });
}

#[test]
fn http1_survives_a_partition_and_learns_of_a_killed_server() {
    run(async {
        let cluster = cluster();
        serve(&cluster, false);
        seconds(0.001).await;
        let io = TokioIo::new(TcpStream::connect(server()).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        world().spawn(connection);
        let body = Bytes::from_static(b"small");
        sender.send_request(request(&body)).await.unwrap();
        let cut = cluster.net.partition(corral_net::PartitionSpec::between(cluster.one, corral_net::Selector::Any));
        let net = cluster.net.clone();
        let at: Nanos = now() + Duration::from_secs(4);
        world().queue().run_at(at, move || assert!(net.heal(cut)));
        let began = now();
        let response = sender.send_request(request(&body)).await.unwrap();
        response.into_body().collect().await.unwrap();
        assert_took(began, 6.2, 6.3);
        for process in world().processes_at(SERVER) {
            world().signal(&process, corral_core::Signal::Kill);
        }
        seconds(0.01).await;
        assert!(sender.is_closed());
        assert!(sender.send_request(request(&body)).await.is_err());
    });
}
