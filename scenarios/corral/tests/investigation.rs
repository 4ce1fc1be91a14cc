//! What is found out about a failure by running it otherwise: which defect it needs, and when it was decided.

use std::collections::BTreeSet;

use corral_explore::{Failing, Job, Limits, Origin, Pool, Workers, attribute, decided, first_violation};
use corral_scenarios::catalogue;
use corral_world::{Arm, Recipe};

fn pool() -> Pool {
    let program = (env!("CARGO_BIN_EXE_corral").into(), vec!["worker".into()]);
    Pool::start(Workers { program, count: 2, limits: Limits::default(), interrupted: Default::default() })
}

#[test]
fn a_failure_needs_its_defect_and_is_decided_at_some_time() {
    let folder = tempfile::tempdir().expect("a folder");
    // Its plan leaves it to chance.
    let set = [("machines", "1"), ("volumes", "1"), ("backups", "12"), ("faults", "0")];
    let set = set.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let mut arm = Arm { release: "v1.8.0".into(), defect: vec!["10120".into()], set, ..Arm::default() };
    // Three of those that are open in it, so that there are not twenty to try.
    arm.cured =
        catalogue().open_defects(&arm).into_iter().filter(|id| !["10120", "c1", "c8"].contains(&&**id)).collect();
    let recipe = Recipe { scenario: "backup-cleanup".into(), arm, seed: 3, plan: None, fork: None };
    let mut pool = pool();
    let header = Origin::default().header(&recipe, String::new());
    let journal =
        pool.journal(&recipe, header, &folder.path().join("own.jsonl")).expect("a worker").expect("a journal");

    let violation = first_violation(&journal, catalogue(), |_| true).expect("it fails");
    let wanted: BTreeSet<_> = [violation.group()].into();
    let failing = Failing { recipe: &recipe, wanted: &wanted, journal: &journal };
    let decided = decided(&mut pool, &failing, violation.at, &|| true).expect("workers");
    let open = decided.open_at().expect("its plan alone does not decide it");
    let lost = decided.lost_at.expect("so close to it that none passes");
    assert!(open < lost && lost <= violation.at, "{}", decided.told());
    let passing: Recipe = decided.passing.clone().expect("just seen");
    let result = pool.run_alone(&Job::from(passing)).expect("a worker");
    assert!(result.signatures().is_disjoint(&wanted), "the fork that passed passes again");

    let scratch = folder.path().join("other.part");
    let parts = attribute(&mut pool, catalogue(), &failing, open, &scratch, &|| true).expect("workers");
    let causes: Vec<&str> = parts.iter().filter(|part| part.is_cause()).map(|part| part.id.as_str()).collect();
    // Both are needed: where a BackupVolume's Backups are deleted with it, as c8's cure does, no collector deletes them while the client does.
    assert_eq!(causes, ["10120", "c8"], "{parts:#?}");
    assert!(!scratch.exists());
}
