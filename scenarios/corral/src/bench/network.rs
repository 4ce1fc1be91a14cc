//! The simulated network: echo, gRPC, and what abandoned deadlines leave behind.

use std::convert::Infallible;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use corral_core::{Attachments, Options, ProcessSpec, run, world};
use host::http::{Executor, Timer};
use host::net::{TcpListener, TcpStream};
use host::time::timeout;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::codegen::Service;
use tonic_prost::ProstCodec;

use super::{Figure, Scale, each, resident_mib};

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 9000);

/// Starts `main` as a process of a machine of its own.
pub fn start(name: &str, address: Ipv4Addr, main: impl Future<Output = ()> + Send + 'static) {
    let world = world();
    let machine = world.add_machine(name);
    let spec = ProcessSpec {
        name: name.into(),
        machine: machine.id,
        address,
        hostname: name.into(),
        arguments: vec![name.into()],
        environment: Default::default(),
        attachments: Attachments::default(),
    };
    world.spawn_process(
        spec,
        Box::pin(async move {
            main.await;
            0
        }),
    );
}

fn start_server(main: impl Future<Output = ()> + Send + 'static) {
    start("server", Ipv4Addr::new(10, 0, 0, 2), main);
}

async fn connect() -> TcpStream {
    loop {
        match TcpStream::connect(SERVER).await {
            Ok(stream) => return stream,
            Err(_) => host::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// 4 KiB there and back.
pub fn tcp(scale: Scale) -> Vec<Figure> {
    let trip = each(scale.of(500_000), |trips| {
        run(Options::new(1), async move {
            start_server(async {
                let listener = TcpListener::bind(SERVER).await.expect("a free port");
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut buffer = [0; 4096];
                while stream.read_exact(&mut buffer).await.is_ok() && stream.write_all(&buffer).await.is_ok() {}
            });
            let mut stream = connect().await;
            let mut buffer = [7; 4096];
            for _ in 0..trips {
                stream.write_all(&buffer).await.expect("an open connection");
                stream.read_exact(&mut buffer).await.expect("an echo");
            }
        })
        .unwrap();
    });
    vec![Figure::at_least("TCP echo of 4 KiB", 1.0 / trip.as_secs_f64(), "round trips/s", 500_000.0)]
}

/// The message of the benchmark's service.
#[derive(Clone, PartialEq, prost::Message)]
struct Ping {
    #[prost(bytes = "vec", tag = "1")]
    content: Vec<u8>,
}

#[derive(Clone)]
struct Echo;

impl tonic::server::UnaryService<Ping> for Echo {
    type Response = Ping;
    type Future = std::future::Ready<Result<tonic::Response<Ping>, tonic::Status>>;
    fn call(&mut self, request: tonic::Request<Ping>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new(request.into_inner())))
    }
}

async fn serve_grpc() {
    let listener = TcpListener::bind(SERVER).await.expect("a free port");
    while let Ok((stream, _)) = listener.accept().await {
        let service = hyper::service::service_fn(|request: http::Request<Incoming>| async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Ping, Ping>::default());
            Ok::<_, Infallible>(grpc.unary(Echo, request).await)
        });
        host::spawn(async move {
            let builder = hyper::server::conn::http2::Builder::new(Executor);
            let mut builder = builder;
            let _ = builder.auto_date_header(false).timer(Timer).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// tonic's client over hyper's HTTP/2 over the simulated network.
#[derive(Clone)]
struct Channel(SendRequest<tonic::body::Body>);

impl Service<http::Request<tonic::body::Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<tonic::body::Body>) -> Self::Future {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        *request.uri_mut() = format!("http://server{path}").parse().expect("a path");
        Box::pin(self.0.send_request(request))
    }
}

async fn channel() -> tonic::client::Grpc<Channel> {
    let builder = hyper::client::conn::http2::Builder::new(Executor);
    let (sender, connection) = builder.handshake(TokioIo::new(connect().await)).await.expect("a handshake");
    host::spawn(async move {
        let _ = connection.await;
    });
    tonic::client::Grpc::new(Channel(sender))
}

async fn ping(grpc: &mut tonic::client::Grpc<Channel>) {
    grpc.ready().await.expect("an open connection");
    let path = http::uri::PathAndQuery::from_static("/bench.Echo/Ping");
    let request = tonic::Request::new(Ping { content: vec![7; 64] });
    grpc.unary(request, path, ProstCodec::<Ping, Ping>::default()).await.expect("an answer");
}

/// gRPC unary calls of 64 bytes over HTTP/2.
pub fn grpc(scale: Scale) -> Vec<Figure> {
    let trip = each(scale.of(100_000), |calls| {
        run(Options::new(1), async move {
            start_server(serve_grpc());
            let mut grpc = channel().await;
            for _ in 0..calls {
                ping(&mut grpc).await;
            }
        })
        .unwrap();
    });
    vec![Figure::at_most("gRPC unary over HTTP/2", trip.as_secs_f64() * 1e6, "us", 20.0)]
}

/// Calls with deadlines of 3 minutes, as the instance manager's clients set them: none of the deadlines may stay behind.
pub fn deadlines(scale: Scale) -> Vec<Figure> {
    let calls = scale.of(1_000_000);
    let grown = run(Options::new(1), async move {
        start_server(serve_grpc());
        let mut grpc = channel().await;
        let mut call_with_deadlines = async |count| {
            for _ in 0..count {
                timeout(Duration::from_secs(180), ping(&mut grpc)).await.expect("an answer in time");
            }
        };
        call_with_deadlines(calls / 20).await;
        let before = resident_mib();
        call_with_deadlines(calls).await;
        resident_mib() - before
    })
    .unwrap();
    vec![Figure::at_most(&format!("memory after {calls} calls with deadlines of 3 min"), grown, "MiB", 5.0)]
}
