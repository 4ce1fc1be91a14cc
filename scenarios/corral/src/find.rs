//! `corral find`: how long it takes to find what seed files are about, from many starting points.

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
use crate::replay::{load, name_of};
use crate::say::say;
use crate::table::table;

/// A search as a line of a record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    file: String,
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
            let known = if path.exists() { known(path, &paths, &find_options)? } else { Vec::new() };
            let record = Lines::append(path).map_err(|error| Refused::path(path, "cannot be written", error))?;
            (known, Some(record))
        }
        None => (Vec::new(), None),
    };
    let commit = commit();
    let searches = corral_explore::find(catalogue(), &files, &find_options, &known, |search| {
        let (file, Search { start, seeds, cpu, found, .. }) = (name_of(&paths[search.target]), search.clone());
        let word = if found { "found" } else { "not found" };
        eprintln!("{file}, from start {start}: {word} in {seeds} seeds, {:.1} CPU s", cpu.as_secs_f64());
        let (guided, cpu_ms, commit) = (options.guided, cpu.as_millis() as u64, commit.clone());
        let line = Line { file, guided, start, seeds, cpu_ms, found, commit };
        record.as_mut().map_or(Ok(()), |record| record.add(&line))
    });
    let searches = searches.map_err(Refused::new)?;
    say(format_args!("{}; commit {commit}", machine()));
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

/// The searches that a record has of these files; one that was given up earlier than this one would be is none.
fn known(path: &Path, files: &[PathBuf], options: &corral_explore::FindOptions) -> Result<Vec<Search>, Refused> {
    let lines: Vec<Line> = lines::read(path, "search")?;
    let is_asked = |line: &Line| {
        let cpu = Duration::from_millis(line.cpu_ms);
        line.guided == options.guided && line.start < options.starts && (line.found || cpu >= options.cap)
    };
    let search = |Line { file, start, seeds, cpu_ms, found, .. }: Line| {
        let target = files.iter().position(|path| name_of(path) == file)?;
        Some(Search { target, start, seeds, cpu: Duration::from_millis(cpu_ms), found })
    };
    let mut known: Vec<Search> = lines.into_iter().filter(is_asked).filter_map(search).collect();
    known.sort_by_key(|search| (search.target, search.start, !search.found));
    known.dedup_by_key(|search| (search.target, search.start));
    Ok(known)
}

/// Median and extremes of a measure, with so many digits. A search that was given up would have gone on: its figure is a lower bound.
fn spread(searches: &[&Search], digits: usize, measure: impl Fn(&Search) -> f64) -> String {
    let mut values: Vec<(bool, f64)> = searches.iter().map(|search| (!search.found, measure(search))).collect();
    values.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
    let show = |index: usize| {
        let (given_up, value) = values[index];
        format!("{}{value:.digits$}", if given_up { "> " } else { "" })
    };
    format!("{} ({} to {})", show(values.len() / 2), show(0), show(values.len() - 1))
}
