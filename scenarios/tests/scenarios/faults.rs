//! Faults that no recorded race needs: what Longhorn promises holds under each of them, and each is felt.

use std::time::Duration;

use corral_explore::in_parallel;
use corral_scenarios::catalogue;
use corral_world::{Arm, DiskAccess, Fault, PlannedFault, RunOptions, Verdict};

use crate::CORES;

/// One volume with replicas on three machines, in use for five minutes; the fault strikes in the midst of that.
fn used_under(fault: Option<&Fault>) -> Verdict {
    let scenario = catalogue().scenario("volume-life").expect("it is there");
    let set = [("machines", "3"), ("volumes", "1"), ("backups", "0"), ("faults", "0")];
    let set = set.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let mut plan = scenario.expand(SEED, &Arm { set, ..Arm::default() }).expect("parameters that exist");
    let planned = |fault: &Fault| PlannedFault { on: None, after: Duration::from_secs(100), fault: fault.clone() };
    plan.faults = fault.map(planned).into_iter().collect();
    let options = RunOptions { keep_objects: true, ..RunOptions::default() };
    corral_world::run(scenario, &Arm::default(), SEED, Some(plan), options).expect("a plan that can be")
}

/// Draws three replicas.
const SEED: u64 = 3;

/// Whether the engine ever lost a replica.
fn loses_a_replica(verdict: &Verdict) -> bool {
    let objects = verdict.objects.as_ref().expect("they were asked for");
    let engines = objects.versions().iter().filter(|version| &*version.resource == "engines.longhorn.io");
    let modes = engines.map(|version| {
        let engine: serde_json::Value = serde_json::from_slice(&version.record.bytes).expect("JSON");
        engine["status"]["replicaModeMap"].to_string()
    });
    modes.into_iter().any(|modes| modes.contains("ERR"))
}

#[test]
fn volumes_live_through_bad_disks_and_links() {
    let lasts = Duration::from_secs(20);
    let (machine, path) = ("worker-2".to_owned(), "longhorn/**".to_owned());
    let (of, on) = (|| machine.clone(), || path.clone());
    let errors = |only| Fault::DiskErrors { lasts, machine: of(), path: on(), only };
    let extra = Duration::from_millis(200);
    // And whether the machine's replica is lost by it.
    let faults = [
        (Some(errors(Some(DiskAccess::Reads))), true),
        (Some(errors(Some(DiskAccess::Writes))), true),
        (Some(Fault::DiskReadOnly { lasts, machine: of(), path: on() }), true),
        (Some(Fault::DiskStalls { lasts, machine: of(), path: on() }), true),
        (Some(Fault::DiskFull { lasts, machine: of(), path: on() }), true),
        (Some(Fault::SlowDisk { lasts, machine: of(), path: on(), extra }), false),
        (Some(Fault::SlowLink { lasts, from: of(), to: String::new(), extra }), false),
        (Some(Fault::LossyLink { lasts, from: of(), to: String::new(), one_in: 20 }), false),
        (None, false),
    ];
    let verdicts = in_parallel(&faults, CORES, |(fault, _)| used_under(fault.as_ref()));
    let unharmed = verdicts.last().map(|verdict| verdict.digest.clone());
    for ((fault, loses), verdict) in faults.iter().zip(&verdicts) {
        assert!(verdict.passed(), "{fault:?}: {:?}", verdict.violations);
        assert_eq!(verdict.idle_faults, [""; 0], "{fault:?}");
        assert_eq!(loses_a_replica(verdict), *loses, "{fault:?}");
        assert_eq!(fault.is_some(), Some(&verdict.digest) != unharmed.as_ref(), "{fault:?}: it is not felt");
    }
}
