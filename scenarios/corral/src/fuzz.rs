//! `corral fuzz`: many seeds, with progress, and a seed file for each kind of failure.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use corral_explore::{Limits, Progress, Summary};
use corral_scenarios::catalogue;
use corral_world::{Arm, Expectation, Found, Plan, SeedFile};
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::FuzzOptions;
use crate::failure::{Done, Refused, Status};
use crate::say::say;
use crate::table::table;

/// The worker that `fuzz` starts: runs jobs from standard input until that ends.
pub fn work() -> Done {
    corral_explore::serve(catalogue(), std::io::stdin().lock(), std::io::stdout().lock()).map_err(Refused::new)?;
    Ok(Status::AsExpected)
}

/// How a worker is started: it is this program too.
pub fn worker() -> Result<(PathBuf, Vec<String>), Refused> {
    let program = std::env::current_exe().map_err(Refused::new)?;
    Ok((program, vec!["worker".into()]))
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
    let scenarios = match options.scenarios.is_empty() {
        true => catalogue().scenarios().iter().map(|scenario| scenario.name().to_owned()).collect(),
        false => options.scenarios.clone(),
    };
    for name in &scenarios {
        let scenario = catalogue().scenario(name)?;
        catalogue().check(scenario.as_ref(), &arm, &Plan::default())?;
        scenario.expand(0, &arm)?;
    }
    let seeds = match (&options.seeds, options.time) {
        (Some(range), _) => corral_world::seed::parse(range)?,
        (None, Some(_)) => 0..u64::MAX,
        (None, None) => return Err(Refused::new("fuzz needs a budget: --seeds A..B or --time 10m")),
    };
    if options.time.is_some_and(|time| time.is_zero()) {
        return Err(Refused::new("--time 0s runs nothing; allowed is more"));
    }
    let jobs = jobs(options.jobs)?;
    if let Some(out) = &options.out {
        prepare(out)?;
    }
    let digests = options.digests.as_deref().map(crate::run::create).transpose()?;
    let total = options.seeds.as_ref().map(|_| (seeds.end - seeds.start) * scenarios.len() as u64);
    let fuzz_options = corral_explore::FuzzOptions {
        scenarios,
        arm: arm.clone(),
        seeds,
        time: options.time,
        jobs,
        limits: Limits::default(),
        worker: worker()?,
    };
    let shown = Shown::new(total);
    let summary = corral_explore::fuzz(&fuzz_options, |progress| shown.show(progress)).map_err(Refused::new)?;
    let took = shown.finish();
    say(report(&summary, took, &arm).trim_end());
    if let Some(out) = &options.out {
        write_seed_files(out, &summary, &arm)?;
    }
    if let (Some(mut file), Some(path)) = (digests, &options.digests) {
        for ((scenario, seed), digest) in &summary.digests {
            writeln!(file, "{scenario} {seed} {digest}")
                .map_err(|error| Refused::path(path, "cannot be written", error))?;
        }
    }
    Ok(match (summary.stuck, summary.groups.is_empty()) {
        (true, _) => Status::Stuck,
        (false, false) => Status::Violation,
        (false, true) => Status::AsExpected,
    })
}

/// Progress as a bar on a terminal, as plain lines elsewhere.
struct Shown {
    bar: ProgressBar,
    plain: bool,
    total: Option<u64>,
}

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
        Shown { bar, plain, total }
    }

    fn show(&self, progress: Progress) -> bool {
        let rate = progress.done as f64 / self.bar.elapsed().as_secs_f64().max(0.001);
        let message = format!(
            "{rate:.1} seeds/s, {} simulated, {} failed",
            corral_world::text::brief(progress.simulated),
            progress.failed
        );
        if self.plain && progress.done > self.bar.position() && progress.done.is_multiple_of(100) {
            let of = self.total.map_or_else(String::new, |total| format!(" of {total}"));
            eprintln!("{}{of} runs: {message}", progress.done);
        }
        self.bar.set_position(progress.done);
        self.bar.set_message(message);
        true
    }

    fn finish(&self) -> Duration {
        self.bar.finish_and_clear();
        self.bar.elapsed()
    }
}

fn report(summary: &Summary, took: Duration, arm: &Arm) -> String {
    let per_hour = summary.runs as f64 / took.as_secs_f64().max(0.001) * 3600.0;
    let at = |part: usize| {
        summary.run_times_us.get(summary.run_times_us.len() * part / 100).copied().unwrap_or(0) as f64 / 1000.0
    };
    let mut text = format!(
        "{arm}: {} runs in {:.1} s ({per_hour:.0} seeds an hour; median {:.0} ms, p99 {:.0} ms), {} s simulated, {} events\n",
        summary.runs,
        took.as_secs_f64(),
        at(50),
        at(99),
        summary.simulated_seconds,
        summary.events
    );
    if summary.groups.is_empty() {
        text.push_str("no violation\n");
        return text;
    }
    let mut rows = vec![["runs", "oracle", "signature", "first seeds"].map(str::to_owned).to_vec()];
    for group in &summary.groups {
        let first: Vec<String> = group.seeds.iter().take(5).map(|(_, seed)| seed.to_string()).collect();
        rows.push(vec![group.seeds.len().to_string(), group.oracle.clone(), group.signature.clone(), first.join(" ")]);
    }
    text.push_str(&table(&rows));
    if let Some((scenario, seed)) = summary.groups.first().and_then(|group| group.seeds.first()) {
        text.push_str(&format!("reproduce: corral run {scenario} --seed {seed} {}\n", arm.options()));
    }
    text
}

fn prepare(out: &Path) -> Result<(), Refused> {
    std::fs::create_dir_all(out).map_err(|error| Refused::path(out, "cannot be made", error))?;
    let probe = out.join(".corral-can-write");
    std::fs::write(&probe, b"").map_err(|error| Refused::path(out, "cannot be written", error))?;
    std::fs::remove_file(&probe).map_err(|error| Refused::path(out, "cannot be written", error))
}

fn write_seed_files(out: &Path, summary: &Summary, arm: &Arm) -> Result<(), Refused> {
    let mut written = BTreeSet::new();
    for (index, group) in summary.groups.iter().enumerate() {
        let Some(run @ (name, seed)) = group.seeds.first() else { continue };
        // What else this run showed goes along; a run that shows several signatures is one file.
        let others =
            summary.groups.iter().filter(|other| other.signature != group.signature && other.seeds.contains(run));
        let along = others.map(|other| other.signature.clone()).collect();
        if !written.insert(run) {
            continue;
        }
        let plan = catalogue().scenario(name)?.expand(*seed, arm)?;
        let file = SeedFile {
            version: 1,
            issue: String::new(),
            title: group.signature.clone(),
            scenario: name.clone(),
            seed: *seed,
            found: Some(Found { commit: crate::bench::commit(), toolchain: crate::bench::toolchain() }),
            fails: vec![arm.clone()],
            passes: Vec::new(),
            reached: Vec::new(),
            expect: Expectation { oracle: group.oracle.clone(), signature: group.signature.clone(), along },
            cluster: plan.cluster,
            steps: plan.steps,
            faults: plan.faults,
        };
        let path = out.join(format!("{:02}-{name}-{seed}.toml", index + 1));
        std::fs::write(&path, file.to_toml()).map_err(|error| Refused::path(&path, "cannot be written", error))?;
        say(format_args!("wrote {}", path.display()));
    }
    Ok(())
}
