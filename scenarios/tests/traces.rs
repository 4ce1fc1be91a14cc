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
#[path = "../../models/manager/tests/it/common/trace.rs"]
#[allow(dead_code, reason = "shared with the manager's own tests, each uses some of it")]
mod trace;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use flows::Played;
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
    writes.retain(|write| ACTORS.contains(&write.actor.as_str()) && !LEFT_OUT.contains(&write.kind.as_str()));
    writes
}

/// A difference that is known, and why there is one.
type Known = (&'static str, &'static str);

#[track_caller]
fn compare(played: &Played, flow: &str, recording: &str, known: &[Known]) {
    let ours = compared(played.writes(flow));
    let recorded = compared(Golden::read(recording).all());
    assert!(!recorded.is_empty() || flow.starts_with("idle"));
    let found = compare::differences(&ours, &recorded);
    let known: BTreeSet<String> = known.iter().map(|(line, _)| (*line).to_owned()).collect();
    let unexplained: Vec<&String> = found.difference(&known).collect();
    let gone: Vec<&String> = known.difference(&found).collect();
    assert!(
        unexplained.is_empty() && gone.is_empty(),
        "{flow}\nunexplained: {unexplained:#?}\nlisted, and not there any more: {gone:#?}"
    );
}

#[test]
fn install() {
    compare(&FIRST, "install", include_str!("traces/golden/install.json"), &[]);
}

#[test]
fn volume() {
    compare(&FIRST, "volume", include_str!("traces/golden/volume.json"), &[]);
}

#[test]
fn backup_error() {
    compare(&FIRST, "backup-error", include_str!("traces/golden/backup-error.json"), &[]);
}

#[test]
fn backup() {
    compare(&FIRST, "backup", include_str!("traces/golden/backup.json"), &[]);
}

#[test]
fn backup5() {
    compare(&FIRST, "backup5", include_str!("traces/golden/backup5.json"), &[]);
}

#[test]
fn idle_attached() {
    compare(&FIRST, "idle-attached", include_str!("traces/golden/idle-attached.json"), &[]);
}

#[test]
fn instance_manager_delete_attached() {
    let recording = include_str!("traces/golden/instance-manager-delete-attached.json");
    compare(&FIRST, "instance-manager-delete-attached", recording, &[]);
}

#[test]
fn instance_manager_delete() {
    compare(&FIRST, "instance-manager-delete", include_str!("traces/golden/instance-manager-delete.json"), &[]);
}

#[test]
fn system_backup() {
    compare(&SYSTEM_BACKUP, "systembackup", include_str!("traces/golden/systembackup.json"), &[]);
}
