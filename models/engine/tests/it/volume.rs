//! A volume over three replicas: reading and writing, losing replicas, starting with bad ones.

use bytes::Bytes;
use corral_core::journal::End;
use corral_core::{MachineState, Signal, world};
use host::time::Instant;
use longhorn_engine::BlockDevice;
use longhorn_replica::format::{Directory, Replica};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::{Cluster, SIZE, VOLUME, device, output, pattern, pause, simulated, task};

#[test]
fn what_is_written_is_on_every_replica() {
    simulated(|| async {
        let cluster = Cluster::new(3);
        let engine = cluster.up("").await;
        cluster
            .user(|task| async move {
                let device = device().await;
                assert_eq!(device.size(), SIZE);
                for (block, content) in pattern(1, 0..300) {
                    device.write_at(block * 4096, content.into()).await.expect("written");
                }
                device.write_at(100, Bytes::from_static(b"odd")).await.expect("written");
                task.create_snapshot("one", [("a".to_owned(), "b".to_owned())].into(), false).await.expect("taken");
                for (block, content) in pattern(2, 200..400) {
                    device.write_at(block * 4096, content.into()).await.expect("written");
                }
                for (block, content) in pattern(1, 1..200) {
                    assert_eq!(device.read_at(block * 4096, 4096).await.expect("read"), content);
                }
                assert_eq!(device.read_at(100, 3).await.expect("read"), b"odd"[..]);
                assert_eq!(device.read_at(SIZE - 4096, 4096).await.expect("read"), vec![0; 4096]);
                let error = device.read_at(SIZE, 4096).await.expect_err("beyond the end").to_string();
                assert_eq!(error, format!("EOF: Read of 4096 bytes at offset {SIZE} is beyond volume size {SIZE}"));
                let snapshots = task.snapshots().await.expect("a list");
                assert_eq!(snapshots.keys().collect::<Vec<_>>(), ["one", "volume-head"]);
                assert_eq!(snapshots["one"].labels["a"], "b");
            })
            .await;
        world().signal(&engine, Signal::Terminate);
        assert_eq!(engine.wait().await, End::Exited(0));
        let mut contents = Vec::new();
        for machine in &cluster.machines {
            let content = machine.run(|| async {
                let directory = Directory::new("/replicas/r");
                let replica = Replica::open(&directory, 0, Default::default()).await.expect("closed in order");
                let mut content = vec![0; SIZE as usize];
                replica.read_at(&mut content, 0).await.expect("readable");
                let snapshot = Replica::open_snapshot(&directory, "one").await.expect("a snapshot");
                let mut before = vec![0; SIZE as usize];
                snapshot.read_at(&mut before, 0).await.expect("readable");
                (content, before)
            });
            contents.push(content.await);
        }
        for (number, content) in pattern(2, 200..400) {
            assert_eq!(contents[0].0[number as usize * 4096..][..4096], content);
        }
        for (number, content) in pattern(1, 200..300) {
            assert_eq!(contents[0].1[number as usize * 4096..][..4096], content);
        }
        assert!(contents.iter().all(|content| *content == contents[0]));
    });
}

#[test]
fn a_volume_lives_as_long_as_one_replica_does() {
    simulated(|| async {
        let cluster = Cluster::new(3);
        cluster.up("").await;
        let write = |value: u8| {
            move |_| async move {
                let began = Instant::now();
                device().await.write_at(4096, vec![value; 4096].into()).await.map(|()| began.elapsed().as_secs())
            }
        };
        assert_eq!(cluster.user(write(1)).await.expect("written"), 0);
        cluster.kill(&cluster.replicas[0]);
        assert_eq!(cluster.user(write(2)).await.expect("written"), 0);
        pause(3).await;
        assert!(cluster.modes().await[0].ends_with("ERR"));
        // One falls silent: the engine waits its eight seconds.
        world().set_machine_state(cluster.machines[1].id, MachineState::Off);
        let took = cluster.user(write(3)).await.expect("written");
        assert!((8..=10).contains(&took), "{took} s");
        let modes = cluster.modes().await;
        assert!(modes[1].ends_with("ERR") && modes[2].ends_with("RW"), "{modes:?}");
        let read = cluster.user(|_| async { device().await.read_at(4096, 4096).await }).await;
        assert_eq!(read.expect("read"), vec![3; 4096]);
        cluster.kill(&cluster.replicas[2]);
        pause(3).await;
        let error = cluster.user(write(4)).await.expect_err("nobody is left");
        assert_eq!(error.to_string(), "no backend available");
        let refused = cluster.user(|task| async move { task.create_snapshot("late", Default::default(), false).await });
        assert!(refused.await.expect_err("nobody is left").to_string().contains("cannot get an valid result"));
    });
}

#[test]
fn an_engine_without_a_good_replica_says_so_and_ends() {
    simulated(|| async {
        let cluster = Cluster::new(2);
        pause(1).await;
        // Nobody is there.
        for process in &cluster.replicas {
            cluster.kill(process);
        }
        let engine = cluster.start_engine(&[0, 1], "");
        assert_eq!(engine.wait().await, End::Exited(1), "{}", output(&engine));
        assert!(output(&engine).contains("no available backend due to service unavailable"), "{}", output(&engine));
        // Somebody is there, and is of another size.
        let process = cluster.machines[0]
            .longhorn("replica /replicas/other --size 8m --disableRevCounter --listen 0.0.0.0:10100");
        pause(1).await;
        let engine = cluster.start_engine(&[0], "");
        assert_eq!(engine.wait().await, End::Exited(61), "{}", output(&engine));
        assert!(output(&engine).contains("no available backend due to replica error"), "{}", output(&engine));
        cluster.kill(&process);
        let engine = cluster.start_engine(&[0, 0], "");
        assert_eq!(engine.wait().await, End::Exited(1));
        assert!(output(&engine).contains("duplicate replica addresses"), "{}", output(&engine));
    });
}

#[test]
fn calls_meant_for_others_are_refused() {
    simulated(|| async {
        let cluster = Cluster::new(1);
        cluster.up("").await;
        let error = cluster.user(|_| async {
            let other = longhorn_engine::task::Task::new("10.1.0.1:10000", "another", "");
            other.volume().await.expect_err("another volume").to_string()
        });
        let error = error.await;
        assert!(error.contains("code = FailedPrecondition desc = incorrect volume name another"), "{error}");
    });
}

#[test]
fn salvage_takes_the_replica_that_was_written_last() {
    simulated(|| async {
        let cluster = Cluster::new(2);
        let engine = cluster.up("").await;
        let write = |block: u64| {
            move |_| async move {
                device().await.write_at(block * 4096, vec![7; 4096].into()).await.expect("written");
            }
        };
        cluster.user(write(0)).await;
        cluster.kill(&cluster.replicas[0]);
        pause(10).await;
        cluster.user(write(1)).await;
        cluster.kill(&engine);
        cluster.kill(&cluster.replicas[1]);
        pause(1).await;
        cluster.start_replica(0, "r", "");
        cluster.start_replica(1, "r", "");
        cluster.up("--salvageRequested").await;
        let modes = cluster.modes().await;
        assert!(modes[0].ends_with("ERR") && modes[1].ends_with("RW"), "{modes:?}");
    });
}

#[test]
fn going_back_needs_the_frontend_down() {
    simulated(|| async {
        let cluster = Cluster::new(2);
        cluster.up("").await;
        cluster
            .user(|task| async move {
                let opened = device().await;
                opened.write_at(0, vec![1; 4096].into()).await.expect("written");
                task.create_snapshot("one", Default::default(), false).await.expect("taken");
                opened.write_at(0, vec![2; 4096].into()).await.expect("written");
                let error = task.revert("one").await.expect_err("in use").to_string();
                assert!(error.contains("volume frontend enabled, aborting snapshot revert"), "{error}");
                task.controller().volume_frontend_shutdown(()).await.expect("down");
                opened.write_at(0, vec![3; 4096].into()).await.expect_err("the device is gone");
                let error = task.revert("none").await.expect_err("no such snapshot").to_string();
                assert!(error.contains("target snapshot none is not found"), "{error}");
                task.revert("one").await.expect("reverted");
                let frontend = "tgt-blockdev".to_owned();
                let start = longhorn_rpc::ptypes::VolumeFrontendStartRequest { frontend };
                let volume = task.controller().volume_frontend_start(start).await.expect("up").into_inner();
                assert_eq!((volume.frontend_state.as_str(), volume.endpoint.as_str()), ("up", "/dev/longhorn/vol-1"));
                assert_eq!(device().await.read_at(0, 4096).await.expect("read"), vec![1; 4096]);
            })
            .await;
    });
}

#[test]
fn a_volume_can_grow_while_it_is_used() {
    simulated(|| async {
        let cluster = Cluster::new(2);
        cluster.up("").await;
        cluster
            .user(|task| async move {
                device().await.write_at(SIZE - 4096, vec![1; 4096].into()).await.expect("written");
                let expand = |size: i64| {
                    let mut controller = task.controller();
                    async move { controller.volume_expand(longhorn_rpc::ptypes::VolumeExpandRequest { size }).await }
                };
                expand(SIZE as i64 / 2).await.expect_err("smaller");
                expand(2 * SIZE as i64).await.expect("begun");
                while task.volume().await.expect("a volume").is_expanding {
                    host::time::sleep(std::time::Duration::from_millis(10)).await;
                }
                let volume = task.volume().await.expect("a volume");
                assert_eq!((volume.size, volume.last_expansion_error.as_str()), (2 * SIZE as i64, ""));
                let device = device().await;
                assert_eq!(device.size(), 2 * SIZE);
                device.write_at(2 * SIZE - 4096, vec![2; 4096].into()).await.expect("written");
                assert_eq!(
                    device.read_at(SIZE - 4096, 8192).await.expect("read"),
                    [vec![1; 4096], vec![0; 4096]].concat()
                );
                let snapshots = task.snapshots().await.expect("a list");
                assert_eq!(snapshots["expand-33554432"].labels["replica-expansion"], "33554432");
            })
            .await;
    });
}

#[test]
fn the_device_speaks_as_the_real_engines_socket() {
    simulated(|| async {
        let cluster = Cluster::new(2);
        // The recorded volume had 1 MiB.
        for process in &cluster.replicas {
            cluster.kill(process);
        }
        for machine in &cluster.machines {
            machine.longhorn(&format!(
                "--volume-name {VOLUME} replica /replicas/small --size 1m --disableRevCounter --listen 0.0.0.0:10100"
            ));
        }
        pause(1).await;
        let replicas = "--replica tcp://10.1.0.10:10100 --replica tcp://10.1.0.11:10100";
        cluster.engine_machine.longhorn(&format!(
            "controller {VOLUME} --frontend socket --disableRevCounter --size 1m --current-size 1m {replicas} --listen 0.0.0.0:10000"
        ));
        pause(2).await;
        cluster.user(|_| async { replay().await }).await;
    });
}

async fn replay() {
    let text = include_str!("../../../replica/tests/golden/frontend-socket-transcript.txt");
    let file = host::fs::read("/var/run/longhorn-vol-1.sock").await.expect("a socket");
    let address = std::str::from_utf8(&file).expect("text").split(' ').next().expect("an address").parse();
    let mut stream = host::net::TcpStream::connect(address.expect("an address")).await.expect("connected");
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let decode = |hex: &str| -> Vec<u8> {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex")).collect()
    };
    while let (Some(request), Some(answer)) = (lines.next(), lines.next()) {
        let header = decode(request.split(' ').nth(1).expect("a header"));
        let length = u32::from_le_bytes(header[22..26].try_into().expect("four bytes")) as usize;
        stream.write_all(&[header, vec![b'A'; length]].concat()).await.expect("sent");
        let expected = decode(answer.split(' ').nth(1).expect("a header"));
        let mut header = [0; 26];
        stream.read_exact(&mut header).await.expect("an answer");
        assert_eq!(header.as_slice(), expected, "{request}");
        let mut data = vec![0; u32::from_le_bytes(header[22..26].try_into().expect("four bytes")) as usize];
        stream.read_exact(&mut data).await.expect("its data");
        if header[6] == 3 {
            let said = answer.rsplit_once("b'").expect("a text").1.trim_end_matches('\'');
            assert_eq!(String::from_utf8_lossy(&data), said);
        }
    }
}

#[test]
fn garbage_on_every_port_ends_nothing() {
    simulated(|| async {
        let cluster = Cluster::new(1);
        let engine = cluster.up("").await;
        cluster
            .user(|_| async {
                for (address, port) in
                    [("10.1.0.10", 10_100), ("10.1.0.10", 10_101), ("10.1.0.10", 10_102), ("10.1.0.1", 10_000)]
                {
                    let at = format!("{address}:{port}").parse().expect("an address");
                    let mut stream = host::net::TcpStream::connect(at).await.expect("connected");
                    let _ = stream.write_all(&[0xff; 5000]).await;
                }
                host::time::sleep(std::time::Duration::from_secs(1)).await;
                let task = task();
                assert_eq!(task.replicas().await.expect("a list").len(), 1);
                let missing = longhorn_rpc::ptypes::ReplicaAddress {
                    address: "tcp://1.2.3.4:5".to_owned(),
                    ..Default::default()
                };
                task.controller().replica_prepare_rebuild(missing).await.expect_err("no such replica");
                device().await.write_at(0, vec![1; 4096].into()).await.expect("written");
            })
            .await;
        assert!(engine.is_alive() && cluster.replicas[0].is_alive());
    });
}
