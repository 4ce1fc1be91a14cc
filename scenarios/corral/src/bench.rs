//! `corral bench`: how fast it is, on this machine. One core, except where a line says otherwise; real time, measured from outside the simulation.
//!
//! A line that has a set-up is measured twice, with little and with much work, and the difference is divided: what is printed is the work alone.

mod cluster;
mod explore;
mod memory;
mod network;
mod scenario;
mod volume;

use std::path::Path;
use std::time::{Duration, Instant};

use corral_explore::write_whole;
use serde::{Deserialize, Serialize};

use crate::arguments::BenchOptions;
use crate::failure::{Done, Refused, Status};
use crate::provenance::{commit, machine, toolchain};
use crate::run::probe;
use crate::say::say;
use crate::table::table;

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// What is asked for, in the same unit; none for a figure that is only reported.
    pub target: Option<f64>,
    /// Whether less is better.
    pub less_is_better: bool,
}

impl Figure {
    /// A figure that should not be more than its target.
    pub fn at_most(name: &str, value: f64, unit: &str, target: f64) -> Figure {
        Figure { name: name.into(), value, unit: unit.into(), target: Some(target), less_is_better: true }
    }

    /// A figure that should not be less than its target.
    pub fn at_least(name: &str, value: f64, unit: &str, target: f64) -> Figure {
        Figure { name: name.into(), value, unit: unit.into(), target: Some(target), less_is_better: false }
    }

    /// A figure that is only reported.
    pub fn reported(name: &str, value: f64, unit: &str) -> Figure {
        Figure { name: name.into(), value, unit: unit.into(), target: None, less_is_better: false }
    }

    fn is_met(&self) -> Option<bool> {
        self.target.map(|target| if self.less_is_better { self.value <= target } else { self.value >= target })
    }
}

/// All figures of a run of the benchmark, and where it ran.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    machine: String,
    commit: String,
    toolchain: String,
    profile: String,
    figures: Vec<Figure>,
}

/// How much work: everything is multiplied by this.
#[derive(Clone, Copy, Debug)]
pub struct Scale(pub u64);

impl Scale {
    /// So many in a full run, a tenth of it in a quick one.
    pub fn of(self, full: u64) -> u64 {
        (full * self.0 / 10).max(1)
    }
}

type Line = (&'static str, fn(Scale) -> Vec<Figure>);

const LINES: &[Line] = &[
    ("tcp", network::tcp),
    ("grpc", network::grpc),
    ("deadlines", network::deadlines),
    ("api", cluster::api),
    ("idle", cluster::idle),
    ("io", volume::accesses),
    ("attached", cluster::attached),
    ("set-up", cluster::set_up),
    ("runs", memory::runs),
    ("replay", scenario::replay),
    ("backup-cleanup", scenario::backup_cleanup),
    ("system-backup", scenario::system_backup),
    ("volume-life", scenario::volume_life),
    ("workers", explore::jobs),
    ("page", explore::page),
    ("shrinking", explore::shrinking),
];

/// The lines that need seeds/; outside a checkout the others are measured without them.
const OF_SEEDS: [&str; 3] = ["replay", "page", "shrinking"];

/// Measures and prints a table.
pub fn bench(options: &BenchOptions) -> Done {
    let lines: Vec<&Line> = LINES.iter().filter(|(name, _)| name.contains(&options.only)).collect();
    if lines.is_empty() {
        let known = LINES.iter().map(|(name, _)| *name);
        return Err(corral_world::text::unknown_name("figure", &options.only, known).into());
    }
    if lines.iter().all(|(name, _)| OF_SEEDS.contains(name)) {
        crate::replay::load(&[])?;
    }
    // They may be the same file.
    let earlier = options.compare.as_deref().map(load).transpose()?;
    options.json.as_deref().map(probe).transpose()?;
    let scale = Scale(if options.quick { 1 } else { 10 });
    let mut report = Report {
        machine: machine(),
        commit: commit(),
        toolchain: toolchain(),
        profile: if cfg!(debug_assertions) { "debug: figures mean nothing" } else { "release" }.to_owned(),
        figures: Vec::new(),
    };
    say(format_args!("{}; commit {}; rustc {}; {}", report.machine, report.commit, report.toolchain, report.profile));
    for (name, measure) in lines {
        eprintln!("measuring {name} ...");
        report.figures.extend(measure(scale));
    }
    say(table(&rows(&report.figures, earlier.as_ref())).trim_end());
    if let Some(path) = &options.json {
        let written = write_whole(path, |out| serde_json::to_writer_pretty(out, &report).map_err(Into::into));
        written.map_err(|error| Refused::path(path, "cannot be written", error))?;
    }
    Ok(Status::AsExpected)
}

fn rows(figures: &[Figure], earlier: Option<&Report>) -> Vec<Vec<String>> {
    let mut rows = vec![["figure", "value", "unit", "target", "met", "before", "change"].map(str::to_owned).to_vec()];
    for figure in figures {
        let before = earlier.and_then(|report| report.figures.iter().find(|old| old.name == figure.name));
        let met = match figure.is_met() {
            None => "",
            Some(true) => "yes",
            Some(false) => "NO",
        };
        rows.push(vec![
            figure.name.clone(),
            number(figure.value),
            figure.unit.clone(),
            figure.target.map(number).unwrap_or_default(),
            met.to_owned(),
            before.map(|old| number(old.value)).unwrap_or_default(),
            before.map(|old| format!("{:+.1} %", (figure.value / old.value - 1.0) * 100.0)).unwrap_or_default(),
        ]);
    }
    rows
}

fn number(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn load(path: &Path) -> Result<Report, Refused> {
    let text = std::fs::read_to_string(path).map_err(|error| Refused::path(path, "cannot be read", error))?;
    serde_json::from_str(&text).map_err(|error| Refused::path(path, "is no bench report", error))
}

/// Real time that `work` takes.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time, outside every simulation")]
    let began = Instant::now();
    let value = work();
    (began.elapsed(), value)
}

/// Real time of one of `count` operations: that of many, less that of few.
pub fn each(count: u64, work: impl Fn(u64)) -> Duration {
    let few = (count / 20).max(1);
    work(few);
    let (short, ()) = timed(|| work(few));
    let (long, ()) = timed(|| work(few + count));
    Duration::from_secs_f64(long.saturating_sub(short).as_secs_f64() / count as f64)
}

/// Resident memory of this process, in MiB.
pub fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = status.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0.0);
    pages * 4096.0 / f64::from(1 << 20)
}
