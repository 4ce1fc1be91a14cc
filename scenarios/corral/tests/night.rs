//! A night of runs: its folder, its parts as one, and what is left of one that was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use corral_explore::{Ran, Signature, Tally};
use corral_scenarios::catalogue;
use corral_world::{Arm, Recipe};

/// Both fail, one in each of two shards.
const SEEDS: &str = "16..18";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corral"));
    command.args(arguments).stdin(Stdio::null()).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    command
}

fn fuzz(out: &Path, more: &[&str]) -> Command {
    let out = out.display().to_string();
    let of = ["fuzz", "backup-cleanup", "--release", "v1.8.0", "--defect", "10120", "--no-attribution", "--out", &out];
    let fails = "--shrink-runs 2 --set machines=1 --set volumes=1 --set backups=12 --set faults=2";
    let fails: Vec<&str> = fails.split(' ').collect();
    command(&[&of[..], &fails, more].concat())
}

fn ends(mut command: Command, status: i32) -> Output {
    let output = command.output().expect("the command runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{command:?}: {said}");
    output
}

/// Waits until it is so, for a minute at the most.
fn until(is_so: impl Fn() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        #[expect(clippy::disallowed_methods, reason = "the command runs in the real world")]
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// What a night found, without what differs from one time to the other: real time, and the folder's own name.
fn summary(folder: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(folder.join("summary.json")).expect("there is a summary");
    let text = text.replace(&folder.display().to_string(), "");
    let mut summary: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    summary.retain(|key, _| !["real_seconds", "seeds"].contains(&key.as_str()));
    serde_json::to_value(summary).expect("JSON")
}

#[test]
fn two_shards_merged_are_one_whole_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    ends(fuzz(&path("whole"), &["--seeds", SEEDS]), 1);
    ends(fuzz(&path("one"), &["--seeds", SEEDS, "--shard", "1/2"]), 1);
    ends(fuzz(&path("two"), &["--seeds", SEEDS, "--shard", "2/2"]), 1);
    let [one, two, merged] = ["one", "two", "merged"].map(|name| path(name).display().to_string());
    ends(command(&["merge", &one, &two, "--out", &merged]), 1);
    let whole = summary(&path("whole"));
    assert_eq!(summary(&path("merged")), whole);
    assert_eq!(whole["runs"], 2);
    let finding = &whole["findings"][0];
    assert_eq!((&finding["seed"], &finding["runs"]), (&16.into(), &2.into()));
    assert!(finding["story"].as_str().is_some_and(|story| story.contains("not found")), "{finding:#}");
    for name in
        ["backup-cleanup-16.toml", "backup-cleanup-16.jsonl", "backup-cleanup-16.html", "index.html", "junit.xml"]
    {
        assert!(path("merged").join(name).is_file(), "{name}");
    }
    // Each says where it is now.
    for name in ["backup-cleanup-16.jsonl", "backup-cleanup-16-twin.jsonl", "backup-cleanup-16.html"] {
        let text = std::fs::read_to_string(path("merged").join(name)).expect("a file");
        assert!(text.contains(&merged) && ![&one, &two].iter().any(|shard| text.contains(*shard)), "{name}");
    }
    ends(command(&["explain", &path("merged").join("backup-cleanup-16.jsonl").display().to_string()]), 0);
    // What was kept replays, shrunk as it is.
    ends(command(&["replay", &path("merged").join("backup-cleanup-16.toml").display().to_string()]), 0);
}

#[test]
fn what_a_shard_met_together_is_told_where_another_met_it_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    for (name, shard) in [("one", "1/2"), ("two", "2/2")] {
        ends(fuzz(&path(name), &["--seeds", SEEDS, "--shard", shard]), 1);
    }
    // As if the second run had also shown something that no run before it had.
    let edit = |name: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let file = path("two").join(name);
        let mut value = serde_json::from_str(&std::fs::read_to_string(&file).expect("a file")).expect("JSON");
        change(&mut value);
        std::fs::write(&file, format!("{value}\n")).expect("a writable folder");
    };
    edit("runs.jsonl", &|run| {
        let other = serde_json::json!(["other-oracle", "something else"]);
        run["signatures"].as_array_mut().expect("it failed").push(other);
    });
    edit("summary.json", &|night| {
        let other = serde_json::json!({ "oracle": "other-oracle", "signature": "something else" });
        night["findings"][0]["also"].as_array_mut().expect("a list").push(other);
    });
    let [one, two, merged] = ["one", "two", "merged"].map(|name| path(name).display().to_string());
    ends(command(&["merge", &one, &two, "--out", &merged]), 1);
    let told = summary(&path("merged"));
    let findings = told["findings"].as_array().expect("a list");
    let seeds: Vec<_> =
        findings.iter().map(|finding| (&finding["oracle"], &finding["seed"], &finding["runs"])).collect();
    let client = "client-meets-no-unexpected-error";
    assert_eq!(seeds, [(&client.into(), &16.into(), &2.into()), (&"other-oracle".into(), &17.into(), &1.into())]);
    assert!(findings[1]["story"].as_str().is_some_and(|story| story.contains("looked into with that")), "{told:#}");
    assert!(path("merged").join("backup-cleanup-17.html").is_file());
}

#[test]
fn what_is_to_be_looked_into_is_what_nothing_known_explains() {
    let mut tally = Tally::default();
    let symptom = ("clients-are-served", "not served");
    let of = |shown: &[(&str, &str)]| shown.iter().map(|(o, s)| ((*o).to_owned(), (*s).to_owned())).collect();
    let mut add = |shown: &[(&str, &str)]| {
        let recipe = Recipe {
            scenario: "system-backup".to_owned(),
            arm: Arm::default(),
            seed: tally.runs,
            plan: None,
            fork: None,
        };
        let line = serde_json::json!({
            "recipe": recipe, "signatures": of(shown) as BTreeSet<Signature>,
            "simulated_ms": 1, "events": 1, "took_us": 1, "cpu_us": 1, "digest": "0",
        });
        tally.add(&serde_json::from_value::<Ran>(line).expect("a run"), catalogue())
    };
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|signature| ("damage", signature));
    assert_eq!(add(&[a]), of(&[a]));
    assert_eq!(add(&[a, b]), of(&[b]), "what is there beside a known failure is looked into by itself");
    assert_eq!(add(&[b]), of(&[]));
    assert_eq!(add(&[a, symptom]), of(&[]), "it may be of a's making");
    assert_eq!(add(&[symptom]), of(&[symptom]), "here it is not");
    assert_eq!(add(&[c, d]), of(&[c, d]));
    assert_eq!(add(&[d, symptom]), of(&[d]), "without c it may be something else");
    assert_eq!(add(&[d]), of(&[]));
    assert_eq!(tally.groups.values().map(|group| group.runs).sum::<u64>(), 12);
}

#[test]
fn a_killed_night_keeps_what_it_had_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let (night, rest) = (folder.path().join("night"), folder.path().join("rest"));
    let mut fuzzing = fuzz(&night, &["--seeds", "16..1000000"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("it begins");
    let seed_file = night.join("backup-cleanup-16.toml");
    let junit = |folder: &Path| std::fs::read_to_string(folder.join("junit.xml")).unwrap_or_default();
    until(|| junit(&night).contains("failures=\"1\""));
    fuzzing.kill().expect("it can be killed");
    fuzzing.wait().expect("it ends");
    ends(command(&["replay", &seed_file.display().to_string()]), 0);
    ends(command(&["merge", &night.display().to_string(), "--out", &rest.display().to_string()]), 1);
    for folder in [&night, &rest] {
        let told = summary(folder);
        let finding = &told["findings"][0];
        assert_eq!(finding["seed"], 16, "{told:#}");
        assert!(finding["reproduce"][0].as_str().is_some_and(|line| line.starts_with("corral replay")), "{finding:#}");
        assert!(junit(folder).contains("failures=\"1\""));
    }
}

#[test]
fn an_interrupted_night_ends_with_its_pages() {
    let folder = tempfile::tempdir().expect("a folder");
    let night = folder.path().join("night");
    let quiet = |mut command: Command| command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it begins");
    let mut fuzzing = quiet(fuzz(&night, &["--seeds", "16..1000000"]));
    let runs = || std::fs::read_to_string(night.join("runs.jsonl")).unwrap_or_default().lines().count();
    // What its first run showed is kept by then, and is being looked into.
    until(|| night.join("backup-cleanup-16.toml").is_file());
    let mut interrupt = Command::new("kill");
    interrupt.args(["-INT", &fuzzing.id().to_string()]);
    ends(interrupt, 0);
    assert!(matches!(fuzzing.wait().expect("it ends").code(), Some(0 | 1)));
    let told = summary(&night);
    assert_eq!(told["runs"], runs());
    assert_eq!(told["findings"][0]["seed"], 16, "{told:#}");
    assert!(night.join("index.html").is_file());
}

#[test]
fn a_replay_leaves_a_page_for_each_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("pages").display().to_string();
    let name = "10057-system-restore-without-data";
    let seed_file = format!("seeds/{name}.toml");
    // Twice: what is there is written anew.
    for _ in 0..2 {
        ends(command(&["replay", &seed_file, "--out", &out]), 0);
    }
    let told = summary(Path::new(&out));
    let finding = &told["findings"][0];
    assert_eq!(finding["reproduce"][0], format!("corral replay {seed_file}"));
    assert!(finding["attribution"].as_array().is_some_and(|arms| !arms.is_empty()), "{finding:#}");
    assert!(finding["divergence"].as_array().is_some_and(|lines| !lines.is_empty()), "{finding:#}");
    for file in ["index.html", &format!("{name}.html"), &format!("{name}.toml"), &format!("{name}-twin.jsonl")] {
        assert!(Path::new(&out).join(file).is_file(), "{file}");
    }
}

#[test]
fn a_faded_seed_file_is_given_another_seed() {
    let folder = tempfile::tempdir().expect("a folder");
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../seeds/10057-system-restore-without-data.toml");
    let right = std::fs::read_to_string(seeds).expect("a seed file");
    let spoiled = folder.path().join("spoiled.toml");
    let named = spoiled.display().to_string();
    // One seed in ten does not show it.
    let fades = |seed: &u32| {
        let lines =
            right.lines().map(|line| if line.starts_with("seed ") { format!("seed = {seed}") } else { line.into() });
        std::fs::write(&spoiled, lines.collect::<Vec<String>>().join("\n")).expect("a writable folder");
        command(&["replay", &named]).output().expect("the command runs").status.code() == Some(1)
    };
    let faded = (1..100).find(fades).expect("some seed does not show it");
    let output = ends(command(&["replay", "--reseed", &named]), 1);
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let seed_of = |mark: &str| said.lines().find_map(|line| line.strip_prefix(mark)?.trim().parse::<u32>().ok());
    assert_eq!(seed_of("-seed ="), Some(faded), "{said}");
    let proposed = seed_of("+seed =").unwrap_or_else(|| panic!("{said}"));
    assert!(!fades(&proposed), "{said}");
}

#[test]
fn a_search_that_was_cut_short_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../seeds/10791-v2-instance-manager-deadlock.toml");
    let [there, nowhere, record] = ["there.toml", "nowhere.toml", "record"].map(|name| folder.path().join(name));
    let text = std::fs::read_to_string(seeds).expect("a seed file");
    std::fs::write(&there, &text).expect("a writable folder");
    let never =
        |line: &str| if line.starts_with("signature ") { "signature = \"no such\"".into() } else { line.into() };
    std::fs::write(&nowhere, text.lines().map(never).collect::<Vec<String>>().join("\n")).expect("a writable folder");
    let search = |starts: &str, files: &[&Path]| {
        let (starts, record) = (starts.to_owned(), record.display().to_string());
        let mut command = command(&["find", "--cap", "0s", "--starts", &starts, "--record", &record]);
        command.args(files);
        String::from_utf8(ends(command, 1).stderr).expect("UTF-8").lines().count()
    };
    let lines = || std::fs::read_to_string(&record).expect("a record").lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(search("1", &[&nowhere]), 1);
    let first = lines();
    // Whatever wrote it was killed in the middle of a line.
    std::fs::write(&record, format!("{}\n{{\"file\":", first[0])).expect("a writable folder");
    assert_eq!(search("2", &[&there, &nowhere]), 3, "one of four was known");
    let all = lines();
    assert_eq!((all.len(), &all[0]), (4, &first[0]));
    let found = all.iter().filter(|line| line.contains("\"found\":true")).collect::<Vec<_>>();
    assert!(found.len() == 2 && found.iter().all(|line| line.contains("\"there\"")), "{all:?}");
    assert_eq!(search("2", &[&there, &nowhere]), 0, "all are known");
}

#[test]
fn a_folder_that_cannot_be_used_is_refused_before_anything_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a writable folder");
    let refusals = [(file.clone(), "cannot be made"), (Path::new("/proc/none").to_owned(), "cannot be made")];
    for (out, why) in refusals {
        let output = ends(fuzz(&out, &["--seeds", "0..1"]), 2);
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(said.contains(why) && said.lines().count() == 1, "{said}");
    }
    let used = folder.path().join("used");
    std::fs::create_dir(&used).expect("a writable folder");
    std::fs::write(used.join("runs.jsonl"), "").expect("a writable folder");
    let output = ends(fuzz(&used, &["--seeds", "0..1"]), 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("name a new folder"));
}
