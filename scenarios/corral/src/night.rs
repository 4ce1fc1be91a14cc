//! The folder of a fuzz run: a line for each run, and for each kind of failure a seed file, journals and pages.
//!
//! `runs.jsonl` is written as the runs come, a finding's files as soon as it is known, `summary.json`, `index.html` and `junit.xml` before and after
//! each finding is looked into and at the end. Each file is written beside its name and then moved there: whatever ends the process, what was found
//! before is whole. `summary.md`, to open an issue with, goes with them.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use corral_core::Nanos;
use corral_core::journal::{JournalFile, content_hash, file};
use corral_explore::{
    Decided, Finding, Group, Origin, Ran, Signature, Tally, parting, violations, with_plan, write_whole,
};
use corral_reports::{Files, Night, Page};
use corral_scenarios::catalogue;
use corral_world::text::quoted;
use corral_world::{Arm, Recipe, Violation};
use serde::Deserialize;

use crate::failure::Refused;
use crate::finding;
use crate::journal;
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

/// What a night is of; see [`Night`].
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// What was tested.
    pub arm: String,
    /// The scenarios, by name.
    pub scenarios: Vec<String>,
    /// The seeds, as they were asked for.
    pub seeds: Vec<String>,
    /// What it ran on.
    pub machine: String,
    /// Commit of Corral.
    pub commit: String,
    /// Version of the Rust toolchain.
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

/// What the files of a finding were called, without their endings, and are called now.
struct Renamed {
    old: String,
    new: String,
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

    /// Keeps a failure as it was met, before anything is tried with it: what is `new` of it, and the night's pages.
    pub fn begin(
        &mut self,
        ran: &Ran,
        new: &BTreeSet<Signature>,
        tally: &Tally,
        took: Duration,
    ) -> io::Result<corral_explore::Files> {
        let name = name_of(&ran.recipe);
        let files = corral_explore::Files {
            seed: self.path.join(format!("{name}.toml")),
            journal: self.path.join(format!("{name}.jsonl")),
            twin: self.path.join(format!("{name}-twin.jsonl")),
        };
        let recipe = with_plan(catalogue(), &ran.recipe);
        let along = ran.signatures.difference(new).cloned().collect();
        write(&files.seed, finding::seed_file_as_met(&recipe, new, &along, &self.told).to_toml().as_bytes())?;
        self.write_pages(tally, took)?;
        Ok(files)
    }

    /// Keeps what was found out about a failure, and brings the night's pages up to date.
    pub fn found(&mut self, ran: &Ran, finding: &Finding, tally: &Tally, took: Duration) -> io::Result<()> {
        let name = name_of(&ran.recipe);
        let seed = self.path.join(format!("{name}.toml"));
        let reproduce = reproduce(&self.path, &ran.recipe);
        // Whatever cannot be written here is told elsewhere: on the terminal, in another place's JUnit.
        self.findings.push(finding::told(&ran.recipe, finding, &name, reproduce));
        write(&seed, finding::seed_file_as_known(finding, &self.told).to_toml().as_bytes())?;
        write_page(&self.path, &name, finding)?;
        self.write_pages(tally, took)
    }

    /// Takes over what another night's folder has of a failure, with its files.
    ///
    /// # Errors
    /// They cannot be copied.
    pub fn take(&mut self, folder: &Path, mut finding: corral_reports::Finding) -> Result<(), Refused> {
        if finding.files.seed.is_empty() {
            // Nothing is known of it but that it was met.
            return Ok(());
        }
        let name = self.name_for(folder, &finding.files.seed);
        let Files { seed, journal, report, twin } = &mut finding.files;
        for file in [Some(seed), Some(journal), Some(report), twin.as_mut()].into_iter().flatten() {
            let ending = file.strip_prefix(name.old.as_str()).unwrap_or_default();
            let (from, renamed) = (folder.join(&file), format!("{}{ending}", name.new));
            if from.is_file() {
                copy(&from, &self.path.join(&renamed))?;
                *file = renamed;
            }
        }
        // The first line names the seed file.
        if let Some(first) = finding.reproduce.first_mut() {
            *first = replay_line(&self.path.join(&finding.files.seed));
        }
        self.readdress(&finding)?;
        self.findings.push(finding);
        Ok(())
    }

    /// Journals and page of a finding that was taken over say where its files are now.
    fn readdress(&self, finding: &corral_reports::Finding) -> Result<(), Refused> {
        let [seed, journal, report] = [&finding.files.seed, &finding.files.journal, &finding.files.report];
        let is_here = |name: &String| !name.is_empty() && self.path.join(name).is_file();
        let twin = finding.files.twin.as_ref().filter(|twin| is_here(twin));
        if !is_here(journal) || !is_here(report) {
            return Ok(());
        }
        let [seed, journal] = [seed, journal].map(|name| self.path.join(name));
        let files = corral_explore::Files { seed, journal, twin: self.path.join(twin.unwrap_or(report)) };
        let read = || {
            Ok::<_, Refused>((journal::read(&files.journal)?, twin.map(|_| journal::read(&files.twin)).transpose()?))
        };
        // Those of another version stay as they are.
        let Ok((mut run, mut passing)) = read() else { return Ok(()) };
        let unknown = |error| Refused::path(&files.journal, "does not say of which run it is", error);
        let failure = Recipe::deserialize(&run.header.run).map_err(unknown)?;
        for (path, journal) in
            std::iter::once((&files.journal, &mut run)).chain(passing.as_mut().map(|twin| (&files.twin, twin)))
        {
            let of = Recipe::deserialize(&journal.header.run).map_err(unknown)?;
            journal.header.reproduce = files.reproduce(&failure, &of, path);
            let bytes = std::fs::read(path).map_err(|error| Refused::path(path, "cannot be read", error))?;
            let bytes = file::with_header(&bytes, &journal.header).map_err(Refused::new)?;
            write(path, &bytes).map_err(Refused::new)?;
        }
        let corral_reports::Finding { divergence, chain, decided_ns, .. } = finding;
        let decided = decided_ns.map(|(open, lost)| (Nanos(open), Nanos(lost)));
        let parted_at = passing.as_ref().and_then(|twin| parting(&run, twin));
        let page = Page { run: &run, twin: passing.as_ref(), divergence, chain, parted_at, decided };
        write(&self.path.join(report), page.html().as_bytes()).map_err(Refused::new)
    }

    /// Whether every run that was done again was the same.
    pub fn is_deterministic(&self) -> bool {
        self.findings.iter().all(|finding| finding.is_deterministic)
    }

    /// What the files of a finding are called here: as in their own folder, unless the same run was looked into for something else there.
    fn name_for(&self, folder: &Path, seed: &str) -> Renamed {
        let old = seed.trim_end_matches(".toml").to_owned();
        let content = std::fs::read(folder.join(seed)).ok();
        let is_free = |name: &String| {
            let there = std::fs::read(self.path.join(format!("{name}.toml"))).ok();
            there.is_none() || there == content
        };
        let others = (2..).map(|number| format!("{old}-{number}"));
        let new = std::iter::once(old.clone()).chain(others).find(is_free).unwrap_or_default();
        Renamed { old, new }
    }

    /// Lines of shell that do a run again.
    pub fn reproduce(&self, recipe: &Recipe) -> Vec<String> {
        reproduce(&self.path, recipe)
    }

    /// Brings everything up to date for the last time.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(&mut self, tally: &Tally, took: Duration) -> Result<(), Refused> {
        self.write_pages(tally, took).map_err(Refused::new)
    }

    fn write_pages(&self, tally: &Tally, took: Duration) -> io::Result<()> {
        let told = |group: &Group, signature: &Signature| self.met(group, signature);
        write_summary(&self.path, &night(tally, &self.told, &self.findings, told, took))
    }

    /// A failure that was met and not looked into.
    fn met(&self, group: &Group, signature: &Signature) -> Option<corral_reports::Finding> {
        let recipe = group.unexplained.as_ref().or(group.first.first())?;
        let seed = format!("{}.toml", name_of(recipe));
        let is_kept = self.path.join(&seed).is_file();
        let story = match group.unexplained {
            Some(_) => "It was met and not looked into: whatever ended the search came before that.",
            None => "It came only beside other violations, which were looked into; it may be a symptom of those.",
        };
        Some(corral_reports::Finding {
            story: story.to_owned(),
            reproduce: reproduce(&self.path, recipe),
            files: Files { seed: if is_kept { seed } else { String::new() }, ..Files::default() },
            ..finding::bare(signature, recipe)
        })
    }
}

/// Writes the page of a failure, as far as it is known.
pub fn write_page(folder: &Path, name: &str, finding: &Finding) -> io::Result<()> {
    let Some((journal, twin)) = &finding.journals else { return Ok(()) };
    let (divergence, chain) = (&finding.divergence.lines, &finding.chain);
    let parted_at = twin.as_ref().and_then(|twin| parting(journal, twin));
    let decided = finding.decided.as_ref().and_then(Decided::span);
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

/// What a failure's files are called. A guided search runs several plans under one seed.
fn name_of(recipe: &Recipe) -> String {
    let name = format!("{}-{}", recipe.scenario, recipe.seed);
    match &recipe.plan {
        None => name,
        Some(plan) => {
            let plan = serde_json::to_vec(plan).expect("a plan can be written as JSON");
            format!("{name}-{:08x}", content_hash(&plan) as u32)
        }
    }
}

fn replay_line(seed_file: &Path) -> String {
    format!("corral replay {}", quoted(seed_file.display()))
}

/// Lines of shell that do a run again: by the seed file that a folder has of it, and by its seed, unless a guided search made its plan.
fn reproduce(folder: &Path, recipe: &Recipe) -> Vec<String> {
    let seed_file = folder.join(format!("{}.toml", name_of(recipe)));
    let by_file = seed_file.is_file().then(|| replay_line(&seed_file));
    let by_seed = recipe.plan.is_none().then(|| recipe.command(None));
    by_file.into_iter().chain(by_seed).collect()
}

/// Copies a file, unless it is there already.
pub fn copy(from: &Path, to: &Path) -> Result<(), Refused> {
    let is_there = matches!((from.canonicalize(), to.canonicalize()), (Ok(from), Ok(to)) if from == to);
    let copied = if is_there { Ok(0) } else { std::fs::copy(from, to) };
    copied.map(drop).map_err(|error| Refused::path(to, "cannot be written", error))
}

/// Writes a file as a whole or not at all.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let written = write_whole(path, |out| out.write_all(content));
    written.map_err(|error| at(path, &error))
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: cannot be written: {error}", path.display()))
}

/// The night as data: each group of equal failures once, by the earliest run in which it was looked into, or by the one that was looked into for it and
/// something else. Of what was not looked into, `met` tells.
pub fn night(
    tally: &Tally,
    told: &Told,
    findings: &[corral_reports::Finding],
    met: impl Fn(&Group, &Signature) -> Option<corral_reports::Finding>,
    took: Duration,
) -> Night {
    let of_group = |finding: &corral_reports::Finding, group: &Group| {
        let examples = group.first.iter().map(example).collect();
        corral_reports::Finding { runs: group.runs, examples, ..finding.clone() }
    };
    let of = |(signature, group): (&Signature, &Group)| {
        let (oracle, text) = (&signature.0, &signature.1);
        let is_it = |finding: &&corral_reports::Finding| (&finding.oracle, &finding.signature) == (oracle, text);
        let is_beside = |finding: &&corral_reports::Finding| {
            finding.also.iter().any(|also| (&also.oracle, &also.signature) == (oracle, text))
        };
        let own = first(findings.iter().filter(is_it)).cloned();
        let beside = || first(findings.iter().filter(is_beside)).map(|finding| told_beside(signature, finding));
        let found = own.or_else(beside).or_else(|| met(group, signature))?;
        Some(of_group(&found, group))
    };
    let mut kept: Vec<_> = tally.groups.iter().filter_map(of).collect();
    kept.sort_by(|one, other| (place(one), &one.signature).cmp(&(place(other), &other.signature)));
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

/// A run as people say it: its scenario and its seed.
pub fn example(recipe: &Recipe) -> String {
    format!("{} {}", recipe.scenario, recipe.seed)
}

/// The first of several findings of one failure: what was looked into before what was not.
fn first<'a>(findings: impl Iterator<Item = &'a corral_reports::Finding>) -> Option<&'a corral_reports::Finding> {
    findings.min_by_key(|&finding| (finding.chain.is_empty(), place(finding)))
}

/// A failure that was looked into together with another one, under which that is told.
fn told_beside((oracle, signature): &Signature, finding: &corral_reports::Finding) -> corral_reports::Finding {
    corral_reports::Finding {
        oracle: oracle.clone(),
        signature: signature.clone(),
        detail: signature.clone(),
        at_ns: 0,
        story: format!("It came with another violation, and was looked into with that: {}.", finding.signature),
        removed: Vec::new(),
        attribution: Vec::new(),
        divergence: Vec::new(),
        chain: Vec::new(),
        also: Vec::new(),
        ..finding.clone()
    }
}

/// Writes the night for a build server, wherever it wants it.
pub fn write_junit(
    path: &Path,
    tally: &Tally,
    told: &Told,
    folder: Option<&NightFolder>,
    took: Duration,
) -> Result<(), Refused> {
    let night = match folder {
        Some(folder) => night(tally, told, &folder.findings, |group, signature| folder.met(group, signature), took),
        None => night(tally, told, &[], finding::plain, took),
    };
    write(path, corral_reports::junit(&night).as_bytes()).map_err(Refused::new)
}

/// Where a finding stands among others: by seed, then by scenario.
fn place(finding: &corral_reports::Finding) -> (u64, &str) {
    (finding.seed, &finding.scenario)
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
        ..night(&Tally::default(), &told, &[], |_, _| None, Duration::ZERO)
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
