//! What a call gives, in both worlds.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use host::time::{Instant, sleep, timeout};
use longhorn_rpc::health::HealthCheckRequest;
use longhorn_rpc::health::health_check_response::ServingStatus;
use longhorn_rpc::health::health_client::HealthClient;
use longhorn_rpc::ptypes::controller_service_client::ControllerServiceClient;
use longhorn_rpc::ptypes::replica_service_client::ReplicaServiceClient;
use longhorn_rpc::{Channel, ChannelOptions, Code, Health, Identity, Request, Router, ServerKind, serve, serve_until};
use tokio::sync::oneshot;

use crate::support::{Volumes, in_both_worlds, listen, snapshot};

#[test]
fn a_call_is_answered_and_an_error_keeps_its_code_and_text() {
    in_both_worlds(|| async {
        let (listener, address) = listen().await;
        host::spawn(serve(listener, Volumes::default().router()));
        let mut client = ControllerServiceClient::new(Channel::new(format!("tcp://{address}")));
        let volume = client.volume_get(()).await.expect("an answer").into_inner();
        assert_eq!((volume.name.as_str(), volume.size), ("v1", 1 << 30));
        let bad = longhorn_rpc::ptypes::VolumeSnapshotRequest { name: "x y".to_owned(), ..Default::default() };
        let refusal = client.volume_snapshot(bad).await.expect_err("no number");
        assert_eq!((refusal.code(), refusal.message()), (Code::InvalidArgument, "x y is no number"));
    });
}

#[test]
fn methods_and_services_that_are_not_there_are_unimplemented() {
    in_both_worlds(|| async {
        let (listener, address) = listen().await;
        host::spawn(serve(listener, Volumes::default().router()));
        let channel = Channel::new(address);
        let missing = ControllerServiceClient::new(channel.clone()).metrics_get(()).await.expect_err("no such method");
        assert_eq!(missing.code(), Code::Unimplemented);
        let missing = ReplicaServiceClient::new(channel).replica_get(()).await.expect_err("no such service");
        assert_eq!((missing.code(), missing.message()), (Code::Unimplemented, "unknown service ptypes.ReplicaService"));
    });
}

#[test]
fn a_deadline_ends_the_call_and_not_the_handler() {
    in_both_worlds(|| async {
        let (listener, address) = listen().await;
        let volumes = Volumes::default();
        host::spawn(serve(listener, volumes.router()));
        let mut client = ControllerServiceClient::new(Channel::new(address).timeout(Duration::from_millis(300)));
        let begun = Instant::now();
        let late = client.volume_snapshot(snapshot(1)).await.expect_err("too slow");
        assert_eq!((late.code(), late.message()), (Code::DeadlineExceeded, "context deadline exceeded"));
        assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < Duration::from_millis(900));
        assert_eq!(volumes.snapshots_done.load(Ordering::SeqCst), 0);
        sleep(Duration::from_millis(1200)).await;
        assert_eq!(volumes.snapshots_done.load(Ordering::SeqCst), 1);
        // A time-out of the request's own, longer than the channel's: the shorter counts.
        let mut request = Request::new(snapshot(1));
        request.set_timeout(Duration::from_secs(60));
        assert_eq!(client.volume_snapshot(request).await.expect_err("too slow").code(), Code::DeadlineExceeded);
        client.volume_get(()).await.expect("the connection has not suffered");
    });
}

#[test]
fn a_stream_brings_what_happens_until_the_server_goes() {
    in_both_worlds(|| async {
        let (listener, address) = listen().await;
        let health = Health::new();
        let server = host::spawn(serve(listener, Router::new().health(&health)));
        let mut client = HealthClient::new(Channel::new(address));
        let mut stream = client.watch(HealthCheckRequest::default()).await.expect("a stream").into_inner();
        let mut next = async || stream.next().await.expect("not the end");
        assert_eq!(next().await.expect("the first").status(), ServingStatus::Serving);
        health.set_serving(false);
        assert_eq!(next().await.expect("the second").status(), ServingStatus::NotServing);
        server.abort();
        assert_eq!(next().await.expect_err("broken off").code(), Code::Unavailable);
    });
}

#[test]
fn a_server_that_goes_fails_the_open_call_and_the_next_reaches_its_successor() {
    in_both_worlds(|| async {
        let (listener, address) = listen().await;
        let bound = listener.local_addr().expect("a bound listener");
        let server = host::spawn(serve(listener, Volumes::default().router()));
        let channel = Channel::new(address);
        let mut client = ControllerServiceClient::new(channel.clone());
        client.volume_get(()).await.expect("an answer");
        let mut other = client.clone();
        let open = host::spawn(async move { other.volume_snapshot(snapshot(20)).await });
        sleep(Duration::from_millis(100)).await;
        server.abort();
        let failure = open.await.expect("not a panic").expect_err("the server is gone");
        assert_eq!(failure.code(), Code::Unavailable, "{failure}");
        let refused = client.volume_get(()).await.expect_err("nobody listens");
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.message().contains("connect: connection refused"), "{refused}");
        let listener = host::net::TcpListener::bind(bound).await.expect("the port is free again");
        host::spawn(serve(listener, Volumes::default().router()));
        // Fails at once while the channel pauses (one second), and waits if asked to.
        assert_eq!(client.volume_get(()).await.expect_err("still pausing").code(), Code::Unavailable);
        let mut patient = ControllerServiceClient::new(channel.wait_for_ready().timeout(Duration::from_secs(10)));
        patient.volume_get(()).await.expect("connected again");
        client.volume_get(()).await.expect("connected again");
    });
}

#[test]
fn calls_for_another_volume_or_instance_are_refused() {
    in_both_worlds(|| async {
        let (listener, address) = listen().await;
        let router = Volumes::default().router().identity(ServerKind::Controller, Identity::new("v1", "v1-e-0"));
        host::spawn(serve(listener, router));
        let ask = async |volume, instance| {
            let options = ChannelOptions::default().identity(Identity::new(volume, instance));
            let answer =
                ControllerServiceClient::new(Channel::with_options(address.clone(), options)).volume_get(()).await;
            answer.map(|_| ()).map_err(|status| (status.code(), status.message().to_owned()))
        };
        assert_eq!(ask("", "").await, Ok(()));
        assert_eq!(ask("v1", "").await, Ok(()));
        assert_eq!(ask("v1", "v1-e-0").await, Ok(()));
        let refusal = |text: &str| Err((Code::FailedPrecondition, text.to_owned()));
        assert_eq!(ask("v2", "v1-e-0").await, refusal("incorrect volume name v2; check controller address"));
        assert_eq!(ask("v1", "v1-e-1").await, refusal("incorrect instance name v1-e-1; check controller address"));
    });
}

#[test]
fn a_graceful_stop_lets_open_calls_end() {
    in_both_worlds(|| async {
        let (listener, address) = listen().await;
        let (stop, stopped) = oneshot::channel::<()>();
        let server = host::spawn(serve_until(listener, Volumes::default().router(), async move {
            let _ = stopped.await;
        }));
        let client = ControllerServiceClient::new(Channel::new(address));
        let mut other = client.clone();
        let open = host::spawn(async move { other.volume_snapshot(snapshot(1)).await });
        sleep(Duration::from_millis(200)).await;
        stop.send(()).expect("the server listens");
        sleep(Duration::from_millis(200)).await;
        let refused = client.clone().volume_get(()).await.expect_err("no new calls");
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        assert_eq!(open.await.expect("not a panic").expect("finished").into_inner().name, "1");
        timeout(Duration::from_secs(5), server).await.expect("nothing is open").expect("not a panic");
    });
}

#[test]
fn a_dropped_channel_closes_its_connection() {
    in_both_worlds(|| async {
        let (listener, address) = listen().await;
        let (stop, stopped) = oneshot::channel::<()>();
        let server = host::spawn(serve_until(listener, Volumes::default().router(), async move {
            let _ = stopped.await;
        }));
        let mut client = ControllerServiceClient::new(Channel::new(address));
        client.volume_get(()).await.expect("an answer");
        drop(client);
        sleep(Duration::from_millis(200)).await;
        stop.send(()).expect("the server listens");
        timeout(Duration::from_secs(5), server).await.expect("nothing is open").expect("not a panic");
    });
}

#[test]
fn garbage_on_the_port_harms_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    in_both_worlds(|| async {
        let (listener, address) = listen().await;
        host::spawn(serve(listener, Volumes::default().router()));
        for garbage in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 5000], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x01\x04zzzz"]
        {
            let mut stream =
                host::net::TcpStream::connect(address.parse().expect("an address")).await.expect("a connection");
            stream.write_all(garbage).await.expect("room in the buffers");
            let mut answer = Vec::new();
            let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
            assert!(read.is_ok(), "the server hangs up on {:?}", &garbage[..10]);
        }
        ControllerServiceClient::new(Channel::new(address)).volume_get(()).await.expect("still serving");
    });
}
