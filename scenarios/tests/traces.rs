//! Our writes against those of the real controllers of v1.9.2, flow by flow: the same kinds, subresources, changed fields and order. What differs is
//! listed with its reason; a difference that is not listed fails, and so does a listed one that is gone.
//!
//! The recordings (tests/traces/golden) hold what the managers, the garbage collector and the recording's client wrote; the values are left out.
//! Not compared, on either side:
//! - leases: how often they are renewed is a matter of time, not of the flow;
//! - secrets, and what carries certificates: there is no TLS in the simulation;
//! - Kubernetes' events: nobody in Longhorn reads them, so the models write none;
//! - requests that were refused or changed nothing: which attempt meets a conflict is a matter of milliseconds.

#[path = "traces/compare.rs"]
mod compare;
#[path = "traces/flows.rs"]
mod flows;
#[path = "traces/known.rs"]
mod known;
#[path = "../../models/manager/tests/it/common/trace.rs"]
#[allow(dead_code, reason = "shared with the manager's own tests, each uses some of it")]
mod trace;

use std::sync::LazyLock;

use flows::Played;
use known::Known;
use trace::{Golden, Write};

static FIRST: LazyLock<Played> = LazyLock::new(flows::first);
static SYSTEM_BACKUP: LazyLock<Played> = LazyLock::new(flows::system_backup);

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
fn compare(played: &Played, flow: &str, recording: &str, known: &[Known<'_>]) {
    let ours = compared(played.writes(flow));
    let recorded = compared(Golden::read(recording).all());
    assert!(!recorded.is_empty());
    let found = compare::differences(&ours, &recorded);
    let unexplained: Vec<&String> =
        found.iter().filter(|line| !known.iter().any(|(start, _)| line.starts_with(start))).collect();
    let gone: Vec<&str> = known.iter().map(|(start, _)| *start).collect();
    let gone: Vec<&str> = gone.into_iter().filter(|start| !found.iter().any(|line| line.starts_with(start))).collect();
    assert!(
        unexplained.is_empty() && gone.is_empty(),
        "{flow}\nunexplained: {unexplained:#?}\nlisted, and not there any more: {gone:#?}"
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
