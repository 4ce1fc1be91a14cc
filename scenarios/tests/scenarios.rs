//! Every scenario as a test. `SEED=` (a number, a range, a git hash, or a seed file's path) chooses what runs; without it, a few fixed seeds do, so
//! that nobody's change is blocked by a draw of the day.
//!
//! A failing run prints the two lines that reproduce it.

use std::ops::Range;
use std::path::Path;

use corral_scenarios::catalogue;
use corral_world::{Arm, RunOptions, SeedFile, Verdict, seed};

/// Seeds that run when nobody asks for others.
const FIXED_SEEDS: Range<u64> = 1..4;

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
    Ok(Chosen::Seeds(first..first.saturating_add(count.max(1))))
}

fn run(scenario: &str, test: &str) {
    match chosen() {
        Err(refused) => panic!("{refused}"),
        Ok(Chosen::Seeds(seeds)) => seeds.for_each(|seed| {
            let found = catalogue().scenario(scenario).expect("it is there");
            let arm = Arm::default();
            let verdict = corral_world::run(found, &arm, seed, None, RunOptions::default()).expect("a plan of its own");
            expect_none(
                &verdict,
                test,
                &seed.to_string(),
                &format!("corral run {scenario} --seed {seed} {}", arm.options()),
            );
        }),
        Ok(Chosen::File(file)) if file.scenario == scenario => replay(&file, test),
        Ok(Chosen::File(_)) => {}
    }
}

/// A seed file's arms, each as the file says.
fn replay(file: &SeedFile, test: &str) {
    let scenario = catalogue().scenario(&file.scenario).expect("checked when it was loaded");
    let path = std::env::var_os("SEED").unwrap_or_default().to_string_lossy().into_owned();
    for arm in &file.passes {
        let verdict = corral_world::run(scenario.clone(), arm, file.seed, Some(file.plan()), RunOptions::default())
            .expect("checked");
        expect_none(&verdict, test, &path, &format!("corral replay {path}"));
    }
    for arm in &file.fails {
        let verdict = corral_world::run(scenario.clone(), arm, file.seed, Some(file.plan()), RunOptions::default())
            .expect("checked");
        let shown = verdict
            .violations
            .iter()
            .any(|found| found.oracle == file.expect.oracle && found.signature == file.expect.signature);
        assert!(
            shown,
            "{arm}: faded, the violation does not show\n{}",
            reproduction(test, &path, &format!("corral replay {path}"))
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

#[test]
fn backup_cleanup() {
    run("backup-cleanup", "backup_cleanup");
}
