//! Small runs and a small night, built in code: for the tests, and for the pages that people and the browser test look at.

use corral_core::Nanos;
use corral_core::journal::{Change, End, Event, FaultPhase, Header, Journal, JournalFile, LogEntry, Read};
use corral_reports::{Files, Finding, Night};

/// A name that no page may take at its word.
pub const HOSTILE: &str = "</script><img src=x onerror=alert(1)>'\"&\u{2028}${1}<!--";

const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;

/// What a run is made with.
#[derive(Clone, Copy)]
pub struct Story<'a> {
    /// Name of the volume that all is about.
    pub volume: &'a str,
    /// Whether the controller acts on what it had read too long ago, and damage comes of it.
    pub fails: bool,
    /// How many rounds of reconciles there are before.
    pub rounds: u64,
}

impl Story<'static> {
    /// A run that fails.
    pub const FAILS: Story<'static> = Story { volume: "vol-1", fails: true, rounds: 3 };
    /// Its twin that passes.
    pub const PASSES: Story<'static> = Story { volume: "vol-1", fails: false, rounds: 3 };
}

struct Run {
    journal: Journal,
    at: u64,
    version: u64,
    logs: Vec<LogEntry>,
}

impl Run {
    fn record(&mut self, process: u32, cause: u64, event: Event<'_>) -> u64 {
        self.at += MILLI / 10;
        self.journal.record(Nanos(self.at), process, cause, event)
    }

    fn write(&mut self, verb: &str, kind: &str, name: &str, changed: &[(&str, &str)]) -> u64 {
        self.version += 1;
        let event = Event::ApiWrite {
            verb: verb.into(),
            kind: kind.into(),
            subresource: "".into(),
            namespace: "ns".into(),
            name: name.into(),
            uid: format!("uid-{name}").into(),
            resource_version: self.version,
            deleting: verb == "update" && changed.iter().any(|(field, _)| *field == "metadata.deletionTimestamp"),
            client: "manager".into(),
            content: u64::MAX,
        };
        let sequence = self.record(2, 0, event);
        self.journal.note_changes(sequence, || {
            let change = |(field, value): &(&str, &str)| Change { field: (*field).into(), value: (*value).into() };
            changed.iter().map(change).collect()
        });
        sequence
    }

    fn request(&mut self, verb: &str, kind: &str, name: &str, code: u16, reads: Vec<Read<'_>>) -> u64 {
        let event = Event::ApiRequest {
            verb: verb.into(),
            kind: kind.into(),
            subresource: "".into(),
            name: format!("ns/{name}").into(),
            code,
            resource_version: if code < 300 { self.version } else { 0 },
            within: format!("volume-controller {name}").into(),
            reads,
        };
        self.record(3, 0, event)
    }

    fn phase(&mut self, name: &str) {
        self.record(1, 0, Event::Phase { name: name.into() });
    }

    fn fault(&mut self, phase: FaultPhase) {
        let event = Event::Fault { kind: "slow-api".into(), target: "all clients".into(), phase };
        self.record(0, 0, event);
    }

    /// A fault that is over at once.
    fn kill(&mut self, process: u32, pod: &str) {
        self.at += MILLI / 10;
        let target = format!("ns/{pod}*");
        let fault = Event::Fault { kind: "kill-process".into(), target: target.into(), phase: FaultPhase::Once };
        for event in [fault, Event::ProcessEnded { process, end: End::Killed }] {
            self.journal.record(Nanos(self.at), 0, 0, event);
        }
    }
}

/// The process and where it runs.
fn began(process: u32, name: &str, machine: &str) -> Event<'static> {
    let address = [10, 0, 0, process as u8];
    Event::ProcessBegan { process, name: name.to_owned().into(), machine: machine.to_owned().into(), address }
}

/// A run: machines, a client, a controller, faults; a backup of the volume, and what became of it.
pub fn run(story: Story<'_>) -> JournalFile {
    let Story { volume, fails, rounds } = story;
    let mut run = Run { journal: Journal::new(true), at: 0, version: 0, logs: Vec::new() };
    for machine in ["control-plane", "worker-1"] {
        run.record(0, 0, Event::Machine { name: machine.into(), state: "running".into() });
    }
    run.record(0, 0, began(1, "corral", "control-plane"));
    run.record(1, 0, Event::RunBegan { seed: u64::MAX, what: "sample".into() });
    run.record(1, 0, began(2, "kube-apiserver", "control-plane"));
    run.record(1, 0, began(3, "ns/manager-x7/manager", "worker-1"));
    run.record(1, 0, began(4, "ns/manager-x7/manager:tool", "worker-1"));
    run.record(1, 0, began(5, "ns/manager-y8/manager", "worker-1"));
    run.phase("set-up");
    run.write("create", "Lease", "leader", &[("spec.holder", "manager-x7")]);
    run.write("create", "Volume", volume, &[("spec.size", "16Mi"), ("metadata.name", volume)]);
    run.request("create", "Volume", volume, 201, Vec::new());
    let seen = run.version;
    for round in 0..rounds {
        run.at += SECOND * 2;
        run.write("update", "Lease", "leader", &[("spec.renewTime", "now")]);
        run.request("update", "Lease", "leader", 200, Vec::new());
        run.record(3, 0, Event::Connected { to: "10.0.0.2:6443".into(), outcome: "ok".into() });
        let state = format!("state-{round}");
        run.write("update", "Volume", volume, &[("status.state", &state)]);
        let read = Read {
            kind: "Volume".into(),
            name: format!("ns/{volume}").into(),
            resource_version: run.version - 2,
            age_ns: SECOND,
            cached: true,
        };
        run.request("update", "Volume", volume, 200, vec![read]);
    }
    run.phase("workload");
    run.record(1, 0, Event::Step { what: format!("backup of {volume}").into(), outcome: "asked for".into() });
    run.at += SECOND;
    run.fault(FaultPhase::Begins);
    run.record(0, 0, Event::Probe { name: "fault-while-used".into() });
    let created =
        run.write("create", "Backup", "backup-1", &[("metadata.ownerReferences", &format!("Volume/{volume}"))]);
    let called = Event::Call {
        method: "exec tool backup --volume v".into(),
        peer: "s3://bucket".into(),
        outcome: if fails { "DeadlineExceeded".into() } else { "ok".into() },
        took_ns: 300 * MILLI,
        within: format!("volume-controller {volume}").into(),
        reads: Vec::new(),
    };
    run.at += SECOND;
    let call = run.record(3, created, called);
    let stored = Event::StoreOperation {
        verb: "put".into(),
        key: format!("bucket/{volume}/b").into(),
        bytes: 57,
        code: 200,
        client: "here/store-user/main".into(),
    };
    run.record(2, call, stored);
    run.record(3, 0, Event::Executed { command: "tool backup".into(), code: 1, took_ns: 300 * MILLI });
    run.record(0, 0, Event::ProcessEnded { process: 4, end: End::Exited(1) });
    run.kill(5, "manager-y8");
    run.logs.push(LogEntry {
        at: Nanos(run.at),
        process: 3,
        name: "ns/manager-x7/manager".into(),
        level: "WARN".into(),
        text: format!("backup of {volume} took long"),
    });
    if fails {
        let read = Read {
            kind: "Volume".into(),
            name: format!("ns/{volume}").into(),
            resource_version: seen,
            age_ns: 3 * SECOND,
            cached: true,
        };
        run.write("update", "Backup", "backup-1", &[("metadata.deletionTimestamp", "now")]);
        run.request("delete", "Backup", "backup-1", 200, vec![read]);
        // The last finalizer goes, and the object with it: the answer has the version that was there before.
        let marked = run.version;
        run.write("delete", "Backup", "backup-1", &[]);
        run.version = marked;
        let read = Read {
            kind: "Backup".into(),
            name: "ns/backup-1".into(),
            resource_version: marked,
            age_ns: SECOND,
            cached: true,
        };
        run.request("update", "Backup", "backup-1", 200, vec![read]);
        run.version = marked + 1;
        run.record(
            2,
            0,
            Event::ApiRefused {
                verb: "update".into(),
                kind: "Backup".into(),
                name: "ns/backup-1".into(),
                code: 409,
                reason: "Conflict".into(),
                client: "manager".into(),
            },
        );
        run.record(
            3,
            0,
            Event::Hazard {
                name: "acted-on-a-stale-read".into(),
                object: format!("Volume {volume}").into(),
                detail: "had read version 2, stored was 5".into(),
            },
        );
        run.at += SECOND;
        run.record(
            1,
            0,
            Event::Violation {
                oracle: "backups-are-kept".into(),
                signature: "backup * is gone".into(),
                detail: format!("backup-1 of {volume} is gone").into(),
            },
        );
    }
    run.fault(FaultPhase::Ends);
    run.phase("settle");
    run.at += SECOND;
    // The run is over; its teardown kills whoever is left.
    for process in 1..=3 {
        run.journal.record(Nanos(run.at), 0, 0, Event::ProcessEnded { process, end: End::Killed });
    }
    run.journal.record(Nanos(run.at), 0, 0, Event::ScheduleDraw { value: u64::MAX });
    file(run, story)
}

fn file(run: Run, story: Story<'_>) -> JournalFile {
    let kept = run.journal.take_kept().expect("it was asked for");
    let records: Vec<_> = kept.iter().collect();
    let changes = records.iter().map(|record| (record.sequence, kept.changes(record.sequence).to_vec()));
    let arm = if story.fails { "v1" } else { "v2" };
    JournalFile {
        header: Header {
            version: Header::VERSION,
            title: format!("sample of {}, {arm}", story.volume),
            reproduce: format!("corral run sample --release {arm}"),
            commit: "abc".into(),
            toolchain: "1".into(),
            digest: "0".repeat(32),
            ended_at: Nanos(run.at),
            run: serde_json::json!({
                "scenario": "sample", "seed": 7, "arm": { "release": arm },
                "plan": {
                    "cluster": { "machines": 1 },
                    "step": [{ "do": { "backup": { "volume": story.volume } } }],
                    "fault": [{ "after": "1s", "do": { "slow-api": { "for": "2s" } } }],
                },
            }),
        },
        changes: changes.filter(|(_, changes)| !changes.is_empty()).collect(),
        records,
        logs: run.logs,
    }
}

/// A night with two findings; the second was shown by more runs.
pub fn night() -> Night {
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let rare = Finding {
        oracle: "operations-end".into(),
        signature: "SystemBackup waits: *".into(),
        detail: "SystemBackup sb-1 is in CreatingBackups since 2 min and nothing works on it".into(),
        scenario: "system-backup".into(),
        seed: 12,
        arm: "v1.8.1".into(),
        at_ns: 332_704_000_000,
        runs: 3,
        examples: lines(&["system-backup 12", "system-backup 96"]),
        story: "A system backup never ends. It waits for a backup whose upload was begun before it was deleted.".into(),
        removed: lines(&["fault: slow-store", "2 steps of 9"]),
        attribution: lines(&["passes with cure 10740", "fails with lock-wait=0s too"]),
        divergence: lines(&["4m02.100000s  Backup b: created here, found there"]),
        chain: lines(&["4m01.000000s  phase: workload", "5m32.704000s  operations-end: SystemBackup sb-1"]),
        reproduce: lines(&["corral replay seeds/10740.toml"]),
        also: Vec::new(),
        decided_ns: Some((241_000_000_000, 242_100_000_000)),
        is_deterministic: true,
        files: Files {
            seed: "10740.toml".into(),
            journal: "10740.jsonl".into(),
            report: "10740.html".into(),
            twin: Some("10740 twin.jsonl".into()),
        },
    };
    let frequent = Finding {
        oracle: "acknowledged-writes-are-readable".into(),
        signature: "block of vol-* lost".into(),
        detail: "block 7 of vol-1 reads zeros; it was written and acknowledged".into(),
        scenario: "volume-life".into(),
        seed: 4,
        arm: "v1.9.2".into(),
        at_ns: 61_000_000_000,
        runs: 41,
        story: "An acknowledged write is lost with its machine's power: the replica answers before it syncs.".into(),
        examples: lines(&["volume-life 4"]),
        removed: Vec::new(),
        attribution: Vec::new(),
        divergence: Vec::new(),
        chain: lines(&[
            "1m00.000000s  machine worker-2 is off",
            "1m01.000000s  vol-1: block 7 reads zeros \u{1b}[31m<b>",
        ]),
        reproduce: lines(&["corral run volume-life --seed 4", "SEED=4 cargo test volume_life"]),
        also: Vec::new(),
        decided_ns: None,
        is_deterministic: true,
        files: Files { seed: "c3.toml".into(), journal: "c3.jsonl".into(), report: "c3.html".into(), twin: None },
    };
    Night {
        version: Night::VERSION,
        title: "Fuzz run of v1.9.2, 20 November".into(),
        commit: "abc".into(),
        toolchain: "1.95.0".into(),
        machine: "AMD EPYC, 8 cores".into(),
        arm: "v1.9.2".into(),
        seeds: lines(&["0..1000"]),
        scenarios: lines(&["volume-life", "system-backup", "upgrade"]),
        runs: 3000,
        failed: 44,
        simulated_seconds: 1_234_567.0,
        real_seconds: 1_830.5,
        events: 31_000_000,
        coverage: 512,
        findings: vec![rare, frequent],
    }
}
