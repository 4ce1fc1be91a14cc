//! What a channel makes of peers that die, fall silent or come back; simulated, since the times are long.

use std::future::pending;
use std::net::Ipv4Addr;
use std::time::Duration;

use corral_core::{Options, Signal, world};
use corral_net::{Net, PartitionSpec};
use host::net::TcpListener;
use host::time::{Instant, sleep};
use longhorn_rpc::ptypes::controller_service_client::ControllerServiceClient;
use longhorn_rpc::{Channel, ChannelOptions, Code, Status, serve};

use crate::support::{Volumes, snapshot, start};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

type Client = ControllerServiceClient<Channel>;

fn client(options: ChannelOptions) -> Client {
    ControllerServiceClient::new(Channel::with_options(format!("{SERVER}:9000"), options))
}

fn start_server() -> std::sync::Arc<corral_core::Process> {
    start("server", SERVER, async {
        let listener = TcpListener::bind((SERVER, 9000).into()).await.expect("a free port");
        serve(listener, Volumes::default().router()).await;
    })
}

/// Runs it under five seeds.
fn simulate<Fut>(function: fn() -> Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    for seed in 0..5 {
        corral_core::run(Options::new(seed), async move { function().await }).unwrap();
    }
}

async fn open_call(client: &Client) -> host::JoinHandle<(Status, Duration)> {
    let mut client = client.clone();
    let begun = Instant::now();
    let call = host::spawn(async move {
        let failure = client.volume_snapshot(snapshot(100_000)).await.expect_err("never done");
        (failure, begun.elapsed())
    });
    sleep(Duration::from_secs(1)).await;
    call
}

#[test]
fn a_killed_server_is_known_at_once() {
    simulate(|| async {
        let server = start_server();
        sleep(Duration::from_millis(10)).await;
        let client = client(ChannelOptions::default());
        let call = open_call(&client).await;
        world().signal(&server, Signal::Kill);
        let (failure, after) = call.await.expect("not a panic");
        assert_eq!(failure.code(), Code::Unavailable, "{failure}");
        assert!(after < Duration::from_secs(2), "{after:?}");
        start_server();
        sleep(Duration::from_millis(10)).await;
        client.clone().volume_get(()).await.expect("connected again without a pause: the connection had worked");
    });
}

#[test]
fn without_keepalive_a_partition_is_not_noticed_and_with_it_within_a_minute() {
    simulate(|| async {
        start_server();
        sleep(Duration::from_millis(10)).await;
        let plain = client(ChannelOptions::default());
        let probing = client(ChannelOptions::instance_manager());
        let plain_call = open_call(&plain).await;
        let probing_call = open_call(&probing).await;
        let net = Net::of(&world());
        let partition = net.partition(PartitionSpec::between(SERVER, corral_core::BODY_ADDRESS));
        let (failure, after) = probing_call.await.expect("not a panic");
        assert_eq!(failure.code(), Code::Unavailable, "{failure}");
        assert!(after > Duration::from_secs(15) && after < Duration::from_secs(60), "{after:?}");
        // It says so while it cannot connect, after a second an attempt.
        let begun = Instant::now();
        let failure = probing.clone().volume_get(()).await.expect_err("cut off");
        assert!(failure.message().contains("i/o timeout"), "{failure}");
        assert!(begun.elapsed() <= Duration::from_millis(1100), "{:?}", begun.elapsed());
        sleep(Duration::from_secs(600)).await;
        assert!(!plain_call.is_finished(), "the server never answers, and nothing tells the client");
        net.heal(partition);
        sleep(Duration::from_secs(130)).await;
        // The server's kernel had probed in vain and dropped the connection; the client hears of it when it sends.
        let failure = plain.clone().volume_get(()).await.expect_err("the old connection is of no use");
        assert_eq!(failure.code(), Code::Unavailable, "{failure}");
        assert_eq!(plain_call.await.expect("not a panic").0.code(), Code::Unavailable);
        plain.clone().volume_get(()).await.expect("connected again");
        probing.clone().volume_get(()).await.expect("connected again");
    });
}

#[test]
fn a_server_that_accepts_and_stays_silent_is_given_up_after_twenty_seconds() {
    simulate(|| async {
        start("server", SERVER, async {
            let listener = TcpListener::bind((SERVER, 9000).into()).await.expect("a free port");
            let _kept = listener.accept().await.expect("a connection");
            pending::<()>().await;
        });
        sleep(Duration::from_millis(10)).await;
        let begun = Instant::now();
        let failure = client(ChannelOptions::default()).volume_get(()).await.expect_err("no HTTP/2 there");
        assert_eq!(failure.code(), Code::Unavailable);
        assert_eq!(begun.elapsed().as_secs(), 20);
    });
}

#[test]
fn pauses_between_attempts_grow() {
    simulate(|| async {
        let mut client = client(ChannelOptions::default());
        let failure = client.volume_get(()).await.expect_err("no such machine");
        assert_eq!(failure.code(), Code::Unavailable, "{failure}");
        // After ten minutes the pause is near two minutes: a server that comes is found that late.
        sleep(Duration::from_secs(600)).await;
        start_server();
        let begun = Instant::now();
        while client.volume_get(()).await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
        assert!(begun.elapsed() < Duration::from_secs(145), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_seed_gives_the_same_run() {
    let digest = |seed| {
        let outcome = corral_core::run(Options::new(seed), async {
            let server = start_server();
            sleep(Duration::from_millis(10)).await;
            let client = client(ChannelOptions::default());
            for _ in 0..20 {
                client.clone().volume_get(()).await.expect("an answer");
            }
            let call = open_call(&client).await;
            world().signal(&server, Signal::Kill);
            call.await.expect("not a panic");
            for _ in 0..50 {
                let _ = client.clone().volume_get(()).await;
                sleep(Duration::from_secs(1)).await;
            }
        });
        outcome.digest
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}
