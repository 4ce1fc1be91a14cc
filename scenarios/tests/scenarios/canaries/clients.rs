//! What a client of the cluster meets.

use corral_scenarios::catalogue;
use corral_scenarios::oracles::{ClientMeetsNoUnexpectedError, ClientsAreServed, RestoredVolumesHoldTheirData};
use corral_world::{Arm, Oracle, RunOptions, Verdict, run};

/// `backup-cleanup` under a fault: the teardown of three backups, with a client that takes "not found" for done.
fn teardown(fault: &str) -> Verdict {
    let scenario = catalogue().scenario("backup-cleanup").unwrap();
    let set = [("machines", "1"), ("volumes", "1"), ("backups", "3"), ("faults", "0")];
    let arm = Arm { set: set.map(|(key, value)| (key.to_owned(), value.to_owned())).into(), ..Arm::default() };
    let mut plan = scenario.expand(1, &arm).unwrap();
    // The last step alone: backups are there, and are deleted at the Kubernetes API.
    plan.steps.retain(|step| !step.action.to_string().contains("backupstore-cleanup"));
    plan.faults.push(toml::from_str(fault).unwrap());
    run(scenario, &Arm::default(), 1, Some(plan), RunOptions::default()).unwrap()
}

/// What the client finds there under a fault of its own requests.
fn found_by_the_client(fault: &str) -> Vec<String> {
    let verdict = teardown(&format!("on = {{ api = \"create\", kind = \"Backup\", nth = 3 }}\ndo = {fault}"));
    verdict.violations.into_iter().map(|violation| format!("{}: {}", violation.oracle, violation.signature)).collect()
}

#[test]
fn a_trigger_counts_objects_that_are_to_be_deleted_and_not_what_is_written_to_them() {
    let is_idle = |nth: u32| {
        let on = format!("on = {{ api = \"deleting\", kind = \"Backup\", nth = {nth} }}");
        let verdict = teardown(&format!("{on}\ndo = {{ slow-store = {{ for = \"1s\", per-operation = \"10ms\" }} }}"));
        !verdict.idle_faults.is_empty()
    };
    assert_eq!([3, 4].map(is_idle), [false, true]);
}

#[test]
fn the_tolerant_client_still_fails_on_what_is_no_absence() {
    let oracle = ClientMeetsNoUnexpectedError.name();
    for code in [403, 500] {
        let found = found_by_the_client(&format!(
            r#"{{ api-errors = {{ for = "1h", code = {code}, client = "test-client" }} }}"#
        ));
        assert!(found.iter().any(|one| one.starts_with(oracle)), "{code}: {found:?}");
    }
    let lost = found_by_the_client(r#"{ api-loses-answers = { for = "1h", client = "test-client" } }"#);
    assert!(lost.iter().any(|one| one.starts_with(oracle)), "{lost:?}");
    assert!(found_by_the_client(r#"{ slow-store = { for = "1s", per-operation = "10ms" } }"#).is_empty());
}

/// What a scenario finds when its client does these steps, on one machine.
fn found_with_steps(scenario: &str, steps: &[&str]) -> Vec<String> {
    let steps = steps.iter().map(|step| format!("[[step]]\ndo = {{ {step} }}\n"));
    let plan = toml::from_str(&format!("cluster.machines = 1\n{}", steps.collect::<String>())).unwrap();
    let found = catalogue().scenario(scenario).unwrap();
    let verdict = run(found, &Arm::default(), 1, Some(plan), RunOptions::default()).unwrap();
    verdict.violations.into_iter().map(|violation| format!("{}: {}", violation.oracle, violation.signature)).collect()
}

#[test]
fn a_client_that_waits_in_vain_is_found() {
    let found = found_with_steps("backup-cleanup", &["await-backups = { count = 1 }"]);
    assert_eq!(found, [format!("{}: not within 900 s: 1 Backups are there", ClientsAreServed.name())]);
}

#[test]
fn a_volume_without_what_was_written_to_it_is_found() {
    let create = "create-volume = { name = \"vol-1\", replicas = 1 }";
    let fill = [create, "attach-volume = { name = \"vol-1\" }", "write-volume = { name = \"vol-1\", blocks = 2 }"];
    let check = "check-volume = { name = \"vol-1\" }";
    let kept = ["detach-volume = { name = \"vol-1\" }", check];
    assert!(found_with_steps("system-restore", &[&fill[..], &kept].concat()).is_empty());
    // Another volume of this name stands for one that was restored without its data.
    let lost = ["detach-volume = { name = \"vol-1\" }", "delete-volume = { name = \"vol-1\" }", create, check];
    let found = found_with_steps("system-restore", &[&fill[..], &lost].concat());
    assert_eq!(found, [format!("{}: a restored volume is without its data", RestoredVolumesHoldTheirData.name())]);
}
