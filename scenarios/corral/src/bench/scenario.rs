//! Whole scenarios: what users buy is seeds an hour.

use corral_scenarios::catalogue;
use corral_world::{Arm, RunOptions, SeedFile};

use super::{Figure, Scale, timed};
use crate::replay::{load, name_of};

/// Each seed file's first failing arm, replayed; nothing outside a checkout.
pub fn replay(_scale: Scale) -> Vec<Figure> {
    let files = load(&[]).unwrap_or_default();
    files.iter().filter_map(|(path, file)| replay_file(&name_of(path), file)).collect()
}

fn replay_file(name: &str, file: &SeedFile) -> Option<Figure> {
    let scenario = catalogue().scenario(&file.scenario).ok()?;
    let (took, verdict) = timed(|| {
        corral_world::run(scenario, file.fails.first()?, file.seed, Some(file.plan()), RunOptions::default()).ok()
    });
    verdict?;
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
    let (mut simulated, mut events) = (0.0, 0_u64);
    let (took, ()) = timed(|| {
        for seed in 0..seeds {
            let verdict = corral_world::run(scenario.clone(), &arm, seed, None, RunOptions::default())
                .expect("a plan of its own");
            times.push(verdict.took.as_secs_f64() * 1e3);
            simulated += verdict.simulated.as_duration().as_secs_f64();
            events += verdict.events;
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
        Figure::reported(&format!("{name}, events"), events as f64 / took.as_secs_f64(), "events/s"),
        Figure::reported(&format!("{name}, median run"), times[times.len() / 2], "ms"),
        Figure::reported(&format!("{name}, p99 run"), times[times.len() * 99 / 100], "ms"),
    ]
}
