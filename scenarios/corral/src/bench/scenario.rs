//! Whole scenarios: what users buy is seeds an hour.

use std::path::Path;

use corral_scenarios::catalogue;
use corral_world::{Arm, RunOptions, SeedFile};

use super::{Figure, Scale, timed};

/// The recorded race longhorn#10120: its first arm, replayed.
pub fn replay(_scale: Scale) -> Vec<Figure> {
    let Ok(entries) = std::fs::read_dir("seeds") else { return Vec::new() };
    let mut figures = Vec::new();
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        figures.extend(replay_file(path));
    }
    figures
}

fn replay_file(path: &Path) -> Option<Figure> {
    let file = SeedFile::load(path, catalogue()).ok()?;
    let scenario = catalogue().scenario(&file.scenario).ok()?;
    let (took, verdict) = timed(|| {
        corral_world::run(scenario, file.fails.first()?, file.seed, Some(file.plan()), RunOptions::default()).ok()
    });
    verdict?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Some(Figure::at_most(&format!("replay of {name}"), took.as_secs_f64(), "s", 1.0))
}

/// Seeds of `backup-cleanup`, one after another in this process.
pub fn backup_cleanup(scale: Scale) -> Vec<Figure> {
    seeds("backup-cleanup", "v1.8.0", scale.of(200), None)
}

/// Seeds of `system-backup`.
pub fn system_backup(scale: Scale) -> Vec<Figure> {
    seeds("system-backup", "v1.9.2", scale.of(200), Some(5_000.0))
}

/// Seeds of `volume-life`: five simulated minutes of use and faults, beside what comes before and after.
pub fn volume_life(scale: Scale) -> Vec<Figure> {
    seeds("volume-life", "v1.9.2", scale.of(200), Some(6_000.0))
}

fn seeds(name: &str, release: &str, seeds: u64, target: Option<f64>) -> Vec<Figure> {
    let scenario = catalogue().scenario(name).expect("it is there");
    let arm = Arm { release: release.into(), ..Arm::default() };
    let mut times = Vec::new();
    let mut simulated = 0.0;
    let (took, ()) = timed(|| {
        for seed in 0..seeds {
            let verdict = corral_world::run(scenario.clone(), &arm, seed, None, RunOptions::default())
                .expect("a plan of its own");
            times.push(verdict.took.as_secs_f64() * 1e3);
            simulated += verdict.simulated.as_duration().as_secs_f64();
        }
    });
    times.sort_by(f64::total_cmp);
    let an_hour = seeds as f64 / took.as_secs_f64() * 3600.0;
    let unit = "seeds/h and core";
    vec![
        target.map_or_else(
            || Figure::reported(name, an_hour, unit),
            |target| Figure::at_least(name, an_hour, unit, target),
        ),
        Figure::reported(&format!("{name}, simulated"), simulated / took.as_secs_f64(), "simulated s/s"),
        Figure::reported(&format!("{name}, median run"), times[times.len() / 2], "ms"),
        Figure::reported(&format!("{name}, p99 run"), times[times.len() * 99 / 100], "ms"),
    ]
}
