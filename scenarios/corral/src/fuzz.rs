//! `corral fuzz`: many seeds, with progress; what fails is investigated and kept.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corral_explore::{Effort, Limits, Pool, Ran, Shard, ShrinkBudget, Signature, Tally, Watcher, Workers, investigate};
use corral_scenarios::catalogue;
use corral_world::{Arm, Plan};
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::FuzzOptions;
use crate::failure::{Done, Refused, Status};
use crate::night::{self, NightFolder, Told, example};
use crate::run::{note_what_changes_nothing, probe};
use crate::say::say;
use crate::table::table;

/// The worker that `fuzz` starts: runs jobs from standard input until that ends.
pub fn work() -> Done {
    corral_explore::serve(catalogue(), std::io::stdin().lock(), std::io::stdout().lock()).map_err(Refused::new)?;
    Ok(Status::AsExpected)
}

/// The workers: each is this program too.
pub fn workers(jobs: Option<usize>) -> Result<Workers, Refused> {
    let program = std::env::current_exe().map_err(Refused::new)?;
    Ok(Workers {
        program: (program, vec!["worker".into()]),
        count: self::jobs(jobs)?,
        limits: Limits::default(),
        interrupted: Arc::default(),
    })
}

/// So many workers, or as many as there are cores.
pub fn jobs(asked: Option<usize>) -> Result<usize, Refused> {
    match asked {
        Some(0) => Err(Refused::new("--jobs 0 runs nothing; allowed is 1 or more")),
        Some(jobs) => Ok(jobs),
        None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

/// Fuzzes and prints what was found, by signature.
pub fn fuzz(options: &FuzzOptions) -> Done {
    let arm = options.arm.arm();
    let mut scenarios: Vec<String> = match options.scenarios.is_empty() {
        true => catalogue().scenarios().iter().map(|scenario| scenario.name().to_owned()).collect(),
        false => options.scenarios.clone(),
    };
    // One order for every way to name them, so that parts of a search add up to the whole.
    scenarios.sort();
    scenarios.dedup();
    for name in &scenarios {
        let scenario = catalogue().scenario(name)?;
        let checked = catalogue().check(scenario.as_ref(), &arm, &Plan::default());
        checked.map_err(|error| if scenarios.len() > 1 { format!("{name}: {error}") } else { error })?;
    }
    note_what_changes_nothing(&arm);
    let seeds = match (&options.seeds, options.time) {
        (Some(range), _) => corral_world::seed::parse(range)?,
        (None, Some(_)) => 0..u64::MAX,
        (None, None) => return Err(Refused::new("fuzz needs a budget: --seeds A..B or --time 10m")),
    };
    if options.time.is_some_and(|time| time.is_zero()) {
        return Err(Refused::new("--time 0s runs nothing; allowed is more"));
    }
    let is_guided = options.guided || !options.corpus.is_empty();
    if is_guided && options.out.is_none() {
        return Err(Refused::new("a guided search needs --out DIR: the plans it makes would be lost otherwise"));
    }
    let shard = options.shard.unwrap_or(Shard::WHOLE);
    let of_range = match shard {
        Shard::WHOLE => String::new(),
        part => format!(" shard {part}"),
    };
    let told = Told {
        arm: arm.to_string(),
        scenarios: scenarios.clone(),
        seeds: vec![match options.seeds {
            Some(_) => format!("{}..{}{of_range}", seeds.start, seeds.end),
            None => format!("from {}{of_range}", seeds.start),
        }],
        ..Told::here()
    };
    let total = options
        .seeds
        .as_ref()
        .filter(|_| options.time.is_none())
        .map(|_| shard.count(&seeds).saturating_mul(scenarios.len() as u64));
    let interrupted = interrupted()?;
    let fuzz_options = corral_explore::FuzzOptions {
        scenarios,
        arm: arm.clone(),
        seeds,
        shard,
        time: options.time,
        guided: is_guided,
        corpus: night::corpus(&options.corpus)?,
        workers: Workers { interrupted: interrupted.clone(), ..workers(options.jobs)? },
    };
    // What cannot be written is said before anything runs, and what was written before is kept until nothing is refused any more.
    let folder = options.out.as_deref().map(|out| NightFolder::new(out, told.clone())).transpose()?;
    options.junit.as_deref().map(probe).transpose()?;
    let created = |path: &PathBuf| match std::fs::File::create(path) {
        Ok(file) => Ok((path.clone(), file)),
        Err(error) => Err(Refused::path(path, "cannot be written", error)),
    };
    let mut night = Night {
        shown: Shown::new(total),
        digests: options.digests.as_ref().map(created).transpose()?,
        folder,
        interrupted: interrupted.clone(),
        effort: Effort {
            shrinking: ShrinkBudget { runs: options.shrink_runs, ..ShrinkBudget::default() },
            attributes: !options.no_attribution,
            time: options.time.unwrap_or(Duration::MAX),
        },
    };
    let mut tally = Tally::default();
    let ended = corral_explore::fuzz(catalogue(), &fuzz_options, &mut night, &mut tally);
    let took = night.shown.finish();
    // Whatever ended it, what was found until then is said.
    say(report(&tally, took, &arm, night.folder.as_ref()).trim_end());
    let finished: Result<(), Refused> = night.folder.as_mut().map_or(Ok(()), |folder| {
        folder.finish(&tally, took)?;
        say(format_args!("the pages: {}", folder.index().display()));
        Ok(())
    });
    let junit = options.junit.as_ref();
    let junit = junit.map_or(Ok(()), |path| night::write_junit(path, &tally, &told, night.folder.as_ref(), took));
    ended.map_err(Refused::new)?;
    finished?;
    junit?;
    Ok(status_of(&tally, night.folder.is_none_or(|folder| folder.is_deterministic())))
}

/// How a search ends that came to this, and whose runs were the same when they were done again.
pub fn status_of(tally: &Tally, is_deterministic: bool) -> Status {
    match (tally.stuck, tally.groups.is_empty()) {
        _ if !is_deterministic => Status::NotDeterministic,
        (true, _) => Status::Stuck,
        (false, false) => Status::Violation,
        (false, true) => Status::AsExpected,
    }
}

/// Becomes true with the first Ctrl-C; the second ends the process as it always does.
pub fn interrupted() -> Result<Arc<AtomicBool>, Refused> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    let handler = move || {
        if set.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("stopping; what was found is being kept (Ctrl-C again: at once)");
    };
    ctrlc::set_handler(handler).map_err(Refused::new)?;
    Ok(flag)
}

/// Who looks on while a night of runs goes by.
struct Night {
    shown: Shown,
    folder: Option<NightFolder>,
    digests: Option<(PathBuf, std::fs::File)>,
    interrupted: Arc<AtomicBool>,
    effort: Effort,
}

impl Watcher for Night {
    fn ran(&mut self, ran: &Ran) -> io::Result<()> {
        if let Some((path, file)) = &mut self.digests {
            writeln!(file, "{} {} {}", ran.recipe.scenario, ran.recipe.seed, ran.digest)
                .map_err(|error| io::Error::other(format!("{}: cannot be written: {error}", path.display())))?;
        }
        self.folder.as_mut().map_or(Ok(()), |folder| folder.ran(ran))
    }

    fn found(&mut self, pool: &mut Pool, ran: &Ran, new: &BTreeSet<Signature>, tally: &Tally) -> io::Result<()> {
        let Some(folder) = &mut self.folder else { return Ok(()) };
        self.shown.say(&format!("{} fails; it is being looked into", ran.recipe.title()));
        let files = folder.begin(ran, new, tally, self.shown.elapsed())?;
        let effort = Effort { time: self.effort.time.saturating_sub(self.shown.elapsed()), ..self.effort };
        let finding = investigate(pool, catalogue(), ran, new, &folder.origin(), &files, effort)?;
        folder.found(ran, &finding, tally, self.shown.elapsed())
    }

    fn goes_on(&mut self, tally: &Tally) -> bool {
        self.shown.show(tally);
        !self.interrupted.load(Ordering::SeqCst)
    }
}

/// Progress as a bar on a terminal, as plain lines elsewhere.
struct Shown {
    bar: ProgressBar,
    plain: bool,
    total: Option<u64>,
    last: u64,
}

/// Without a terminal, a line for so many runs.
const LINE_EVERY: u64 = 100;

impl Shown {
    fn new(total: Option<u64>) -> Shown {
        let plain = !std::io::stderr().is_terminal();
        let bar = match (plain, total) {
            (true, _) => ProgressBar::hidden(),
            (false, Some(total)) => ProgressBar::new(total),
            (false, None) => ProgressBar::new_spinner(),
        };
        let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg}")
            .expect("a constant template");
        bar.set_style(style);
        Shown { bar, plain, total, last: 0 }
    }

    fn elapsed(&self) -> Duration {
        self.bar.elapsed()
    }

    fn show(&mut self, tally: &Tally) {
        if tally.runs == self.last {
            return;
        }
        let rate = tally.runs as f64 / self.bar.elapsed().as_secs_f64().max(0.001);
        let groups = tally.by_size();
        let groups: Vec<String> =
            groups.iter().take(3).map(|((oracle, _), group)| format!("{oracle} {}", group.runs)).collect();
        let message = format!(
            "{rate:.1} seeds/s, {} simulated, {} situations, {} failed{}{}",
            corral_world::text::brief(tally.simulated),
            tally.situations.len(),
            tally.failed,
            if groups.is_empty() { "" } else { ": " },
            groups.join(", "),
        );
        if self.plain && tally.runs / LINE_EVERY > self.last / LINE_EVERY {
            let of = self.total.map_or_else(String::new, |total| format!(" of {total}"));
            eprintln!("{}{of} runs: {message}", tally.runs);
        }
        self.last = tally.runs;
        self.bar.set_position(tally.runs);
        self.bar.set_message(message);
    }

    fn say(&self, line: &str) {
        if self.plain { eprintln!("{line}") } else { self.bar.println(line) }
    }

    fn finish(&self) -> Duration {
        self.bar.finish_and_clear();
        self.bar.elapsed()
    }
}

/// What was done and what failed, for a terminal.
pub fn report(tally: &Tally, took: Duration, arm: &Arm, folder: Option<&NightFolder>) -> String {
    let per_hour = tally.runs as f64 / took.as_secs_f64().max(0.001) * 3600.0;
    let mut text = format!(
        "{arm}: {} runs in {:.1} s ({per_hour:.0} seeds an hour; median {} ms, p99 {} ms), {} s simulated, {} events, {} situations\n",
        tally.runs,
        took.as_secs_f64(),
        tally.percentile(50).as_millis(),
        tally.percentile(99).as_millis(),
        tally.simulated.as_secs(),
        tally.events,
        tally.situations.len(),
    );
    let groups = tally.by_size();
    if groups.is_empty() {
        text.push_str("no violation\n");
        return text;
    }
    let mut rows = vec![["runs", "oracle", "signature", "first runs"].map(str::to_owned).to_vec()];
    for ((oracle, signature), group) in &groups {
        let first: Vec<String> = group.first.iter().map(example).collect();
        rows.push(vec![group.runs.to_string(), oracle.clone(), signature.clone(), first.join(", ")]);
    }
    text.push_str(&table(&rows));
    let mut lines: Vec<String> = Vec::new();
    for recipe in groups.iter().filter_map(|(_, group)| group.first.first()) {
        let of_run = folder.map_or_else(|| vec![recipe.command(None)], |folder| folder.reproduce(recipe));
        lines.extend(of_run.into_iter().next_back().filter(|line| !lines.contains(line)));
    }
    lines.iter().for_each(|line| text.push_str(&format!("reproduce: {line}\n")));
    text
}
