//! The command line.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use corral_core::Fork;
use corral_explore::{Shard, ShrinkBudget};
use corral_world::Arm;

/// A deterministic simulation testbed for Longhorn: a seed decides everything that is left to chance.
///
/// Without a command: `corral replay`. Exit status: 0 as expected, 1 a violation (or a seed file that did not behave as it says), 2 usage or bad
/// input, 3 not deterministic, 4 stuck.
#[derive(Debug, Parser)]
#[command(version, name = "corral")]
pub struct Corral {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replay seed files (all of seeds/ by default), every arm
    Replay(ReplayOptions),
    /// One run of a scenario
    Run(RunOptions),
    /// Where a failing run parts from its passing twin, and the chain of events behind its violation
    Explain(ExplainOptions),
    /// The smallest plan that still shows what a seed file is about
    Shrink(ShrinkOptions),
    /// A journal as a page, as a trace for Perfetto, or as JUnit's XML
    Report(ReportOptions),
    /// Many seeds; failures grouped by signature, run again alone, shrunk, attributed, explained and kept
    Fuzz(FuzzOptions),
    /// The results of several fuzz runs as one
    Merge(MergeOptions),
    /// How many seeds, and how much processor time, it takes to find what seed files are about, without their plans
    Find(FindOptions),
    /// A worker of `fuzz` and `find`: runs jobs from standard input
    #[command(hide = true)]
    Worker,
    /// What there is to choose from
    List {
        /// Of what
        what: Listing,
    },
    /// The API server with its garbage collector and namespace clean-up, in the real world
    Apiserver(ApiserverOptions),
    /// The cluster of a run as it was at a moment, for kubectl: reads its journal, does it again, and serves its API
    Inspect(InspectOptions),
    /// Longhorn's custom resource definitions, or what a list of field paths has and they lack
    Crds(CrdsOptions),
    /// How fast it is, on this machine
    Bench(BenchOptions),
}

impl Default for Command {
    fn default() -> Command {
        Command::Replay(ReplayOptions::default())
    }
}

/// Options of `replay`.
#[derive(Args, Debug, Default)]
pub struct ReplayOptions {
    /// Seed files
    pub files: Vec<PathBuf>,
    /// Run the stored plan under N other seeds too, and say how many reach the violation; exit status 1 unless of an arm that fails nine in ten do, and
    /// of one that passes none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub robust: u64,
    /// For a file of which an arm is not as expected, search for a seed (or a plan) under which it shows what it is about again, and propose it as a patch
    #[arg(long)]
    pub reseed: bool,
    /// Write a page for each file into this folder, of its first failing arm beside the twin that passes, and an index
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Runs side by side (as many as there are cores by default)
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
}

/// Options of `explain`.
#[derive(Args, Debug)]
pub struct ExplainOptions {
    /// A seed file, or the journal of a failing run
    pub file: PathBuf,
    /// For a journal: the journal of the passing twin
    #[arg(long, value_name = "JOURNAL")]
    pub twin: Option<PathBuf>,
    /// Lines at the most, without what --decided adds
    #[arg(long, value_name = "N", default_value_t = corral_explore::USUAL_LINES, value_parser = clap::value_parser!(u16).range(10..))]
    pub lines: u16,
    /// What became of the object of this name, instead of those that belong to the violation
    #[arg(long, value_name = "NAME")]
    pub about: Vec<String>,
    /// Say when in the run it was decided, too: at most 40 more runs of it, each by other chance from some time on
    #[arg(long)]
    pub decided: bool,
}

/// What of the system under test runs.
#[derive(Args, Clone, Debug, Default)]
pub struct ArmOptions {
    /// The release an upgrade starts from
    #[arg(long, value_name = "RELEASE", default_value = "", hide_default_value = true)]
    pub from: String,
    /// The release (see `corral list releases`)
    #[arg(long, value_name = "RELEASE", default_value_t = corral_scenarios::default_release(), value_parser = parse_release)]
    pub release: String,
    /// Take a recorded defect away (see `corral list defects`)
    #[arg(long, value_name = "ID")]
    pub cured: Vec<String>,
    /// Take a recorded defect away and leave images' tags as they are: the run is the same up to where that makes a difference
    #[arg(long, value_name = "ID")]
    pub silenced: Vec<String>,
    /// Add a recorded defect
    #[arg(long, value_name = "ID")]
    pub defect: Vec<String>,
    /// Set a parameter of the scenario (see `corral list parameters`)
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
}

impl ArmOptions {
    /// As the world names it.
    pub fn arm(&self) -> Arm {
        Arm {
            from: self.from.clone(),
            release: self.release.clone(),
            cured: self.cured.clone(),
            silenced: self.silenced.clone(),
            defect: self.defect.clone(),
            set: self.set.iter().cloned().collect::<BTreeMap<_, _>>(),
        }
    }
}

fn parse_release(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it names none; see `corral list releases`".to_owned()) } else { Ok(text.to_owned()) }
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no address; allowed is IP:PORT, as in 127.0.0.1:8001"))
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Options of `run`.
#[derive(Args, Debug)]
pub struct RunOptions {
    /// The scenario (see `corral list scenarios`)
    pub scenario: String,
    /// The seed: a number or a git hash
    #[arg(long, value_name = "N", default_value = "0")]
    pub seed: String,
    /// What of the system runs.
    #[command(flatten)]
    pub arm: ArmOptions,
    /// Take the plan from this file, or from this seed file, instead of expanding the seed
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// From this time on, be another run: all draws are others, which N decides; up to then it is the same
    #[arg(long, value_name = "TIME/N", value_parser = corral_world::text::parse_fork)]
    pub fork: Option<Fork>,
    /// Print the plan and run nothing
    #[arg(long)]
    pub print_plan: bool,
    /// Write the full journal here, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// Print the models' logs at this level and above: error, warn, info, debug
    #[arg(long, value_name = "LEVEL")]
    pub logs: Option<tracing_level::Level>,
    /// Run twice and compare the digests
    #[arg(long)]
    pub twice: bool,
    /// Count hazards as violations
    #[arg(long)]
    pub hazards: bool,
}

/// Options of `fuzz`.
#[derive(Args, Debug)]
pub struct FuzzOptions {
    /// Scenarios (all by default)
    pub scenarios: Vec<String>,
    /// Stop after this much real time, if the seeds last so long
    #[arg(long, value_name = "DURATION", value_parser = corral_world::text::parse_duration)]
    pub time: Option<Duration>,
    /// These seeds: A..B
    #[arg(long, value_name = "A..B")]
    pub seeds: Option<String>,
    /// Worker processes (as many as there are cores by default)
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Only the I-th of N equal parts of the seeds
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// Keep plans that meet new situations and vary them, beside new seeds; needs --out, where the plans of failing runs are kept
    #[arg(long)]
    pub guided: bool,
    /// Begin with the plans that an earlier fuzz run kept in this folder; makes the search a guided one
    #[arg(long, value_name = "DIR")]
    pub corpus: Vec<PathBuf>,
    /// What of the system runs.
    #[command(flatten)]
    pub arm: ArmOptions,
    /// Write what is found into this folder: a line for each run; for each kind of failure its seed file, its journals and its page; an index
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Runs that shrinking a failure may take
    #[arg(long, value_name = "N", default_value_t = ShrinkBudget::default().runs)]
    pub shrink_runs: u32,
    /// Do not try which recorded defects a failure needs
    #[arg(long)]
    pub no_attribution: bool,
    /// Write the outcome as JUnit's XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write the digest of each run into this file, one a line
    #[arg(long, value_name = "FILE")]
    pub digests: Option<PathBuf>,
}

/// Options of `merge`.
#[derive(Args, Debug)]
pub struct MergeOptions {
    /// Folders that `fuzz --out` wrote
    #[arg(required = true)]
    pub folders: Vec<PathBuf>,
    /// The folder for all of them together
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Options of `shrink`.
#[derive(Args, Debug)]
pub struct ShrinkOptions {
    /// The seed file
    pub file: PathBuf,
    /// Where the smaller one goes (standard output by default)
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Runs that it may take
    #[arg(long, value_name = "N", default_value_t = ShrinkBudget::default().runs)]
    pub runs: u32,
    /// Worker processes (as many as there are cores by default)
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
}

/// Options of `report`.
#[derive(Args, Debug)]
pub struct ReportOptions {
    /// The journal (`corral run --journal FILE`)
    pub journal: PathBuf,
    /// What to write, by its ending: a page (.html), a trace for ui.perfetto.dev (.trace.json), its violations as data (.json), JUnit's XML (.xml)
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    /// The journal of the passing twin, shown beside it
    #[arg(long, value_name = "JOURNAL")]
    pub twin: Option<PathBuf>,
}

/// Options of `find`.
#[derive(Args, Debug)]
pub struct FindOptions {
    /// Seed files (all of seeds/ by default)
    pub files: Vec<PathBuf>,
    /// Starting points for each, far apart; from each, seeds are taken in order
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub starts: u16,
    /// Keep plans that meet new situations and vary them, beside new seeds
    #[arg(long)]
    pub guided: bool,
    /// Processor time after which a search is given up
    #[arg(long, value_name = "DURATION", default_value = "20m", value_parser = corral_world::text::parse_duration)]
    pub cap: Duration,
    /// Note each search as a line of this file as soon as it is done, and do none again that stands there
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Worker processes (as many as there are cores by default)
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
}

/// What `list` shows.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Listing {
    /// Scenarios
    Scenarios,
    /// Oracles: what each demands, and where
    Oracles,
    /// What is dangerous and no damage yet
    Hazards,
    /// Probes
    Probes,
    /// Faults
    Faults,
    /// Releases
    Releases,
    /// The table of recorded defects
    Defects,
    /// Parameters of the scenarios
    Parameters,
}

/// Options of `apiserver`.
#[derive(Args, Debug)]
pub struct ApiserverOptions {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8001", value_parser = parse_address)]
    pub listen: SocketAddr,
    /// Allow an address that other machines can reach; the server has no authentication
    #[arg(long)]
    pub allow_remote: bool,
}

/// Options of `inspect`.
#[derive(Args, Debug)]
pub struct InspectOptions {
    /// The journal, as `run --journal` writes it
    pub journal: PathBuf,
    /// Time since the run began, such as 12m30s; by default that of the first violation, or the run's end if there is none
    #[arg(long, value_name = "TIME", value_parser = corral_world::text::parse_duration)]
    pub at: Option<Duration>,
    /// Where it is served.
    #[command(flatten)]
    pub server: ApiserverOptions,
}

/// Options of `crds`.
#[derive(Args, Debug)]
pub struct CrdsOptions {
    /// The release (see `corral list releases`)
    #[arg(long, value_name = "RELEASE", default_value = "", hide_default_value = true)]
    pub release: String,
    /// Compare with this list: headings `## Kind`, lines `path type`. Names each gap; the last line is the share that is there
    #[arg(long, value_name = "FILE")]
    pub diff: Option<PathBuf>,
}

/// Options of `bench`.
#[derive(Args, Debug)]
pub struct BenchOptions {
    /// A tenth of the work
    #[arg(long)]
    pub quick: bool,
    /// Only lines whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub only: String,
    /// Write the figures here
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Compare with the figures of an earlier run
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
}

/// Log levels as clap reads them.
pub mod tracing_level {
    use clap::ValueEnum;

    /// A level of the models' logs.
    #[derive(Clone, Copy, Debug, ValueEnum)]
    pub enum Level {
        /// Errors
        Error,
        /// Warnings
        Warn,
        /// Information
        Info,
        /// Everything
        Debug,
    }

    impl From<Level> for tracing::Level {
        fn from(level: Level) -> tracing::Level {
            match level {
                Level::Error => tracing::Level::ERROR,
                Level::Warn => tracing::Level::WARN,
                Level::Info => tracing::Level::INFO,
                Level::Debug => tracing::Level::DEBUG,
            }
        }
    }
}
