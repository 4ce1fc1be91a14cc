//! Bad input of any kind: one line that says what is wrong, where, and what is allowed; exit status 2; nothing half-written.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn corral(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new(env!("CARGO_BIN_EXE_corral")).args(arguments).current_dir(root).output().expect("the command runs")
}

/// The line it refuses with.
fn refusal(arguments: &[&str]) -> String {
    let output = corral(arguments);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    said
}

/// Refused in one line that contains all of these.
fn expect(arguments: &[&str], parts: &[&str]) {
    let said = refusal(arguments);
    assert_eq!(said.trim_end().lines().count(), 1, "{arguments:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{arguments:?}: expected {part:?} in: {said}");
    }
}

fn seed_file(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("a.toml");
    std::fs::write(&path, text).expect("a writable folder");
    path
}

/// A seed file that is right, to be spoilt.
const RIGHT: &str = r#"version  = 1
issue    = "longhorn/longhorn#10120"
title    = "A test"
scenario = "backup-cleanup"
seed     = 1
fails    = [{ release = "v1.8.0", defect = ["10120"] }]
passes   = [{ release = "v1.8.0" }]
reached  = ["backups-pulled"]
[expect]
oracle    = "client-meets-no-unexpected-error"
signature = "x"
[cluster]
machines = 1
[[step]]
do = { fill-store = { volume = "vol-1", backups = 1 } }
"#;

#[test]
fn names_that_do_not_exist_are_refused_with_their_neighbours() {
    expect(&["run", "backup-clenup"], &["unknown scenario", "did you mean \"backup-cleanup\""]);
    expect(&["run", "backup-cleanup", "--release", "v1.8"], &["unknown release", "v1.8.0", "v1.9.2"]);
    assert!(refusal(&["run", "backup-cleanup", "--release", ""]).contains("corral list releases"));
    expect(&["run", "backup-cleanup", "--defect", "10121"], &["unknown defect", "10120"]);
    expect(&["run", "backup-cleanup", "--cured", "x"], &["unknown defect"]);
    expect(&["run", "backup-cleanup", "--set", "machine=1"], &["unknown parameter", "did you mean \"machines\""]);
    expect(&["run", "backup-cleanup", "--set", "machines=9"], &["machines=9", "from 1 to 5"]);
    expect(&["run", "backup-cleanup", "--set", "lock-wait=soon"], &["lock-wait", "is no duration"]);
    expect(&["run", "backup-cleanup", "--defect", "10740", "--cured", "10740"], &["both cured and added"]);
}

#[test]
fn seeds_that_are_none_are_refused() {
    expect(&["run", "backup-cleanup", "--seed", "seven"], &["\"seven\" is no seed", "git hash"]);
    assert!(!refusal(&["run", "backup-cleanup", "--seed", "1..3"]).contains("range"), "it takes one only");
    expect(&["fuzz", "backup-cleanup", "--seeds", "9..3"], &["seed range 9..3 is empty"]);
    expect(&["fuzz", "backup-cleanup"], &["needs a budget"]);
    expect(&["fuzz", "backup-cleanup", "--seeds", "0..1", "--jobs", "0"], &["--jobs 0"]);
    expect(&["find", "--jobs", "0"], &["--jobs 0"]);
    expect(&["replay", "--robust", "18446744073709551615"], &["--robust", "1000000 at the most"]);
    expect(&["find", "nosuch.toml"], &["nosuch.toml", "cannot be read"]);
}

#[test]
fn seed_files_are_refused_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |text: &str, parts: &[&str]| {
        let path = seed_file(&folder, text);
        expect(&["replay", path.to_str().unwrap()], &[&[path.to_str().unwrap()], parts].concat());
    };
    refused("", &["is empty"]);
    refused("version = ", &[":1:"]);
    refused("{\"header\":{}}", &[":1:", "is a journal"]);
    refused(&RIGHT.replace("version  = 1", "version = 2"), &[":1:", "version = 2 is unknown"]);
    refused(&format!("colour = 1\n{RIGHT}"), &[":1:", "unknown field `colour`"]);
    refused(&RIGHT.replace("backup-cleanup", "backup-clenup"), &[":4:", "did you mean"]);
    refused(&RIGHT.replace("v1.8.0\", defect", "v1.8.9\", defect"), &[":6:", "unknown release"]);
    refused(&RIGHT.replace("passes   = [{ release = \"v1.8.0\" }]", "passes   = [{}]"), &[":7:", "names no release"]);
    refused(&RIGHT.replace("backups-pulled", "backups-pushed"), &[":8:", "unknown probe"]);
    refused(&RIGHT.replace("client-meets", "clients-meet"), &[":10:", "unknown oracle"]);
    refused(&RIGHT.replace("machines = 1", "machines = 0"), &[":13:", "machines = 0", "1 to 5"]);
    refused(&RIGHT.replace("backups = 1", "backups = 0"), &["backups = 0", "1 to 100"]);
    refused(&RIGHT.replace("fill-store", "fill-stores"), &[":15:", "unknown variant `fill-stores`", "fill-store"]);
    refused(&format!("{RIGHT}[[fault]]\ndo = {{ slow-stor = {{}} }}\n"), &["unknown variant `slow-stor`"]);
    refused(
        &format!("{RIGHT}[[fault]]\ndo = {{ freeze = {{ for = \"1s\", machine = \"worker-2\" }} }}\n"),
        &[":17:", "[[fault]] 1", "unknown machine \"worker-2\"", "worker-1"],
    );
    let never =
        "[[fault]]\non = { store = \"put\", nth = 0 }\ndo = { freeze = { for = \"1s\", machine = \"worker-1\" } }\n";
    refused(&format!("{RIGHT}{never}"), &[":17:", "[[fault]] 1", "nth = 0 never comes"]);
    expect(&["replay", "no/such/file.toml"], &["no/such/file.toml", "cannot be read"]);
}

#[test]
fn folders_that_cannot_be_written_are_known_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("journal.jsonl");
    expect(&["run", "backup-cleanup", "--journal", below.to_str().unwrap()], &["cannot be written"]);
    expect(&["fuzz", "backup-cleanup", "--seeds", "0..1", "--out", below.to_str().unwrap()], &["cannot be made"]);
    expect(&["replay", "--out", below.to_str().unwrap()], &["cannot be made"]);
    assert_eq!(std::fs::read(&file).unwrap(), b"", "nothing was half-written");
}

#[test]
fn what_cannot_be_printed_is_told() {
    let printed_to = |path: &str| {
        let out = std::fs::File::options().write(true).open(path).expect("a device");
        let mut command = Command::new(env!("CARGO_BIN_EXE_corral"));
        command.args(["list", "oracles"]).stdout(out).output().expect("the command runs")
    };
    assert_eq!(printed_to("/dev/null").status.code(), Some(0));
    let full = printed_to("/dev/full");
    assert_eq!(full.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&full.stderr).starts_with("corral: cannot print"));
}

#[test]
fn a_bench_of_seed_files_needs_some() {
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_corral"));
    let output = command.args(["bench", "--only", "replay"]).current_dir(&nowhere).output().expect("the command runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
}

#[test]
fn the_api_server_stays_at_home() {
    expect(&["apiserver", "--listen", "0.0.0.0:0"], &["no authentication", "loopback"]);
    assert!(refusal(&["apiserver", "--listen", "localhost:0"]).contains("allowed is IP:PORT, as in 127.0.0.1:"));
}

#[test]
fn what_is_no_journal_is_not_inspected() {
    expect(&["inspect", "no/such/journal.jsonl"], &["no/such/journal.jsonl", "cannot be read"]);
    expect(&["inspect", "Cargo.toml"], &["Cargo.toml: line 1", "--journal"]);
    assert!(refusal(&["inspect", "Cargo.toml", "--at", "soon"]).contains("\"soon\" is no duration"));
}

#[test]
fn a_journal_is_known_by_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = seed_file(&folder, "{\"header\":{}}");
    expect(&["explain", path.to_str().unwrap()], &["line 1: is no journal's"]);
}

#[test]
fn files_of_one_name_have_no_pages_in_one_folder() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = folders.each_ref().map(|folder| seed_file(folder, RIGHT).display().to_string());
    let out = folders[0].path().join("pages");
    expect(&["replay", &one, &other, "--out", out.to_str().unwrap()], &[&one, &other, "has its name"]);
    assert!(!out.exists(), "nothing was half-written");
}

#[test]
fn plans_with_impossible_values_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |plan: &str, parts: &[&str]| {
        let path = seed_file(&folder, plan);
        expect(&["run", "backup-cleanup", "--plan", path.to_str().unwrap()], parts);
    };
    refused("[[step]]\ndo = { fill-store = { volume = \"../v\", backups = 1 } }", &["../v", "lower-case"]);
    refused("[[step]]\ndo = { fill-store = { volume = \"vol-1\", backups = 1, blocks = 4294967295 } }", &["1 to 64"]);
    refused("[cluster]\nmachines = 1\napi-percent = 4294967295", &["api-percent", "100000"]);
    refused(
        "[[step]]\ndo = { wait = { for = \"1s\" } }\n[[step]]\ndo = { fill-store = { volume = \"vol-1\", backups = 1 } }",
        &["fill-store after another step"],
    );
    refused("[[step]]\ndo = { upgrade = {} }", &["[[step]] 1", "knows one release only"]);
    refused("[[step]]\ndo = { await-node = { machine = \"worker-9\", ready = true } }", &["worker-9", "worker-1"]);
    refused("[[step]]\ndo = { write-volume = { name = \"vol-1\", blocks = 1 } }", &["vol-1 is not attached"]);
    refused("[[step]]\ndo = { attach-volume = { name = \"vol-1\" } }", &["no volume vol-1 is created before"]);
    refused("[[fault]]\ndo = { freeze = { for = \"1s\", machine = \"\" } }", &["unknown machine \"\""]);
    refused("[[fault]]\ndo = { api-errors = { for = \"1s\", code = 418 } }", &["418", "403"]);
    refused("[[fault]]\non = { phase = \"heal\" }\ndo = { store-silent = { for = \"1s\" } }", &["unknown field"]);
    refused(
        "[[fault]]\non = { api = \"create\", kind = \"Backups\" }\ndo = { store-silent = { for = \"1s\" } }",
        &["[[fault]] 1", "unknown kind \"Backups\"", "BackupVolume", "Pod"],
    );
    expect(&["run", "backup-cleanup", "--from", "v1.7.2"], &["upgrades nothing"]);
    expect(&["fuzz", "backup-cleanup", "--seeds", "18446744073709551615"], &["is no seed"]);
    expect(
        &["fuzz", "--set", "attached=false", "--seeds", "0..1"],
        &["backup-cleanup: ", "unknown parameter \"attached\""],
    );
    expect(&["fuzz", "backup-cleanup", "--time", "0s"], &["--time 0s"]);
    expect(&["fuzz", "backup-cleanup", "--time", "1s", "--guided"], &["--out DIR"]);
    expect(&["bench", "--only", "backup-cleenup"], &["backup-cleenup", "did you mean \"backup-cleanup\""]);
}

#[test]
fn lists_list() {
    for what in ["scenarios", "oracles", "hazards", "probes", "faults", "releases", "defects", "parameters"] {
        let output = corral(&["list", what]);
        assert!(output.status.success() && !output.stdout.is_empty(), "{what}");
    }
    let oracles = String::from_utf8(corral(&["list", "oracles"]).stdout).unwrap();
    for name in [corral_world::PANIC, corral_world::RESTLESS, corral_world::OWN_FAULT] {
        assert!(oracles.contains(name), "seed files may name {name}");
    }
}

#[test]
fn a_plan_can_be_printed_and_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let printed = corral(&["run", "backup-cleanup", "--seed", "5", "--print-plan"]);
    let path = folder.path().join("plan.toml");
    std::fs::write(&path, &printed.stdout).unwrap();
    let path = path.to_str().unwrap();
    let digest =
        |output: Output| String::from_utf8(output.stdout).unwrap().split("digest ").nth(1).unwrap()[..32].to_owned();
    let expanded = digest(corral(&["run", "backup-cleanup", "--seed", "5", "--twice"]));
    let planned = digest(corral(&["run", "backup-cleanup", "--seed", "5", "--plan", path]));
    assert_eq!(expanded, planned);
    let twice_over = ["run", "backup-cleanup", "--plan", path, "--set", "backups=3"];
    expect(&twice_over, &["\"backups\"", "change the plan that is given"]);
}

#[test]
fn what_is_wrong_in_a_plan_has_its_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |plan: &str, line: &str, parts: &[&str]| {
        let path = seed_file(&folder, plan);
        let place = format!("{}:{line}: ", path.display());
        expect(&["run", "backup-cleanup", "--plan", path.to_str().unwrap()], &[&[place.as_str()], parts].concat());
    };
    let cluster = "[cluster]\nmachines = 1\nage = \"1m\"\n";
    refused("[cluster]\nmachines = 1\nage = \"PT30S\"\n", "3", &["age: \"PT30S\" is no duration", "200ms, 30s"]);
    refused("[cluster]\nmachines = 1\nage = 5\n", "3", &["age: ", "a duration in quotes"]);
    let wait = |length: &str| format!("{cluster}[[step]]\ndo = {{ wait = {{ for = \"{length}\" }} }}\n");
    refused(&wait("soon"), "5", &["[[step]] 1: ", "for: \"soon\" is no duration", "200ms, 30s"]);
    refused(
        &format!("{cluster}[[step]]\ndo = {{ waits = {{}} }}\n"),
        "5",
        &["[[step]] 1: ", "unknown variant `waits`"],
    );
    let setting = |name: &str, value: &str| {
        format!("[[step]]\ndo = {{ set-setting = {{ name = \"{name}\", value = \"{value}\" }} }}\n")
    };
    refused(&setting("v2-data-engines", "true"), "2", &["unknown setting", "did you mean \"v2-data-engine\""]);
    refused(&setting("v2-data-engine", "yes"), "2", &["v2-data-engine = \"yes\"", "true and false"]);
    let fault = |after: &str, what: &str| format!("{cluster}[[fault]]\nafter = \"{after}\"\ndo = {{ {what} }}\n");
    refused(&fault("1s", "store-silent = { for = \"soon\" }"), "6", &["\"soon\" is no duration"]);
    refused(
        &fault("1s", "store-silent = { for = \"0s\" }"),
        "6",
        &["[[fault]] 1: ", "for = \"0s\" does nothing", "24h"],
    );
    refused(&fault("25h", "store-silent = { for = \"1s\" }"), "5", &["after is longer than a day", "24h"]);
    let link = "slow-link = { for = \"1s\", from = \"worker-1\", to = \"worker-1\", extra = \"1s\" }";
    refused(&fault("1s", link), "6", &["to = \"worker-1\"", "another machine"]);
    let step = "step-clock = { machine = \"worker-1\", milliseconds = 0 }";
    refused(&fault("1s", step), "6", &["milliseconds = 0", "ten years"]);
    let path = seed_file(&folder, &RIGHT.replace("signature = \"x\"", "signature = \"\""));
    expect(&["replay", path.to_str().unwrap()], &[":11:", "signature = \"\" says nothing"]);
    let path = seed_file(&folder, &RIGHT.replace("\"A test\"", "\" \""));
    expect(&["replay", path.to_str().unwrap()], &[":3:", "title"]);
}
