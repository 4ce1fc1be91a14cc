//! The folder of a fuzz run: a line for each run, and for each kind of failure a seed file, journals and pages.
//!
//! `runs.jsonl` is written as the runs come, a finding's files as soon as it is known, `summary.json`, `index.html` and `junit.xml` after each finding
//! and at the end. Each file is written beside its name and then moved there: whatever ends the process, what was found before is whole.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use corral_core::journal::JournalFile;
use corral_explore::{Finding, Group, Origin, Ran, Tally, parting, violations, with_plan};
use corral_reports::{Files, Night, Page};
use corral_scenarios::catalogue;
use corral_world::{Arm, Recipe, Violation};
use serde::Deserialize;

use crate::failure::Refused;
use crate::finding;
use crate::lines::{self, Lines};
use crate::provenance::{commit, machine, toolchain};

/// A line for each run.
pub const RUNS: &str = "runs.jsonl";
/// All that was found, as data.
pub const SUMMARY: &str = "summary.json";
/// The page to begin with.
pub const INDEX: &str = "index.html";
/// To open an issue with.
const ISSUE: &str = "summary.md";
/// For build servers.
const JUNIT: &str = "junit.xml";

/// What a night is of.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub arm: String,
    pub scenarios: Vec<String>,
    pub seeds: Vec<String>,
    pub machine: String,
    pub commit: String,
    pub toolchain: String,
}

impl Told {
    /// With what this machine and this checkout are.
    pub fn here() -> Told {
        Told { machine: machine(), commit: commit(), toolchain: toolchain(), ..Told::default() }
    }

    /// Who makes the runs.
    pub fn origin(&self) -> Origin {
        Origin { commit: self.commit.clone(), toolchain: self.toolchain.clone() }
    }
}

/// The folder while it is being filled.
pub struct NightFolder {
    path: PathBuf,
    told: Told,
    runs: Lines,
    findings: Vec<corral_reports::Finding>,
}

impl NightFolder {
    /// Makes the folder, or takes one that holds no night yet.
    ///
    /// # Errors
    /// It cannot be made or written, or there is a night in it.
    pub fn new(path: &Path, told: Told) -> Result<NightFolder, Refused> {
        std::fs::create_dir_all(path).map_err(|error| Refused::path(path, "cannot be made", error))?;
        let runs = path.join(RUNS);
        let runs = Lines::create(&runs).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Refused::new(format!("{}: holds the runs of another night; name a new folder", path.display()))
            }
            _ => Refused::path(path, "cannot be written", error),
        })?;
        let folder = NightFolder { path: path.to_owned(), told, runs, findings: Vec::new() };
        // A night that is cut short can be merged all the same.
        folder.write_pages(&Tally::default(), Duration::ZERO).map_err(Refused::new)?;
        Ok(folder)
    }

    /// Who makes the runs.
    pub fn origin(&self) -> Origin {
        self.told.origin()
    }

    /// The page to begin with.
    pub fn index(&self) -> PathBuf {
        self.path.join(INDEX)
    }

    /// Notes a run.
    pub fn ran(&mut self, ran: &Ran) -> io::Result<()> {
        self.runs.add(ran)
    }

    /// Keeps a failure as it was met, before anything is tried with it.
    pub fn begin(&mut self, ran: &Ran) -> io::Result<corral_explore::Files> {
        let name = name_of(&ran.recipe.scenario, ran.recipe.seed);
        let files = corral_explore::Files {
            seed: self.path.join(format!("{name}.toml")),
            journal: self.path.join(format!("{name}.jsonl")),
            twin: self.path.join(format!("{name}-twin.jsonl")),
        };
        let recipe = with_plan(catalogue(), &ran.recipe);
        write(&files.seed, finding::seed_file_as_met(&recipe, &ran.signatures, &self.told).to_toml().as_bytes())?;
        Ok(files)
    }

    /// Keeps what was found out about a failure, and brings the night's pages up to date.
    pub fn found(&mut self, ran: &Ran, finding: &Finding, tally: &Tally, took: Duration) -> io::Result<()> {
        let name = name_of(&ran.recipe.scenario, ran.recipe.seed);
        let seed = self.path.join(format!("{name}.toml"));
        write(&seed, finding::seed_file_as_known(finding, &self.told).to_toml().as_bytes())?;
        write_page(&self.path, &name, finding)?;
        // A plan that a guided search made stands in the seed file alone.
        let by_seed = ran.recipe.plan.is_none().then(|| ran.recipe.command(None));
        let reproduce = std::iter::once(format!("corral replay {}", seed.display())).chain(by_seed).collect();
        self.findings.push(finding::told(&ran.recipe, finding, &name, reproduce));
        self.write_pages(tally, took)
    }

    /// Takes over what another night's folder has of a failure, with its files.
    ///
    /// # Errors
    /// They cannot be copied.
    pub fn take(&mut self, folder: &Path, finding: corral_reports::Finding) -> Result<(), Refused> {
        let Files { seed, journal, report, twin } = &finding.files;
        let names = [Some(seed), Some(journal), Some(report), twin.as_ref()].into_iter().flatten();
        for name in names.filter(|name| folder.join(name).is_file()) {
            let to = self.path.join(name);
            std::fs::copy(folder.join(name), &to).map_err(|error| Refused::path(&to, "cannot be written", error))?;
        }
        self.findings.push(finding);
        Ok(())
    }

    /// Brings everything up to date for the last time.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(&mut self, tally: &Tally, took: Duration) -> Result<(), Refused> {
        self.write_pages(tally, took).map_err(Refused::new)
    }

    fn write_pages(&self, tally: &Tally, took: Duration) -> io::Result<()> {
        write_summary(&self.path, &night(tally, &self.told, &self.findings, took))
    }
}

/// Writes the page of a failure, as far as it is known.
pub fn write_page(folder: &Path, name: &str, finding: &Finding) -> io::Result<()> {
    let Some((journal, twin)) = &finding.journals else { return Ok(()) };
    let (divergence, chain) = (&finding.divergence.lines, &finding.chain);
    let parted_at = twin.as_ref().and_then(|twin| parting(journal, twin));
    let decided = finding.decided.as_ref().and_then(|decided| Some((decided.open_at()?, decided.lost_at)));
    let page = Page { run: journal, twin: twin.as_ref(), divergence, chain, parted_at, decided };
    write(&folder.join(format!("{name}.html")), page.html().as_bytes())
}

/// Writes all that is told of many runs.
pub fn write_summary(folder: &Path, night: &Night) -> io::Result<()> {
    let mut summary = serde_json::to_vec_pretty(night)?;
    summary.push(b'\n');
    write(&folder.join(SUMMARY), &summary)?;
    write(&folder.join(INDEX), corral_reports::index(night).as_bytes())?;
    write(&folder.join(ISSUE), corral_reports::markdown(night).as_bytes())?;
    write(&folder.join(JUNIT), corral_reports::junit(night).as_bytes())
}

/// What a failure's files are called.
fn name_of(scenario: &str, seed: u64) -> String {
    format!("{scenario}-{seed}")
}

/// Writes a file as a whole or not at all.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("part");
    let written = std::fs::write(&beside, content).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| at(path, &error))
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: cannot be written: {error}", path.display()))
}

/// The night as data: of the findings, those whose run is the first of a group.
pub fn night(tally: &Tally, told: &Told, findings: &[corral_reports::Finding], took: Duration) -> Night {
    let mut kept = Vec::new();
    for finding in findings {
        let is_first = |group: &&Group| {
            group.first.first().is_some_and(|(scenario, seed)| *scenario == finding.scenario && *seed == finding.seed)
        };
        // The group of the most runs among those that begin with this run: its size is what this failure comes to.
        let Some(group) = tally.groups.values().filter(is_first).max_by_key(|group| group.runs) else { continue };
        let examples = group.first.iter().map(|(scenario, seed)| format!("{scenario} {seed}")).collect();
        kept.push(corral_reports::Finding { runs: group.runs, examples, ..finding.clone() });
    }
    kept.sort_by(|one, other| (one.seed, &one.scenario).cmp(&(other.seed, &other.scenario)));
    Night {
        version: Night::VERSION,
        title: format!("{} under {}", told.scenarios.join(", "), told.arm),
        commit: told.commit.clone(),
        toolchain: told.toolchain.clone(),
        machine: told.machine.clone(),
        arm: told.arm.clone(),
        seeds: told.seeds.clone(),
        scenarios: told.scenarios.clone(),
        runs: tally.runs,
        failed: tally.failed,
        simulated_seconds: tally.simulated.as_secs_f64(),
        real_seconds: took.as_secs_f64(),
        events: tally.events,
        coverage: tally.situations.len() as u64,
        findings: kept,
    }
}

/// Writes the night for a build server, wherever it wants it.
pub fn write_junit(
    path: &Path,
    tally: &Tally,
    told: Told,
    arm: &Arm,
    folder: Option<&NightFolder>,
    took: Duration,
) -> Result<(), Refused> {
    let findings = folder.map_or_else(|| finding::plain(tally, arm), |folder| folder.findings.clone());
    let night = night(tally, &told, &findings, took);
    write(path, corral_reports::junit(&night).as_bytes()).map_err(Refused::new)
}

/// One run as a night.
pub fn of_run(run: &JournalFile) -> Night {
    let unknown = || Recipe { scenario: String::new(), arm: Arm::default(), seed: 0, plan: None, fork: None };
    let recipe = Recipe::deserialize(&run.header.run).unwrap_or_else(|_| unknown());
    let told = Told {
        scenarios: vec![recipe.scenario.clone()],
        seeds: vec![recipe.seed.to_string()],
        arm: recipe.arm.to_string(),
        machine: machine(),
        commit: run.header.commit.clone(),
        toolchain: run.header.toolchain.clone(),
    };
    let finding = |found: &Violation| corral_reports::Finding {
        detail: found.detail.clone(),
        at_ns: found.at.0,
        reproduce: vec![run.header.reproduce.clone()],
        ..finding::bare(&found.group(), &recipe)
    };
    let findings: Vec<_> = violations(run).iter().map(finding).collect();
    Night {
        runs: 1,
        failed: u64::from(!findings.is_empty()),
        simulated_seconds: run.header.ended_at.as_duration().as_secs_f64(),
        events: run.records.len() as u64,
        findings,
        ..night(&Tally::default(), &told, &[], Duration::ZERO)
    }
}

/// The runs of earlier nights that met what no run before them had met.
pub fn corpus(folders: &[PathBuf]) -> Result<Vec<Ran>, Refused> {
    let mut all = Vec::new();
    for folder in folders {
        all.extend(
            lines::read::<Ran>(&folder.join(RUNS), "run")?.into_iter().filter(|ran| !ran.new_situations.is_empty()),
        );
    }
    Ok(all)
}
