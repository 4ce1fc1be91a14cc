//! The ways to go, as the other end of an established connection sees them.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::common::*;
use corral_core::{MachineState, Process, Signal, world};
use corral_net::{PartitionSpec, Selector, TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server that accepts one connection, writes "hello" and holds it without ever reading.
fn greeter(cluster: &Cluster) -> Arc<Process> {
    pod(cluster.one, SERVER, "greeter", async {
        let listener = TcpListener::bind(server()).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        std::future::pending::<()>().await;
    })
}

async fn greeted(cluster: &Cluster) -> (Arc<Process>, TcpStream) {
    let process = greeter(cluster);
    seconds(0.001).await;
    let stream = connect().await;
    seconds(0.1).await;
    (process, stream)
}

#[test]
fn after_a_killed_process_comes_what_it_sent_then_the_end_then_a_reset() {
    run(async {
        let cluster = cluster();
        let (process, mut stream) = greeted(&cluster).await;
        let began = now();
        world().signal(&process, Signal::Kill);
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"hello");
        assert_took(began, 0.0002, 0.01);
        // The first write still succeeds: nobody said that the other end does not listen.
        stream.write_all(b"x").await.unwrap();
        seconds(0.01).await;
        // Linux 6.18: after an end-of-file the reset is a broken pipe, and reads go on to see the end-of-file.
        assert_kind(stream.write(b"y").await, ErrorKind::BrokenPipe);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        drop(stream);
        assert_eq!(cluster.net.statistics().connections, 0);
    });
}

#[test]
fn unread_data_makes_the_end_a_reset_at_once() {
    run(async {
        let cluster = cluster();
        let (process, mut stream) = greeted(&cluster).await;
        stream.write_all(b"never read").await.unwrap();
        seconds(0.01).await;
        world().signal(&process, Signal::Kill);
        seconds(0.01).await;
        // Linux 6.18: what arrived before the reset can be read, then the error once, then the end.
        let mut buffer = [0; 16];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 5);
        assert_kind(stream.read(&mut buffer).await, ErrorKind::ConnectionReset);
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
        assert_kind(stream.write(b"z").await, ErrorKind::BrokenPipe);
        drop(stream);
        assert_eq!(cluster.net.statistics().connections, 0);
    });
}

#[test]
fn dropping_a_stream_and_returning_are_as_being_killed() {
    run(async {
        let cluster = cluster();
        let process = pod(cluster.one, SERVER, "brief", async {
            let listener = TcpListener::bind(server()).unwrap();
            let (mut first, _) = listener.accept().await.unwrap();
            first.write_all(b"first").await.unwrap();
            drop(first);
            let (mut second, _) = listener.accept().await.unwrap();
            second.write_all(&[2; 300_000]).await.unwrap();
        });
        seconds(0.001).await;
        let mut read = Vec::new();
        connect().await.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"first");
        let mut second = connect().await;
        seconds(1.0).await;
        // The process is gone; its kernel still sends what the window had no room for.
        assert!(!process.is_alive());
        read.clear();
        second.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, vec![2; 300_000]);
        drop(second);
        seconds(0.01).await;
        assert_eq!(cluster.net.statistics().connections, 0);
    });
}

#[test]
fn a_lost_machine_is_silence_until_retransmission_gives_up() {
    run(async {
        let cluster = cluster();
        let (_, mut stream) = greeted(&cluster).await;
        stream.read_exact(&mut [0; 5]).await.unwrap();
        world().set_machine_state(cluster.one, MachineState::Off);
        let idle = corral_core::sleep(Duration::from_secs(86_400));
        let mut byte = [0; 1];
        tokio::select! { biased;
            _ = stream.read(&mut byte) => panic!("an idle reader is told nothing"),
            _ = idle => {}
        }
        let began = now();
        stream.write_all(b"anybody?").await.unwrap();
        assert_kind(stream.read(&mut [0; 1]).await, ErrorKind::TimedOut);
        assert_took(began, 924.6, 924.7);
        assert_kind(stream.write(b"x").await, ErrorKind::BrokenPipe);
        drop(stream);
        assert_eq!(cluster.net.statistics().connections, 0);
    });
}

#[test]
fn a_machine_that_comes_back_answers_with_a_reset() {
    run(async {
        let cluster = cluster();
        let (_, mut stream) = greeted(&cluster).await;
        stream.read_exact(&mut [0; 5]).await.unwrap();
        world().set_machine_state(cluster.one, MachineState::Off);
        let began = now();
        stream.write_all(b"anybody?").await.unwrap();
        seconds(5.0).await;
        world().set_machine_state(cluster.one, MachineState::Running);
        assert_kind(stream.read(&mut [0; 1]).await, ErrorKind::ConnectionReset);
        // Sent again after 0.2, 0.6, 1.4, 3 and 6.2 s.
        assert_took(began, 6.2, 6.22);
    });
}

#[test]
fn a_user_timeout_is_shorter_patience() {
    run(async {
        let cluster = cluster();
        let (_, mut stream) = greeted(&cluster).await;
        stream.set_user_timeout(Some(Duration::from_secs(30)));
        stream.read_exact(&mut [0; 5]).await.unwrap();
        world().set_machine_state(cluster.one, MachineState::Off);
        let began = now();
        stream.write_all(b"anybody?").await.unwrap();
        assert_kind(stream.read(&mut [0; 1]).await, ErrorKind::TimedOut);
        assert_took(began, 30.0, 30.01);
    });
}

#[test]
fn through_a_frozen_machine_everything_comes_late() {
    run(async {
        let cluster = cluster();
        echo_server(cluster.one);
        seconds(0.001).await;
        let mut stream = connect().await;
        echo(&mut stream, b"warm").await.unwrap();
        world().set_machine_state(cluster.one, MachineState::Frozen);
        let began = now();
        let net = cluster.net.clone();
        world().queue().run_at(now() + Duration::from_secs(20), move || {
            assert!(net.statistics().retransmissions > 3, "a frozen machine acknowledges nothing");
        });
        let one = cluster.one;
        world().spawn(async move {
            seconds(20.0).await;
            world().set_machine_state(one, MachineState::Running);
        });
        echo(&mut stream, b"late").await.unwrap();
        // Sent again after 12.6 and 25.4 s.
        assert_took(began, 25.4, 25.42);
    });
}

#[test]
fn what_a_frozen_machine_had_sent_arrives_and_it_sends_the_rest_when_it_thaws() {
    run(async {
        let cluster = cluster();
        pod(cluster.one, SERVER, "writer", async {
            let listener = TcpListener::bind(server()).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..100 {
                stream.write_all(&[1; 10]).await.unwrap();
                seconds(0.1).await;
            }
        });
        seconds(0.001).await;
        let mut stream = connect().await;
        let mut read = vec![0; 100];
        stream.read_exact(&mut read).await.unwrap();
        world().set_machine_state(cluster.one, MachineState::Frozen);
        seconds(60.0).await;
        world().set_machine_state(cluster.one, MachineState::Running);
        let began = now();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.len(), 900);
        assert_took(began, 8.0, 9.3);
    });
}

#[test]
fn a_stopped_process_acknowledges_until_buffers_fill() {
    run(async {
        let cluster = cluster();
        let process = echo_server(cluster.one);
        seconds(0.001).await;
        let mut stream = connect().await;
        echo(&mut stream, b"warm").await.unwrap();
        world().signal(&process, Signal::Stop);
        let mut written = 0;
        loop {
            tokio::select! { biased;
                count = stream.write(&[3; 10_000]) => written += count.unwrap(),
                _ = seconds(100.0) => break,
            }
        }
        let settings = cluster.net.settings();
        assert_eq!(written, settings.send_buffer_bytes + settings.receive_buffer_bytes);
        // A closed window may stay closed for ever.
        seconds(86_400.0).await;
        assert_eq!(cluster.net.statistics().retransmissions, 0);
        world().signal(&process, Signal::Continue);
        let mut answer = vec![0; written];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, vec![3; written]);
    });
}

#[test]
fn a_deleted_pod_is_no_host_to_new_connections_and_silence_to_old_ones() {
    run(async {
        let cluster = cluster();
        let process = echo_server(cluster.one);
        seconds(0.001).await;
        let (mut before, mut after) = (connect().await, connect().await);
        echo(&mut before, b"warm").await.unwrap();
        echo(&mut after, b"warm").await.unwrap();
        // The kubelet kills, then takes the network away: who watches sees the end-of-file.
        world().signal(&process, Signal::Kill);
        assert_eq!(before.read(&mut [0; 1]).await.unwrap(), 0);
        seconds(0.01).await;
        cluster.net.remove_address(SERVER);
        let began = now();
        assert_kind(TcpStream::connect(server()).await, ErrorKind::HostUnreachable);
        assert_took(began, 3.0, 3.01);
        // Linux reports the soft error when retransmission gives up.
        let began = now();
        after.write_all(b"x").await.unwrap();
        seconds(1000.0).await;
        assert_took(began, 1000.0, 1000.01);
        assert_kind(after.write(b"y").await, ErrorKind::HostUnreachable);
        // The address comes back as another pod's: it knows nothing of old connections.
        cluster.net.add_address(SERVER, cluster.two);
        before.write_all(b"x").await.unwrap();
        seconds(0.01).await;
        assert_kind(before.write(b"y").await, ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_process_whose_address_is_gone_can_do_nothing() {
    run(async {
        let cluster = cluster();
        let outcome = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = outcome.clone();
        echo_server(cluster.one);
        let process = pod(cluster.two, Ipv4Addr::new(10, 0, 2, 1), "client", async move {
            seconds(0.001).await;
            let mut stream = connect().await;
            let listener = TcpListener::bind(([0, 0, 0, 0], 80).into()).unwrap();
            let (read, accepted) = {
                let mut byte = [0; 1];
                let (read, accepted) = tokio::join!(stream.read(&mut byte), listener.accept());
                (read.unwrap_err().kind(), accepted.unwrap_err().kind())
            };
            let again = TcpStream::connect(server()).await.unwrap_err().kind();
            let bound = TcpListener::bind(([0, 0, 0, 0], 81).into()).map(drop).unwrap_err().kind();
            *seen.lock().unwrap() = vec![read, accepted, again, bound];
        });
        seconds(1.0).await;
        cluster.net.remove_address(Ipv4Addr::new(10, 0, 2, 1));
        assert_eq!(process.wait().await.code(), 0);
        use ErrorKind::{NetworkUnreachable, NotConnected};
        assert_eq!(*outcome.lock().unwrap(), [NotConnected, NotConnected, NetworkUnreachable, NetworkUnreachable]);
    });
}

#[test]
fn an_end_of_file_that_a_partition_held_back_comes_after_it_or_never() {
    run(async {
        let cluster = cluster();
        let (process, mut stream) = greeted(&cluster).await;
        stream.read_exact(&mut [0; 5]).await.unwrap();
        let cut = cluster.net.partition(PartitionSpec::between(cluster.one, Selector::Any));
        world().signal(&process, Signal::Kill);
        let began = now();
        let net = cluster.net.clone();
        world().queue().run_at(now() + Duration::from_secs(10), move || assert!(net.heal(cut)));
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        assert_took(began, 12.6, 12.62);
        drop(stream);

        // After some 100 s the dead process's kernel has given up, and nobody tells.
        let (process, mut stream) = greeted(&cluster).await;
        stream.read_exact(&mut [0; 5]).await.unwrap();
        let cut = cluster.net.partition(PartitionSpec::between(cluster.one, Selector::Any));
        world().signal(&process, Signal::Kill);
        seconds(103.0).await;
        assert!(cluster.net.heal(cut));
        let mut byte = [0; 1];
        tokio::select! { biased;
            _ = stream.read(&mut byte) => panic!("silence expected"),
            _ = seconds(86_400.0) => {}
        }
        stream.write_all(b"anybody?").await.unwrap();
        assert_kind(stream.read(&mut byte).await, ErrorKind::ConnectionReset);
        drop(stream);
        assert_eq!(cluster.net.statistics().connections, 0);
    });
}

#[test]
fn what_a_dead_process_had_sent_into_a_partition_comes_after_it() {
    run(async {
        let cluster = cluster();
        let process = pod(cluster.one, SERVER, "writer", async {
            let listener = TcpListener::bind(server()).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            seconds(1.0).await;
            stream.write_all(&[5; 200_000]).await.unwrap();
            seconds(1.0).await;
        });
        seconds(0.001).await;
        let mut stream = connect().await;
        seconds(0.5).await;
        let cut = cluster.net.partition(PartitionSpec::one_way(cluster.one, Selector::Any));
        assert_eq!(process.wait().await.code(), 0);
        seconds(20.0).await;
        assert!(cluster.net.heal(cut));
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!(read.len(), 200_000);
    });
}

#[test]
fn a_reset_lost_in_a_partition_is_asked_for_again() {
    run(async {
        let cluster = cluster();
        let (process, mut stream) = greeted(&cluster).await;
        stream.write_all(b"never read").await.unwrap();
        stream.read_exact(&mut [0; 5]).await.unwrap();
        seconds(0.01).await;
        let cut = cluster.net.partition(PartitionSpec::between(cluster.one, Selector::Any));
        world().signal(&process, Signal::Kill);
        seconds(1.0).await;
        assert!(cluster.net.heal(cut));
        let mut byte = [0; 1];
        tokio::select! { biased;
            _ = stream.read(&mut byte) => panic!("a reset is not sent again by itself"),
            _ = seconds(1000.0) => {}
        }
        stream.write_all(b"x").await.unwrap();
        assert_kind(stream.read(&mut byte).await, ErrorKind::ConnectionReset);
    });
}

#[test]
fn the_handles_of_a_dead_process_do_nothing() {
    run(async {
        let cluster = cluster();
        let process = pod(cluster.one, SERVER, "two streams", async {
            let listener = TcpListener::bind(server()).unwrap();
            let (_one, _) = listener.accept().await.unwrap();
            let (_two, _) = listener.accept().await.unwrap();
            std::future::pending::<()>().await;
        });
        seconds(0.001).await;
        let (mut one, mut two) = (connect().await, connect().await);
        seconds(0.01).await;
        // Cut off, then killed: were the destructors of its streams to act, they would act now.
        world().signal(&process, Signal::Stop);
        world().set_machine_state(cluster.one, MachineState::Off);
        assert!(!process.is_alive());
        let (mut first, mut second) = ([0; 1], [0; 1]);
        tokio::select! { biased;
            _ = one.read(&mut first) => panic!("silence expected"),
            _ = two.read(&mut second) => panic!("silence expected"),
            _ = seconds(3600.0) => {}
        }
        assert_eq!(cluster.net.statistics().resets, 0);
        drop((one, two));
        // Their kernel tries to say goodbye, and gives up in its time.
        assert_eq!(cluster.net.statistics().connections, 2);
        seconds(103.0).await;
        assert_eq!(cluster.net.statistics().connections, 0);
    });
}

#[test]
fn a_dead_process_whose_reader_makes_no_room_is_given_up() {
    run(async {
        let cluster = cluster();
        let process = pod(cluster.one, SERVER, "writer", async {
            let listener = TcpListener::bind(server()).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&[5; 400_000]).await.unwrap();
        });
        seconds(0.001).await;
        let mut stream = connect().await;
        assert_eq!(process.wait().await.code(), 0);
        seconds(300.0).await;
        let mut read = vec![0; cluster.net.settings().receive_buffer_bytes];
        stream.read_exact(&mut read).await.unwrap();
        // "There is room again" meets a kernel that knows nothing of it.
        assert_kind(stream.read(&mut read).await, ErrorKind::ConnectionReset);
    });
}

#[test]
fn what_had_left_before_the_power_cut_arrives() {
    run(async {
        let cluster = cluster();
        pod(cluster.one, SERVER, "writer", async {
            let listener = TcpListener::bind(server()).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"last words").await.unwrap();
            let world = world();
            world.set_machine_state(world.machine_named("one").unwrap().id, MachineState::Off);
        });
        seconds(0.001).await;
        let mut stream = connect().await;
        let mut read = [0; 10];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"last words");
        let mut more = [0; 1];
        tokio::select! { biased;
            _ = stream.read(&mut more) => panic!("silence expected"),
            _ = seconds(86_400.0) => {}
        }
        drop(stream);
        seconds(103.0).await;
        assert_eq!(cluster.net.statistics().connections, 0);
    });
}
