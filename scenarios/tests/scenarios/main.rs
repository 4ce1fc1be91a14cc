//! Every scenario as a test. `SEED=` (a number, a range, a git hash, or a seed file's path) chooses what runs; without it, a few fixed seeds do, so
//! that nobody's change is blocked by a draw of the day.
//!
//! A failing run prints the two lines that reproduce it. Beside them: canaries, chains and recorded flows, in one binary, which runs on all cores.

mod canaries;
mod chains;
mod faults;
mod traces;

use std::ops::Range;
use std::path::{Path, PathBuf};

use corral_core::journal::Event;
use corral_explore::in_parallel;
use corral_scenarios::catalogue;
use corral_world::{Arm, RunOptions, SeedFile, Verdict, seed};

/// Seeds that run when nobody asks for others.
const FIXED_SEEDS: Range<u64> = 1..3;

/// What a long test takes, so that none of them runs alone at the end.
const CORES: usize = 2;

enum Chosen {
    Seeds(Range<u64>),
    File(Box<SeedFile>),
}

/// What SEED, or else madsim's own variables, ask for.
fn chosen() -> Result<Chosen, String> {
    let variable = |name: &str| {
        #[expect(clippy::disallowed_methods, reason = "the test runs in the real world")]
        std::env::var(name).ok().filter(|value| !value.is_empty())
    };
    if let Some(text) = variable("SEED") {
        let path = Path::new(&text);
        if path.extension().is_some_and(|extension| extension == "toml") {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a checkout");
            let path = if path.exists() { path.to_owned() } else { root.join(path) };
            return SeedFile::load(&path, catalogue())
                .map(|file| Chosen::File(Box::new(file)))
                .map_err(|error| error.to_string());
        }
        return seed::parse(&text).map(Chosen::Seeds).map_err(|error| format!("SEED: {error}"));
    }
    let Some(first) = variable("MADSIM_TEST_SEED") else { return Ok(Chosen::Seeds(FIXED_SEEDS)) };
    let first = seed::parse_one(&first).map_err(|error| format!("MADSIM_TEST_SEED: {error}"))?;
    let count = variable("MADSIM_TEST_NUM").map_or(Ok(1), |text| seed::parse_one(&text));
    let count = count.map_err(|error| format!("MADSIM_TEST_NUM: {error}"))?;
    let end = first.checked_add(count.max(1)).ok_or("MADSIM_TEST_SEED: allowed are seeds of which so many follow")?;
    Ok(Chosen::Seeds(first..end))
}

fn run(scenario: &str, test: &str) {
    run_without(scenario, test, &[]);
}

/// Without these defects of the default release, whose damage is known.
fn run_without(scenario: &str, test: &str, cured: &[&str]) {
    let arm = Arm { cured: cured.iter().map(|id| (*id).to_owned()).collect(), ..Arm::default() };
    match chosen() {
        Err(refused) => panic!("{refused}"),
        Ok(Chosen::Seeds(seeds)) => seeds.for_each(|seed| {
            let found = catalogue().scenario(scenario).expect("it is there");
            let verdict = corral_world::run(found, &arm, seed, None, RunOptions::default()).expect("a plan of its own");
            expect_none(
                &verdict,
                test,
                &seed.to_string(),
                &format!("corral run {scenario} --seed {seed} {}", arm.options()),
            );
        }),
        Ok(Chosen::File(file)) if file.scenario == scenario => {
            let path = std::env::var_os("SEED").unwrap_or_default().to_string_lossy().into_owned();
            replay(&file, test, &path);
        }
        Ok(Chosen::File(_)) => {}
    }
}

/// A seed file's arms, each as the file says.
fn replay(file: &SeedFile, test: &str, path: &str) {
    let scenario = catalogue().scenario(&file.scenario).expect("checked when it was loaded");
    for arm in &file.passes {
        let verdict = corral_world::run(scenario.clone(), arm, file.seed, Some(file.plan()), RunOptions::default())
            .expect("checked");
        let missed: Vec<_> = file.reached.iter().filter(|probe| !verdict.reached.contains(*probe)).collect();
        assert!(missed.is_empty(), "{arm}: faded, not reached: {missed:?}");
        expect_none(&verdict, test, path, &format!("corral replay {path}"));
    }
    for arm in &file.fails {
        let verdict = corral_world::run(scenario.clone(), arm, file.seed, Some(file.plan()), RunOptions::default())
            .expect("checked");
        let shown = verdict.violations.iter().any(|found| file.expects(found));
        assert!(
            shown,
            "{arm}: faded, the violation does not show\n{}",
            reproduction(test, path, &format!("corral replay {path}"))
        );
    }
}

fn expect_none(verdict: &Verdict, test: &str, seed: &str, command: &str) {
    let damage: Vec<String> =
        verdict.violations.iter().map(|found| format!("{} {}: {}", found.at, found.oracle, found.detail)).collect();
    assert!(verdict.passed(), "{}\n{}", damage.join("\n"), reproduction(test, seed, command));
}

fn reproduction(test: &str, seed: &str, command: &str) -> String {
    format!(
        "reproduce:\n  SEED={seed} cargo test -p corral-scenarios --test scenarios {test}\n  {}",
        command.trim_end()
    )
}

/// A store that is polled every five seconds: a quarter of a minute in a development build.
const SLOW: &str = "12542-last-backup-never-known";

/// The races that issues record, by name. What was found here is replayed by the command alone, in a release build, and the slow one too.
fn seed_files() -> Vec<(PathBuf, SeedFile)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds");
    let entries = std::fs::read_dir(folder).expect("a checkout has seeds").flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect();
    files.sort();
    assert!(!files.is_empty(), "no seed file");
    let load = |path: &PathBuf| SeedFile::load(path, catalogue()).unwrap_or_else(|error| panic!("{error}"));
    files.retain(|path| path.file_stem().is_some_and(|name| name != SLOW));
    let files = files.into_iter().map(|path| (path.clone(), load(&path)));
    files.filter(|(_, file)| !file.issue.is_empty()).collect()
}

/// All but the first failing arm of each, which is run for its chain.
#[test]
fn recorded_races_replay() {
    in_parallel(&seed_files(), CORES, |(path, file)| {
        let file = SeedFile { fails: file.fails[1..].to_vec(), ..file.clone() };
        replay(&file, "recorded_races_replay", &path.display().to_string());
    });
}

/// From the end of the BackupVolume to the end of the last Backup, in milliseconds of a quiet cluster.
fn window_ms(backups: u32, seed: u64) -> f64 {
    let set =
        [("machines", "1"), ("volumes", "1"), ("faults", "0"), ("network-percent", "100"), ("api-percent", "100")];
    let mut arm = Arm { release: "v1.8.0".into(), ..Arm::default() };
    arm.set = set.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    arm.set.insert("backups".into(), backups.to_string());
    let scenario = catalogue().scenario("backup-cleanup").expect("it is there");
    let options = RunOptions { keep_journal: true, ..RunOptions::default() };
    let verdict = corral_world::run(scenario, &arm, seed, None, options).expect("a plan of its own");
    let journal = verdict.journal.expect("it was asked for");
    let gone = |wanted: &str| {
        let ends = journal.iter().filter_map(|record| match &record.event {
            Event::ApiWrite { verb, kind, .. } if verb == "delete" && kind == wanted => Some(record.at.0),
            _ => None,
        });
        ends.max().unwrap_or_else(|| panic!("no {wanted} went"))
    };
    (gone("Backup") - gone("BackupVolume")) as f64 / 1e6
}

/// Against the real system: 25 to 31 ms for one backup, 56 to 89 ms for five, where manager, collector and API server shared two cores. Here the
/// processor time of the first two is free, which five backups show and one does not. The middle of several seeds: one slow request of the store
/// of the API server is as likely here as there.
#[test]
fn the_collectors_window_is_as_it_was_measured() {
    let middle = |backups| {
        let mut windows: Vec<f64> = (1..=5).map(|seed| window_ms(backups, seed)).collect();
        windows.sort_by(f64::total_cmp);
        windows[2]
    };
    let (one, five) = (middle(1), middle(5));
    assert!((18.0..40.0).contains(&one), "one backup, {one} ms");
    assert!((35.0..95.0).contains(&five), "five backups, {five} ms");
    assert!(five > one, "{one} ms, {five} ms");
}

#[test]
fn backup_cleanup() {
    run("backup-cleanup", "backup_cleanup");
}

#[test]
fn v2_disable_enable() {
    run("v2-disable-enable", "v2_disable_enable");
}

#[test]
fn upgrade() {
    run("upgrade", "upgrade");
}

/// One seed in seventy meets c1; c2 wants a machine that pulls the engine image for longer than the client takes to its backup.
#[test]
fn system_restore() {
    run_without("system-restore", "system_restore", &["c1", "c2"]);
}

#[test]
fn system_backup() {
    run("system-backup", "system_backup");
}

/// What of Longhorn's own is known to fail in it.
#[test]
fn volume_life() {
    run_without("volume-life", "volume_life", &["13685", "c3", "c4"]);
}
