//! `corral replay`: every arm of every seed file, against what the file says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use corral_explore::in_parallel;
use corral_scenarios::catalogue;
use corral_world::text::quoted;
use corral_world::{Arm, Recipe, RunOptions, SeedFile, Verdict};

use crate::arguments::ReplayOptions;
use crate::failure::{Done, Refused, Status};
use crate::fuzz::jobs;
use crate::gallery;
use crate::say::say;
use crate::table::table;

/// Seeds that `--robust` takes at the most.
const MOST_SEEDS: u64 = 1_000_000;

/// Replays and prints a table; status 1 if anything is not as the files say.
pub fn replay(options: &ReplayOptions) -> Done {
    if options.robust > MOST_SEEDS {
        return Err(Refused::new(format!("--robust {}: allowed is {MOST_SEEDS} at the most", options.robust)));
    }
    let jobs = jobs(options.jobs)?;
    let loaded = load(&options.files)?;
    if let Some(out) = &options.out {
        gallery::prepare(out, &loaded)?;
    }
    let mut rows = vec![["seed file", "arm", "expected", "found", "time", "digest"].map(str::to_owned).to_vec()];
    let mut notes = Vec::new();
    // Those that are not as expected, and how long a run of each takes.
    let mut faded: BTreeMap<&Path, Duration> = BTreeMap::new();
    let arms: Vec<(&Path, &SeedFile, &Arm, bool)> = loaded
        .iter()
        .flat_map(|(path, file)| arms_of(file).map(move |(arm, fails)| (path.as_path(), file, arm, fails)))
        .collect();
    let verdicts = in_parallel(&arms, jobs, |(_, file, arm, _)| run_arm(file, arm, file.seed));
    for ((path, file, arm, fails), verdict) in arms.into_iter().zip(verdicts) {
        let verdict = verdict?;
        let finding = judge(file, fails, &verdict);
        rows.push(vec![
            name_of(path),
            arm.to_string(),
            if fails { "violation" } else { "none" }.to_owned(),
            finding.word().to_owned(),
            format!("{:.2} s", verdict.took.as_secs_f64()),
            verdict.digest[..12].to_owned(),
        ]);
        if let Finding::AsExpected = finding {
            notes.extend(
                verdict.violations.iter().map(|found| {
                    format!("{}, {arm}:\n  {} {}: {}", name_of(path), found.at, found.oracle, found.detail)
                }),
            );
            let idle = verdict.idle_faults.iter().filter(|_| fails);
            notes.extend(idle.map(|fault| format!("  note: the fault {fault} never struck")));
        } else {
            let reproduce = format!("  reproduce: corral replay {}", quoted(path.display()));
            notes.push(format!("{}, {arm}: {}\n{reproduce}", name_of(path), finding.story(file)));
        }
        if finding.is_bad() {
            let longest = faded.entry(path).or_default();
            *longest = verdict.took.max(*longest);
            notes.push(String::new());
        }
        rows.last_mut().expect("just pushed").push(if finding.is_bad() { "<-".into() } else { String::new() });
    }
    let mut bad = rows.iter().skip(1).any(|row| row.last().is_some_and(|mark| mark == "<-"));
    say(table(&rows));
    notes.iter().for_each(say);
    if options.robust > 0 {
        for (path, file) in &loaded {
            bad |= !robust(path, file, options.robust, jobs)?;
        }
    }
    if let Some(out) = &options.out {
        gallery::write(out, &loaded, jobs)?;
    }
    if options.reseed {
        for (path, file) in &loaded {
            if let Some(took) = faded.get(path.as_path()) {
                crate::reseed::reseed(path, file, jobs, *took)?;
            }
        }
    }
    Ok(if bad { Status::Violation } else { Status::AsExpected })
}

/// Whether an arm did what its seed file says.
pub fn is_as_expected(file: &SeedFile, fails: bool, verdict: &Verdict) -> bool {
    matches!(judge(file, fails, verdict), Finding::AsExpected)
}

/// The seed files of these paths, and those in them that are folders; all of seeds/ if there are none.
pub fn load(paths: &[PathBuf]) -> Result<Vec<(PathBuf, SeedFile)>, Refused> {
    let all = [PathBuf::from("seeds")];
    let mut files = Vec::new();
    for path in if paths.is_empty() { &all } else { paths } {
        if path.is_dir() || paths.is_empty() { files.extend(all_seed_files(path)?) } else { files.push(path.clone()) }
    }
    let load = |path: PathBuf| SeedFile::load(&path, catalogue()).map(|file| (path, file)).map_err(Refused::new);
    files.into_iter().map(load).collect()
}

/// Each arm of a file, and whether it is to fail.
fn arms_of(file: &SeedFile) -> impl Iterator<Item = (&Arm, bool)> {
    file.fails.iter().map(|arm| (arm, true)).chain(file.passes.iter().map(|arm| (arm, false)))
}

/// What a run was, held against its seed file.
enum Finding {
    AsExpected,
    /// A failing arm that did not show its violation, or an arm that did not reach its probes: the seed no longer shows what it is for.
    Faded(String),
    /// Damage that the file does not expect.
    Other(String),
}

impl Finding {
    fn word(&self) -> &'static str {
        match self {
            Finding::AsExpected => "as expected",
            Finding::Faded(_) => "FADED",
            Finding::Other(_) => "VIOLATION",
        }
    }

    fn is_bad(&self) -> bool {
        !matches!(self, Finding::AsExpected)
    }

    fn story(&self, file: &SeedFile) -> String {
        match self {
            Finding::AsExpected => String::new(),
            Finding::Faded(why) => {
                format!("faded: {why}; expected was {}: {}", file.expect.oracle, file.expect.signature)
            }
            Finding::Other(what) => format!("a failure of its own: {what}"),
        }
    }
}

fn judge(file: &SeedFile, fails: bool, verdict: &Verdict) -> Finding {
    let is_known = |found: &corral_world::Violation| fails && (file.expects(found) || file.goes_along(found));
    let other = verdict.violations.iter().find(|found| !is_known(found));
    let other = other.map(|found| format!("{} {}: {}", found.at, found.oracle, found.detail));
    let missed = file.reached.iter().find(|probe| !verdict.reached.contains(*probe));
    if fails && !verdict.violations.iter().any(|found| file.expects(found)) {
        let mut why = "this arm no longer shows the violation".to_owned();
        why.extend(missed.map(|probe| format!("; it no longer reaches the probe {probe}")));
        why.extend(verdict.idle_faults.iter().map(|name| format!("; the fault {name} never struck")));
        why.extend(other.map(|what| format!("; it has a failure of its own, {what}")));
        return Finding::Faded(why);
    }
    match (other, missed) {
        (Some(what), _) => Finding::Other(what),
        (None, Some(probe)) => Finding::Faded(format!("this arm no longer reaches the probe {probe}")),
        (None, None) => Finding::AsExpected,
    }
}

fn run_arm(file: &SeedFile, arm: &Arm, seed: u64) -> Result<Verdict, Refused> {
    let scenario = catalogue().scenario(&file.scenario)?;
    let title = Recipe { seed, ..file.recipe(arm) }.title();
    let _watchdog = corral_explore::watchdog(corral_explore::Limits::default().run_time, &title);
    Ok(corral_world::run(scenario, arm, seed, Some(file.plan()), RunOptions::default())?)
}

/// The stored plan under other seeds: whether nine in ten show the violation where it is expected, and none where it is not.
fn robust(path: &Path, file: &SeedFile, count: u64, jobs: usize) -> Result<bool, Refused> {
    let mut holds = true;
    for (arm, fails) in arms_of(file) {
        let seeds: Vec<u64> = (1..=count).map(|seed| file.seed.wrapping_add(seed)).collect();
        let mut shown = 0;
        for verdict in in_parallel(&seeds, jobs, |seed| run_arm(file, arm, *seed)) {
            shown += u64::from(verdict?.violations.iter().any(|found| file.expects(found)));
        }
        holds &= if fails { shown * 10 >= count * 9 } else { shown == 0 };
        let wanted = if fails { "reach the violation; nine in ten must" } else { "reach it; none may" };
        say(format_args!("{}, {arm}: {shown} of {count} other seeds {wanted}", name_of(path)));
    }
    Ok(holds)
}

/// Refuses files of one name: what is kept of one would be taken for the other's.
pub fn check_names(loaded: &[(PathBuf, SeedFile)]) -> Result<(), Refused> {
    let mut known = BTreeMap::new();
    for (path, _) in loaded {
        if let Some(other) = known.insert(name_of(path), path) {
            let (path, other) = (path.display(), other.display());
            return Err(Refused::new(format!("{path}: {other} has its name; allowed are files of different names")));
        }
    }
    Ok(())
}

/// What a seed file is called in tables.
pub fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// All seed files of a folder, by name.
fn all_seed_files(folder: &Path) -> Result<Vec<PathBuf>, Refused> {
    let refuse =
        |error| Refused::path(folder, "cannot be read (run corral in the checkout, or name seed files)", error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(refuse)? {
        let path = entry.map_err(refuse)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Refused::new(format!("{}: holds no seed file (*.toml)", folder.display())));
    }
    files.sort();
    Ok(files)
}
