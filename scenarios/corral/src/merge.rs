//! `corral merge`: the nights of several folders as one.

use std::time::Duration;

use corral_explore::{Ran, Tally};
use corral_reports::Night;
use corral_scenarios::catalogue;

use crate::arguments::MergeOptions;
use crate::failure::{Done, Refused};
use crate::fuzz::{report, status_of};
use crate::lines;
use crate::night::{NightFolder, RUNS, SUMMARY, Told};
use crate::say::say;

/// Merges, and prints what all of them found.
pub fn merge(options: &MergeOptions) -> Done {
    let mut told = Told::default();
    let (mut all, mut findings, mut took) = (Vec::new(), Vec::new(), Duration::ZERO);
    for folder in &options.folders {
        let path = folder.join(SUMMARY);
        let text = std::fs::read_to_string(&path).map_err(|error| Refused::path(&path, "cannot be read", error))?;
        let night: Night = serde_json::from_str(&text).map_err(|error| Refused::path(&path, "is no night's", error))?;
        if night.version != Night::VERSION {
            let (found, known) = (night.version, Night::VERSION);
            return Err(Refused::new(format!("{}: version {found} is unknown; allowed is {known}", path.display())));
        }
        if !told.arm.is_empty() && (&told.arm, &told.scenarios) != (&night.arm, &night.scenarios) {
            return Err(Refused::new(format!(
                "{}: is of {}, and another folder of {} under {}; allowed are nights of the same",
                path.display(),
                night.title,
                told.scenarios.join(", "),
                told.arm
            )));
        }
        took += Duration::from_secs_f64(night.real_seconds.max(0.0));
        let mut seeds = std::mem::take(&mut told.seeds);
        seeds.extend(night.seeds);
        let Night { arm, scenarios, .. } = night;
        let [machine, commit, toolchain] = [
            all_of(told.machine, night.machine),
            all_of(told.commit, night.commit),
            all_of(told.toolchain, night.toolchain),
        ];
        told = Told { arm, scenarios, seeds, machine, commit, toolchain };
        findings.extend(night.findings.into_iter().map(|finding| (folder.clone(), finding)));
        all.extend(lines::read::<Ran>(&folder.join(RUNS), "run")?);
    }
    // In the order of one whole run; the first of equal runs stays.
    all.sort_by(|one: &Ran, other: &Ran| one.place().cmp(&other.place()));
    all.dedup_by(|one, other| one.place() == other.place() && one.recipe == other.recipe);
    let mut merged = NightFolder::new(&options.out, told.clone())?;
    let mut tally = Tally::default();
    for ran in &all {
        tally.add(ran, catalogue());
        merged.ran(ran).map_err(Refused::new)?;
    }
    for (folder, finding) in findings {
        merged.take(&folder, finding)?;
    }
    merged.finish(&tally, took)?;
    let arm = all.first().map(|ran| ran.recipe.arm.clone()).unwrap_or_default();
    say(report(&tally, took, &arm, Some(&merged)).trim_end());
    say(format_args!("the pages: {}", merged.index().display()));
    Ok(status_of(&tally, merged.is_deterministic()))
}

/// What the nights before were made on, and this one.
fn all_of(before: String, this: String) -> String {
    match before.as_str() {
        "" => this,
        _ if before.split("; ").any(|known| known == this) => before,
        _ => format!("{before}; {this}"),
    }
}
