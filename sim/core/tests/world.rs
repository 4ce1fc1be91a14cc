//! What a run promises: it repeats itself, ends cleanly, and its processes die as processes do.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use corral_core::journal::{End, Event};
use corral_core::{Attachments, Failure, Fork, MachineState, Nanos, Options, ProcessSpec, Signal, run, sleep, world};

fn spec(machine: corral_core::MachineId, name: &str) -> ProcessSpec {
    ProcessSpec {
        name: name.into(),
        machine,
        address: Ipv4Addr::new(10, 0, 0, 1),
        hostname: name.into(),
        arguments: vec![name.into()],
        environment: BTreeMap::new(),
        attachments: Attachments::default(),
    }
}

async fn busy() {
    let world = world();
    let machine = world.add_machine("m1");
    let mut random = world.stream("test");
    let mut children = Vec::new();
    for index in 0..20 {
        let pause = Duration::from_micros(random.between(1, 5000));
        children.push(world.spawn_process(
            spec(machine.id, &format!("p{index}")),
            Box::pin(async move {
                for _ in 0..10 {
                    sleep(pause).await;
                    corral_core::world().record(Event::Note { text: "tick".into() });
                }
                index
            }),
        ));
    }
    for child in children {
        child.wait().await;
    }
}

#[test]
fn the_same_seed_is_the_same_run_alone_and_in_company() {
    let first = run(Options::new(7), busy());
    let company: Vec<_> = (0..2)
        .map(|_| std::thread::Builder::new().spawn(|| run(Options::new(7), busy()).digest).unwrap())
        .map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(company, [first.digest, first.digest]);
    assert_ne!(run(Options::new(8), busy()).digest, first.digest);
}

/// Draws and says what it drew, once a millisecond.
async fn gamble() {
    let world = world();
    let mut random = world.stream("test");
    for round in 0..100 {
        sleep(Duration::from_millis(1)).await;
        let (old, new) = (random.next_u64(), world.stream(&format!("round {round}")).next_u64());
        world.record(Event::Note { text: format!("{old} {new}").into() });
    }
}

#[test]
fn a_fork_is_the_same_run_up_to_its_time_and_another_from_there_on() {
    let journal = |options: Options| {
        let journal = run(options.keep_journal(), gamble()).journal.unwrap();
        let told = |record: corral_core::journal::Record<'_>| (record.at, format!("{:?}", record.event));
        journal.iter().map(told).collect::<Vec<_>>()
    };
    let at = Nanos(50_500_000);
    let own = journal(Options::new(3));
    let fork = |number| journal(Options::new(3).fork(Fork { at, number }));
    let forks = [fork(0), fork(1)];
    for fork in &forks {
        let parted = own.iter().zip(fork).position(|(own, other)| own != other).expect("it is another run");
        assert!(own[parted].0 >= at, "parted at {}", own[parted].0);
        let later = own.iter().zip(fork).skip(parted).filter(|(own, other)| own.1 == other.1);
        assert_eq!(later.filter(|(own, _)| own.1.starts_with("Note")).count(), 0, "old streams and new ones draw anew");
    }
    assert_ne!(forks[0], forks[1]);
    assert_eq!(forks[0], fork(0));
}

#[test]
fn the_last_event_is_a_draw_of_the_schedule() {
    let outcome = run(Options::new(1).keep_journal(), busy());
    let journal = outcome.journal.unwrap();
    assert_eq!(journal.digest(), outcome.digest);
    assert!(matches!(journal.iter().next_back().unwrap().event, Event::ScheduleDraw { .. }));
    // One poll more is enough to be another run.
    let longer = run(Options::new(1), async {
        busy().await;
        sleep(Duration::from_nanos(1)).await;
    });
    assert_ne!(longer.digest, outcome.digest);
}

#[test]
fn time_is_exact_and_abandoned_timers_leave_nothing() {
    let outcome = run(Options::new(1), async {
        let world = world();
        let began = world.now();
        sleep(Duration::from_micros(15)).await;
        let took = world.now().since(began);
        assert!(took >= Duration::from_micros(15) && took < Duration::from_micros(17), "{took:?}");
        for _ in 0..100_000 {
            let long = sleep(Duration::from_secs(60));
            tokio::select! { biased;
                _ = long => unreachable!(),
                _ = std::future::ready(()) => {}
            }
        }
        assert!(world.queue().len() < 3);
    });
    assert!(outcome.ended_at < Nanos(1_000_000_000));
    outcome.unwrap();
}

#[test]
fn processes_end_by_return_signal_panic_and_power_cut() {
    run(Options::new(1), async {
        let world = world();
        let machine = world.add_machine("m1");
        let sleeper = || {
            Box::pin(async {
                sleep(Duration::from_secs(3600)).await;
                0
            })
        };
        let returns = world.spawn_process(spec(machine.id, "returns"), Box::pin(async { 7 }));
        assert_eq!(returns.wait().await, End::Exited(7));
        let killed = world.spawn_process(spec(machine.id, "killed"), sleeper());
        sleep(Duration::from_millis(1)).await;
        world.signal(&killed, Signal::Kill);
        assert_eq!(killed.wait().await, End::Killed);
        let panics = world.spawn_process(spec(machine.id, "panics"), Box::pin(async { panic!("on purpose") }));
        assert_eq!(panics.wait().await, End::Panicked);
        assert_eq!(End::Panicked.code(), 2);
        let polite = world.spawn_process(
            spec(machine.id, "polite"),
            Box::pin(async {
                let me = corral_core::world().current_process().unwrap();
                me.terminated().await;
                3
            }),
        );
        sleep(Duration::from_millis(1)).await;
        world.signal(&polite, Signal::Terminate);
        assert_eq!(polite.wait().await, End::Exited(3));
        let lost = world.spawn_process(spec(machine.id, "lost"), sleeper());
        world.set_machine_state(machine.id, MachineState::Off);
        assert_eq!(lost.wait().await, End::MachineLost);
        assert_eq!(world.processes().len(), 1, "only the body is left");
    })
    .unwrap();
}

#[test]
fn nothing_that_comes_after_a_panic_pays_for_it() {
    run(Options::new(1), async {
        let world = world();
        let machine = world.add_machine("m1");
        for _ in 0..3 {
            let panics = world.spawn_process(spec(machine.id, "panics"), Box::pin(async { panic!("on purpose") }));
            assert_eq!(panics.wait().await, End::Panicked);
            sleep(Duration::from_millis(1)).await;
            // madsim restarts what panicked within ten seconds.
            let other = world.spawn_process(
                spec(machine.id, "other"),
                Box::pin(async {
                    sleep(Duration::from_secs(20)).await;
                    7
                }),
            );
            let end = tokio::select! { biased;
                end = other.wait() => Some(end),
                () = sleep(Duration::from_secs(30)) => None,
            };
            assert_eq!(end, Some(End::Exited(7)));
        }
    })
    .unwrap();
}

#[test]
fn a_frozen_machine_does_everything_late() {
    run(Options::new(1), async {
        let world = world();
        let machine = world.add_machine("m1");
        let process = world.spawn_process(
            spec(machine.id, "p"),
            Box::pin(async {
                sleep(Duration::from_secs(1)).await;
                0
            }),
        );
        sleep(Duration::from_millis(1)).await;
        world.set_machine_state(machine.id, MachineState::Frozen);
        sleep(Duration::from_secs(5)).await;
        assert!(process.is_alive());
        world.set_machine_state(machine.id, MachineState::Running);
        assert_eq!(process.wait().await, End::Exited(0));
    })
    .unwrap();
}

#[test]
fn a_panicking_body_is_reported_with_its_message() {
    let outcome = run(Options::new(1), async {
        assert_eq!(1 + 1, 3, "arithmetic");
    });
    match outcome.value {
        Err(Failure::Panicked { message, location }) => {
            assert!(message.contains("arithmetic"), "{message}");
            assert!(location.contains("world.rs"), "{location}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_left_to_happen_is_said_and_not_waited_for() {
    let outcome = run(Options::new(1), std::future::pending::<()>());
    assert!(matches!(outcome.value, Err(Failure::Simulator(_))), "{:?}", outcome.value);
}
