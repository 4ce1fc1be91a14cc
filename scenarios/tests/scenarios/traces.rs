//! Our writes against those of the real controllers of v1.9.2, flow by flow: the same kinds, subresources, changed fields and order. What differs is
//! listed with its reason; a difference that is not listed fails, and so does a listed one that is gone.
//!
//! The flows are played with several seeds. An object that is written exactly as in the recording with one of them, but not with all, differs by the
//! order in which controllers come to it, and so does the order between two kinds: the recording is one of the outcomes that ours has, too.
//! What differs with every seed is what has to be explained (traces/known.rs). Where the recorded outcome is rare among ours, a set of seeds may be
//! without it: these races are listed with their reasons too, and need not be seen.
//!
//! The recordings (tests/traces/golden) hold what the managers, the garbage collector and the recording's client wrote; the values are left out.
//! Not compared, on either side:
//! - leases: how often they are renewed is a matter of time, not of the flow;
//! - secrets, and what carries certificates: there is no TLS in the simulation;
//! - Kubernetes' events: nobody in Longhorn reads them, so the models write none;
//! - requests that were refused or changed nothing: which attempt meets a conflict is a matter of milliseconds.

mod compare;
mod flows;
mod known;
#[path = "../../../models/manager/tests/it/common/trace.rs"]
#[allow(dead_code, reason = "shared with the manager's own tests, each uses some of it")]
mod trace;

use std::sync::LazyLock;

use corral_explore::in_parallel;

use self::flows::Played;
use self::known::Known;
use self::trace::{Golden, Write};
use crate::CORES;
use compare::Differences;

/// How many runs are compared with the one recording.
const SEEDS: u64 = 6;

static FIRST: LazyLock<Vec<Played>> = LazyLock::new(|| played(flows::first));
static SYSTEM_BACKUP: LazyLock<Vec<Played>> = LazyLock::new(|| played(flows::system_backup));

/// The other tests wait for these.
fn played(flow: fn(u64) -> Played) -> Vec<Played> {
    let seeds: Vec<u64> = (1..=SEEDS).collect();
    in_parallel(&seeds, CORES, |seed| flow(*seed))
}

/// Who is compared.
const ACTORS: [&str; 3] = ["longhorn-manager", "garbage-collector", "client"];
/// Kinds that are not, as the header says.
const LEFT_OUT: [&str; 6] = [
    "Lease",
    "Secret",
    "Event",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

fn compared(mut writes: Vec<Write>) -> Vec<Write> {
    for write in &mut writes {
        if write.actor == "test-client" {
            write.actor = "client".into();
        }
    }
    let is_compared =
        |write: &Write| ACTORS.contains(&write.actor.as_str()) && !LEFT_OUT.contains(&write.kind.as_str());
    writes.retain(|write| is_compared(write) && !write.changed.is_empty());
    writes
}

#[track_caller]
fn compare(played: &[Played], flow: &str, recording: &str, known: &[Known<'_>]) {
    let recorded = compared(Golden::read(recording).all());
    assert!(!recorded.is_empty());
    let runs: Vec<Differences> =
        played.iter().map(|run| Differences::between(&compared(run.writes(flow)), &recorded)).collect();
    let found = Differences::of_all(&runs);
    let races = known::RACES.iter().filter(|(of, _, _)| *of == flow).map(|(_, start, _)| *start);
    let starts: Vec<&str> = known.iter().map(|(start, _)| *start).chain(races).collect();
    let unexplained: Vec<&String> =
        found.iter().filter(|line| !starts.iter().any(|start| line.starts_with(start))).collect();
    let seen = |start: &str| runs.iter().flat_map(Differences::lines).any(|line| line.starts_with(start));
    let gone: Vec<&str> = known.iter().map(|(start, _)| *start).filter(|start| !seen(start)).collect();
    assert!(
        unexplained.is_empty() && gone.is_empty(),
        "{flow}\nunexplained: {unexplained:#?}\nlisted, and in no run any more: {gone:#?}"
    );
}

#[test]
fn install() {
    let settings = known::SETTINGS_NOT_MADE.map(|name| format!("Setting {name}: ours [], recorded [create "));
    let settings = settings.iter().map(|start| (start.as_str(), known::SETTING_NOT_MADE));
    let known: Vec<(&str, &str)> = known::INSTALL.iter().copied().chain(settings).collect();
    compare(&FIRST, "install", include_str!("traces/golden/install.json"), &known);
}

#[test]
fn volume() {
    compare(&FIRST, "volume", include_str!("traces/golden/volume.json"), known::VOLUME);
}

#[test]
fn backup_error() {
    compare(&FIRST, "backup-error", include_str!("traces/golden/backup-error.json"), known::BACKUP_ERROR);
}

#[test]
fn backup() {
    compare(&FIRST, "backup", include_str!("traces/golden/backup.json"), known::BACKUP);
}

#[test]
fn backup5() {
    compare(&FIRST, "backup5", include_str!("traces/golden/backup5.json"), known::BACKUP5);
}

#[test]
fn idle() {
    // Nothing was recorded in 96 s without a volume and a backup target.
    for run in FIRST.iter() {
        assert_eq!(compared(run.writes("idle")), []);
    }
    compare(&FIRST, "idle-attached", include_str!("traces/golden/idle-attached.json"), known::IDLE_ATTACHED);
}

#[test]
fn instance_manager_delete() {
    let recording = include_str!("traces/golden/instance-manager-delete.json");
    compare(&FIRST, "instance-manager-delete", recording, known::INSTANCE_MANAGER_DELETE);
}

#[test]
fn instance_manager_delete_attached() {
    let recording = include_str!("traces/golden/instance-manager-delete-attached.json");
    compare(&FIRST, "instance-manager-delete-attached", recording, known::INSTANCE_MANAGER_DELETE_ATTACHED);
}

#[test]
fn system_backup() {
    compare(&SYSTEM_BACKUP, "systembackup", include_str!("traces/golden/systembackup.json"), known::SYSTEM_BACKUP);
}

#[test]
fn what_differs_is_found() {
    let recorded = compared(Golden::read(include_str!("traces/golden/volume.json")).all());
    let none = Differences::between(&recorded, &recorded);
    assert_eq!(none.lines().count(), 0);
    let engine = recorded.iter().position(|write| write.kind == "Engine" && write.changed.len() > 2).unwrap();
    let changed = |change: fn(&mut Vec<Write>, usize)| {
        let mut ours = recorded.clone();
        change(&mut ours, engine);
        Differences::between(&ours, &recorded)
    };
    let changes = [
        changed(|ours, engine| drop(ours.remove(engine))),
        changed(|ours, engine| ours.insert(engine, ours[engine].clone())),
        changed(|ours, engine| drop(ours[engine].changed.pop())),
        changed(|ours, engine| ours[engine].subresource = "scale".into()),
        changed(|ours, engine| ours[engine].actor = "client".into()),
    ];
    for change in &changes {
        assert!(change.lines().any(|line| line.starts_with("Engine v1-e-0: ")), "{change:?}");
        let always = Differences::of_all(&[change.clone(), change.clone()]);
        assert!(always.iter().map(String::as_str).eq(change.lines()), "{always:?}");
        assert!(Differences::of_all(&[change.clone(), none.clone()]).is_empty(), "one run is as recorded");
    }
    let late = changed(|ours, engine| {
        let write = ours.remove(engine);
        ours.push(write);
    });
    assert!(late.lines().any(|line| line.starts_with("order: ")), "{late:?}");
}
