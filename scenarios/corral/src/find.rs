//! `corral find`: how long it takes to find what seed files are about, from many starting points.

use corral_explore::Search;
use corral_scenarios::catalogue;
use corral_world::SeedFile;

use crate::arguments::FindOptions;
use crate::failure::{Done, Refused, Status};
use crate::fuzz::workers;
use crate::provenance::{commit, machine};
use crate::replay::{load, name_of};
use crate::say::say;
use crate::table::table;

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
        workers: workers(options.jobs)?,
    };
    let searches = corral_explore::find(catalogue(), &files, &find_options, |search| {
        let found = if search.found { "found" } else { "not found" };
        let (name, Search { start, seeds, .. }) = (name_of(&paths[search.target]), search);
        eprintln!("{name}, from seed {start}: {found} in {seeds} seeds, {:.1} CPU s", search.cpu.as_secs_f64());
    });
    let searches = searches.map_err(Refused::new)?;
    say(format_args!("{}; commit {}", machine(), commit()));
    let head =
        ["seed file", "scenario", "arm", "found", "seeds: median (least to most)", "CPU s: median (least to most)"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut never = false;
    for (target, (path, file)) in paths.iter().zip(&files).enumerate() {
        let of_file: Vec<&Search> = searches.iter().filter(|search| search.target == target).collect();
        let found = of_file.iter().filter(|search| search.found).count();
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
