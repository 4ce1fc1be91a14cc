//! What the network's tests share: a small cluster, and processes in it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corral_core::{Attachments, MachineId, Nanos, Options, Outcome, Process, ProcessSpec, world};
use corral_net::{Net, TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The serving pod's address, and its port.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
pub const PORT: u16 = 9500;

pub fn server() -> SocketAddr {
    SocketAddr::from((SERVER, PORT))
}

/// Two machines; the body runs on a third.
pub struct Cluster {
    pub net: Arc<Net>,
    pub one: MachineId,
    pub two: MachineId,
}

pub fn cluster() -> Cluster {
    let world = world();
    Cluster { net: Net::of(&world), one: world.add_machine("one").id, two: world.add_machine("two").id }
}

/// Runs a body under seed 1 and gives its value.
pub fn run<F>(body: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    corral_core::run(Options::new(1), body).unwrap()
}

pub fn run_seed<F>(seed: u64, body: F) -> Outcome<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    corral_core::run(Options::new(seed), body)
}

pub fn pod(
    machine: MachineId,
    address: Ipv4Addr,
    name: &str,
    main: impl Future<Output = ()> + Send + 'static,
) -> Arc<Process> {
    let spec = ProcessSpec {
        name: name.into(),
        machine,
        address,
        hostname: name.into(),
        arguments: vec![name.into()],
        environment: BTreeMap::new(),
        attachments: Attachments::default(),
    };
    world().spawn_process(
        spec,
        Box::pin(async {
            main.await;
            0
        }),
    )
}

/// A pod that answers every connection with what it gets.
pub fn echo_server(machine: MachineId) -> Arc<Process> {
    pod(machine, SERVER, "echo", async {
        let listener = TcpListener::bind(server()).unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            world().spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                loop {
                    match stream.read(&mut buffer).await {
                        Ok(0) | Err(_) => return,
                        Ok(count) => {
                            if stream.write_all(&buffer[..count]).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            });
        }
    })
}

/// Sends some bytes and awaits their echo.
pub async fn echo(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    let mut answer = vec![0; bytes.len()];
    stream.read_exact(&mut answer).await?;
    assert_eq!(answer, bytes);
    Ok(())
}

pub async fn seconds(seconds: f64) {
    corral_core::sleep(Duration::from_secs_f64(seconds)).await;
}

pub fn now() -> Nanos {
    corral_core::now()
}

pub fn since(began: Nanos) -> f64 {
    now().since(began).as_secs_f64()
}

/// Asserts that something took between so many seconds.
#[track_caller]
pub fn assert_took(began: Nanos, low: f64, high: f64) {
    let took = since(began);
    assert!((low..=high).contains(&took), "took {took} s, expected {low} to {high}");
}

#[track_caller]
pub fn assert_kind<T: std::fmt::Debug>(result: io::Result<T>, kind: io::ErrorKind) {
    match result {
        Err(error) if error.kind() == kind => {}
        other => panic!("expected {kind:?}, got {other:?}"),
    }
}

/// Two connected streams: the client in the body's process, the server's end moved out of its own.
pub async fn connect() -> TcpStream {
    TcpStream::connect(server()).await.unwrap()
}
