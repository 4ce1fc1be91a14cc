//! Whatever the sizes, pauses and faults: bytes arrive once, in order and all of them on a connection that stays up; on one that does not,
//! what arrives is a beginning of what was sent, and who keeps it alive is told.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::*;
use corral_core::{Latency, MachineState, Process, Signal, world};
use corral_net::{DegradationSpec, Keepalive, PartitionSpec, Selector, TcpListener, TcpStream};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Clone, Copy, Debug)]
enum Fault {
    Partition,
    CutThere,
    CutBack,
    Loss(u64),
    Slow,
    Narrow,
    FreezeServer,
    StopServer,
    FreezeClient,
    StopClient,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    KillServer,
    PowerCut,
    RemoveAddress,
}

/// What one side does: writes of these sizes, reads of at most these, with pauses.
#[derive(Clone, Debug)]
struct Part {
    writes: Vec<usize>,
    reads: Vec<usize>,
    pauses_ms: Vec<u64>,
}

fn part() -> impl Strategy<Value = Part> {
    let size = || prop_oneof![1..100usize, 100..5_000usize, 5_000..400_000usize];
    // Some reads are large: a million reads of one byte teach nothing that thousands do not.
    let reads = vec(size(), 0..4).prop_map(|mut reads| {
        reads.push(20_000);
        reads
    });
    (vec(size(), 0..12), reads, vec(prop_oneof![3 => Just(0u64), 1 => 0..500u64], 1..5))
        .prop_map(|(writes, reads, pauses_ms)| Part { writes, reads, pauses_ms })
}

fn fault() -> impl Strategy<Value = (Fault, u64, u64)> {
    let kind = prop_oneof![
        Just(Fault::Partition),
        Just(Fault::CutThere),
        Just(Fault::CutBack),
        (2..200u64).prop_map(Fault::Loss),
        Just(Fault::Slow),
        Just(Fault::Narrow),
        Just(Fault::FreezeServer),
        Just(Fault::StopServer),
        Just(Fault::FreezeClient),
        Just(Fault::StopClient),
    ];
    (kind, 1..3_000u64, prop_oneof![0..50u64, 0..20_000u64])
}

fn pattern(position: usize, salt: u8) -> u8 {
    (position.wrapping_mul(0x9E37_79B1) >> 13) as u8 ^ salt
}

/// Plays one side; gives what it read, up to the end of the stream or an error.
async fn play(stream: TcpStream, part: Part, salt: u8) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let pauses = part.pauses_ms.clone();
    let writing = async move {
        let mut position = 0;
        for (index, size) in part.writes.iter().enumerate() {
            corral_core::sleep(Duration::from_millis(pauses[index % pauses.len()])).await;
            let bytes: Vec<u8> = (position..position + size).map(|position| pattern(position, salt)).collect();
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
            position += size;
        }
        let _ = writer.shutdown().await;
    };
    let reading = async move {
        let mut all = Vec::new();
        for index in 0.. {
            corral_core::sleep(Duration::from_millis(part.pauses_ms[index % part.pauses_ms.len()] / 10)).await;
            let mut buffer = vec![0; part.reads[index % part.reads.len()]];
            match reader.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => all.extend_from_slice(&buffer[..count]),
            }
        }
        all
    };
    tokio::join!(writing, reading).1
}

fn strike(cluster: &Cluster, processes: [&Arc<Process>; 2], fault: Fault, at_ms: u64, for_ms: u64) {
    let (net, one, two) = (cluster.net.clone(), cluster.one, cluster.two);
    let [client, server] = processes.map(Arc::clone);
    world().spawn(async move {
        corral_core::sleep(Duration::from_millis(at_ms)).await;
        let lasts = Duration::from_millis(for_ms);
        let cut = |spec| net.partition(spec);
        let degrade = |extra_latency, loss, bandwidth_bytes_per_second| {
            net.degrade(DegradationSpec {
                scope: PartitionSpec::between(one, Selector::Any),
                extra_latency,
                loss,
                bandwidth_bytes_per_second,
            })
        };
        let partition = match fault {
            Fault::Partition => Some(cut(PartitionSpec::between(one, Selector::Any))),
            Fault::CutThere => Some(cut(PartitionSpec::one_way(Selector::Any, one).port(PORT))),
            Fault::CutBack => Some(cut(PartitionSpec::one_way(SERVER, Selector::Any))),
            _ => None,
        };
        let degradation = match fault {
            Fault::Loss(one_in) => Some(degrade(Latency::ZERO, (1, one_in), None)),
            Fault::Slow => {
                Some(degrade(Latency::heavy(Duration::from_millis(5), Duration::from_millis(50)), (0, 1), None))
            }
            Fault::Narrow => Some(degrade(Latency::ZERO, (0, 1), Some(1_000_000))),
            _ => None,
        };
        match fault {
            Fault::FreezeServer => world().set_machine_state(one, MachineState::Frozen),
            Fault::FreezeClient => world().set_machine_state(two, MachineState::Frozen),
            Fault::StopServer => world().signal(&server, Signal::Stop),
            Fault::StopClient => world().signal(&client, Signal::Stop),
            _ => {}
        }
        corral_core::sleep(lasts).await;
        partition.map(|id| net.heal(id));
        degradation.map(|id| net.restore(id));
        match fault {
            Fault::FreezeServer => world().set_machine_state(one, MachineState::Running),
            Fault::FreezeClient => world().set_machine_state(two, MachineState::Running),
            Fault::StopServer => world().signal(&server, Signal::Continue),
            Fault::StopClient => world().signal(&client, Signal::Continue),
            _ => {}
        }
    });
}

/// Runs both parts under faults; gives what client and server read, and the digest.
fn meet(
    seed: u64,
    parts: [Part; 2],
    faults: Vec<(Fault, u64, u64)>,
    fate: Option<(Fate, u64)>,
) -> ([Vec<u8>; 2], u128) {
    let outcome = run_seed(seed, async move {
        let cluster = cluster();
        let [client_part, server_part] = parts;
        let read: Arc<Mutex<[Vec<u8>; 2]>> = Arc::default();
        let slot = read.clone();
        let server_process = pod(cluster.one, SERVER, "server", async move {
            let listener = TcpListener::bind(server()).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_keepalive(Some(Keepalive::GO));
            let bytes = play(stream, server_part, 0x55).await;
            slot.lock().unwrap()[1] = bytes;
        });
        let slot = read.clone();
        let client_process = pod(cluster.two, Ipv4Addr::new(10, 0, 2, 1), "client", async move {
            seconds(0.001).await;
            let stream = connect().await;
            stream.set_keepalive(Some(Keepalive::GO));
            seconds(0.01).await;
            let bytes = play(stream, client_part, 0xAA).await;
            slot.lock().unwrap()[0] = bytes;
        });
        seconds(0.005).await;
        for (fault, at_ms, for_ms) in faults {
            strike(&cluster, [&client_process, &server_process], fault, at_ms, for_ms);
        }
        if let Some((fate, at_ms)) = fate {
            let (net, one, process) = (cluster.net.clone(), cluster.one, server_process.clone());
            world().queue().run_at(now() + Duration::from_millis(at_ms), move || match fate {
                Fate::KillServer => world().signal(&process, Signal::Kill),
                Fate::PowerCut => world().set_machine_state(one, MachineState::Off),
                Fate::RemoveAddress => net.remove_address(SERVER),
            });
        }
        let began = now();
        assert_eq!(client_process.wait().await.code(), 0);
        assert!(since(began) < 2_000.0);
        if fate.is_none() {
            assert_eq!(server_process.wait().await.code(), 0);
        }
        seconds(1_200.0).await;
        assert_eq!(cluster.net.statistics().connections, 0, "{:?}", cluster.net.statistics());
        std::mem::take(&mut *read.lock().unwrap())
    });
    let digest = outcome.digest;
    (outcome.unwrap(), digest)
}

fn sent(part: &Part, salt: u8) -> Vec<u8> {
    (0..part.writes.iter().sum()).map(|position| pattern(position, salt)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn bytes_arrive_once_in_order_and_all(
        seed in any::<u64>(), client in part(), server in part(), faults in vec(fault(), 0..5)
    ) {
        let (read, digest) = meet(seed, [client.clone(), server.clone()], faults.clone(), None);
        prop_assert!(read[0] == sent(&server, 0x55), "{} of {} bytes", read[0].len(), sent(&server, 0x55).len());
        prop_assert!(read[1] == sent(&client, 0xAA), "{} of {} bytes", read[1].len(), sent(&client, 0xAA).len());
        // The same again is the same again.
        prop_assert_eq!(meet(seed, [client, server], faults, None).1, digest);
    }

    #[test]
    fn what_a_dying_peer_leaves_is_a_beginning(
        seed in any::<u64>(), client in part(), server in part(), faults in vec(fault(), 0..3),
        fate in prop_oneof![Just(Fate::KillServer), Just(Fate::PowerCut), Just(Fate::RemoveAddress)],
        at_ms in 0..4_000u64,
    ) {
        // A power cut ends a freeze; a machine must not thaw after it.
        let faults: Vec<_> = faults.into_iter().filter(|(fault, ..)| !matches!(fault, Fault::FreezeServer)).collect();
        let (read, _) = meet(seed, [client.clone(), server.clone()], faults, Some((fate, at_ms)));
        prop_assert!(sent(&server, 0x55).starts_with(&read[0]));
        prop_assert!(sent(&client, 0xAA).starts_with(&read[1]));
    }
}
