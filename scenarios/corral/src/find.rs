//! `corral find`: how long it takes to find what seed files are about, from many starting points.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use corral_explore::{Search, Workers};
use corral_scenarios::catalogue;
use corral_world::SeedFile;
use serde::{Deserialize, Serialize};

use crate::arguments::FindOptions;
use crate::failure::{Done, Refused, Status};
use crate::fuzz::{interrupted, workers};
use crate::lines::{self, Lines};
use crate::provenance::{commit, machine};
use crate::replay::{check_names, load, name_of};
use crate::say::say;
use crate::table::table;

/// A search as a line of a record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    file: String,
    arm: String,
    guided: bool,
    start: u64,
    seeds: u64,
    cpu_ms: u64,
    found: bool,
    commit: String,
}

/// Searches and prints a table; status 1 if some file's failure was not found from any starting point.
pub fn find(options: &FindOptions) -> Done {
    let loaded = load(&options.files)?;
    if let Some((path, _)) = loaded.iter().find(|(_, file)| file.fails.is_empty()) {
        return Err(Refused::new(format!("{}: no arm of it fails, there is nothing to find", path.display())));
    }
    check_names(&loaded)?;
    let (paths, files): (Vec<_>, Vec<SeedFile>) = loaded.into_iter().unzip();
    let find_options = corral_explore::FindOptions {
        starts: options.starts.into(),
        cap: options.cap,
        guided: options.guided,
        workers: Workers { interrupted: interrupted()?, ..workers(options.jobs)? },
    };
    let (known, mut record) = match &options.record {
        Some(path) => {
            // Read before anything is written: it may be another file.
            let known = if path.exists() { known(path, &paths, &files, &find_options)? } else { Recorded::default() };
            let record = Lines::append(path).map_err(|error| Refused::path(path, "cannot be written", error))?;
            (known, Some(record))
        }
        None => (Recorded::default(), None),
    };
    let commit = commit();
    let searches = corral_explore::find(catalogue(), &files, &find_options, &known.searches, |search| {
        let (file, Search { start, seeds, cpu, found, .. }) = (name_of(&paths[search.target]), search.clone());
        let word = if found { "found" } else { "not found" };
        eprintln!("{file}, from start {start}: {word} in {seeds} seeds, {:.1} CPU s", cpu.as_secs_f64());
        let arm = files[search.target].fails[0].to_string();
        let (guided, cpu_ms, commit) = (options.guided, cpu.as_millis() as u64, commit.clone());
        let line = Line { file, arm, guided, start, seeds, cpu_ms, found, commit };
        record.as_mut().map_or(Ok(()), |record| record.add(&line))
    });
    let searches = searches.map_err(Refused::new)?;
    let others = known.commits.iter().filter(|other| **other != commit);
    let others: String = others.map(|other| format!(", and of the record {other}")).collect();
    say(format_args!("{}; commit {commit}{others}", machine()));
    let head =
        ["seed file", "scenario", "arm", "found", "seeds: median (least to most)", "CPU s: median (least to most)"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut never = false;
    for (target, (path, file)) in paths.iter().zip(&files).enumerate() {
        let of_file: Vec<&Search> = searches.iter().filter(|search| search.target == target).collect();
        let found = of_file.iter().filter(|search| search.found).count();
        if of_file.is_empty() {
            continue;
        }
        never |= found == 0;
        rows.push(vec![
            name_of(path),
            file.scenario.clone(),
            file.fails[0].to_string(),
            format!("{found} of {}", of_file.len()),
            spread(&of_file, 0, |search| search.seeds as f64),
            spread(&of_file, 1, |search| search.cpu.as_secs_f64()),
        ]);
    }
    say(table(&rows).trim_end());
    Ok(if never { Status::Violation } else { Status::AsExpected })
}

/// What a record has of a measurement.
#[derive(Debug, Default)]
struct Recorded {
    searches: Vec<Search>,
    /// Commits of Corral that did them.
    commits: BTreeSet<String>,
}

/// The searches that a record has of these files and their arms; one that was given up earlier than this one would be is none.
fn known(
    path: &Path,
    names: &[PathBuf],
    files: &[SeedFile],
    options: &corral_explore::FindOptions,
) -> Result<Recorded, Refused> {
    let mut recorded = Recorded::default();
    for line in lines::read::<Line>(path, "search")? {
        let cpu = Duration::from_millis(line.cpu_ms);
        let is_of =
            |(path, file): (&PathBuf, &SeedFile)| name_of(path) == line.file && file.fails[0].to_string() == line.arm;
        let is_asked =
            line.guided == options.guided && line.start < options.starts && (line.found || cpu >= options.cap);
        let Some(target) = names.iter().zip(files).position(is_of).filter(|_| is_asked) else { continue };
        let Line { start, seeds, found, commit, .. } = line;
        recorded.searches.push(Search { target, start, seeds, cpu, found });
        recorded.commits.insert(commit);
    }
    recorded.searches.sort_by_key(|search| (search.target, search.start, !search.found));
    recorded.searches.dedup_by_key(|search| (search.target, search.start));
    Ok(recorded)
}

/// Median and extremes of a measure, with so many digits. A search that was given up would have gone on: its figure is a lower bound.
fn spread(searches: &[&Search], digits: usize, measure: impl Fn(&Search) -> f64) -> String {
    let mut values: Vec<(bool, f64)> = searches.iter().map(|search| (!search.found, measure(search))).collect();
    values.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
    let show =
        |(given_up, value): (bool, f64), digits: usize| format!("{}{value:.digits$}", if given_up { "> " } else { "" });
    let (first, last) = (values[0], values[values.len() - 1]);
    let (below, above) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    // Between the two in the middle; if one of them was given up, so is what lies between.
    let median = (above.0, if below.0 == above.0 { (below.1 + above.1) / 2.0 } else { below.1 });
    let halves = digits.max(usize::from(median.1.fract() != 0.0));
    format!("{} ({} to {})", show(median, halves), show(first, digits), show(last, digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_know_what_was_given_up() {
        let told = |searches: &[(u64, bool)]| {
            let search =
                |&(seeds, found): &(u64, bool)| Search { target: 0, start: 0, seeds, cpu: Duration::ZERO, found };
            let searches: Vec<Search> = searches.iter().map(search).collect();
            spread(&searches.iter().collect::<Vec<_>>(), 0, |search| search.seeds as f64)
        };
        assert_eq!(told(&[(7, true)]), "7 (7 to 7)");
        assert_eq!(told(&[(2, true), (5, true)]), "3.5 (2 to 5)");
        assert_eq!(told(&[(9, true), (5, true), (120, false)]), "9 (5 to > 120)");
        assert_eq!(told(&[(9, true), (5, true), (120, false), (99, false)]), "> 9 (5 to > 120)");
        assert_eq!(told(&[(120, false), (110, false)]), "> 115 (> 110 to > 120)");
    }
}
