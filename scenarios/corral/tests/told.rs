//! What the command tells of a run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn corral(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_corral")).args(arguments).current_dir(root()).output().expect("the command runs")
}

#[test]
fn an_explanation_is_no_longer_than_asked_for() {
    let output = corral(&["explain", "seeds/10057-system-restore-without-data.toml", "--lines", "10"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), told.lines().count()), (Some(0), 10), "{told}");
}

#[test]
fn a_verdict_tells_what_fails_a_run_and_its_fork() {
    let run = |options: &[&str]| {
        let output = corral(&[&["run", "backup-cleanup", "--seed", "5"], options].concat());
        let told = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), told.lines().next().unwrap_or_default().to_owned(), told.contains("hazard "))
    };
    let (plain, counted) = (run(&[]), run(&["--hazards"]));
    assert!(plain.0 == Some(0) && plain.1.contains(": no violation ("), "{plain:?}");
    let expected = if counted.2 { (Some(1), ": HAZARDS (") } else { (Some(0), ": no violation (") };
    assert!(counted.0 == expected.0 && counted.1.contains(expected.1), "{counted:?}");
    assert!(run(&["--fork", "1m/0"]).1.contains(", fork 60.000000000s/0: "));
}

#[test]
fn an_arm_that_fails_otherwise_is_faded() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(root().join("seeds/10057-system-restore-without-data.toml")).unwrap();
    let other = |line: &str| {
        if line.starts_with("signature ") { "signature = \"no such\"".to_owned() } else { line.to_owned() }
    };
    let path = folder.path().join("other.toml");
    std::fs::write(&path, text.lines().map(other).collect::<Vec<_>>().join("\n")).unwrap();
    let output = corral(&["replay", path.to_str().unwrap()]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("FADED") && !told.contains("VIOLATION"), "{told}");
    assert!(told.contains("no longer shows the violation") && told.contains("a failure of its own"), "{told}");
}
