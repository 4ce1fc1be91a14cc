//! The models' logs, where this program has other subscribers too.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::time::Duration;

use corral_core::journal::LogEntry;
use corral_core::{Attachments, Options, ProcessSpec, run, world};

/// Starts a process that says two things; gives what was collected from `INFO` up.
fn logs_of_a_process() -> Vec<LogEntry> {
    let body = async {
        let world = world();
        let machine = world.add_machine("m1");
        let spec = ProcessSpec {
            name: "speaker".into(),
            machine: machine.id,
            address: Ipv4Addr::new(10, 0, 0, 1),
            hostname: "speaker".into(),
            arguments: vec![],
            environment: BTreeMap::new(),
            attachments: Attachments::default(),
        };
        let speaker = world.spawn_process(
            spec,
            Box::pin(async {
                tracing::info!(answer = 42, "said");
                tracing::debug!("whispered");
                0
            }),
        );
        speaker.wait().await;
    };
    run(Options::new(1).logs(tracing::Level::INFO), body).logs
}

#[test]
fn what_others_want_is_not_collected() {
    // It wants everything, madsim's own events too: each subscriber is then asked at every event. Two runs that meet a call site for the first time at
    // the same moment are asked as well, and once one of them waited for itself for ever.
    let curious = tracing::Dispatch::new(tracing_subscriber::registry());
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::Builder::new().spawn(move || sender.send(logs_of_a_process())).unwrap();
    let logs = receiver.recv_timeout(Duration::from_secs(60)).expect("a run of a millisecond ends");
    thread.join().unwrap().unwrap();
    drop(curious);
    let lines: Vec<_> = logs.iter().map(|line| (line.name.as_str(), line.text.as_str())).collect();
    assert_eq!(lines, [("speaker", "said answer=42")]);
}
