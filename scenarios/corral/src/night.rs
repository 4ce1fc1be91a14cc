//! The folder of a fuzz run: a line for each run, and for each kind of failure a seed file, journals and pages; and several such folders as one.
//!
//! `runs.jsonl` is written as the runs come, a finding's files as soon as it is known, `summary.json`, `index.html` and `junit.xml` after each finding
//! and at the end. Each file is written beside its name and then moved there: whatever ends the process, what was found before is whole.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use corral_core::journal::JournalFile;
use corral_explore::{
    Attribution, Finding, Group, Origin, Part, Ran, Signature, Tally, parting, violations, with_plan,
};
use corral_reports::{Files, Night, Page};
use corral_scenarios::catalogue;
use corral_world::{Arm, Expectation, Found, Recipe, SeedFile, Violation};

use crate::arguments::MergeOptions;
use crate::bench::{commit, machine, toolchain};
use crate::failure::{Done, Refused, Status};
use crate::fuzz::report;
use crate::say::say;

/// A line for each run.
const RUNS: &str = "runs.jsonl";
/// All that was found, as data.
const SUMMARY: &str = "summary.json";
/// The page to begin with.
const INDEX: &str = "index.html";
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
}

/// The folder while it is being filled.
pub struct NightFolder {
    path: PathBuf,
    told: Told,
    runs: File,
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
        let options = File::options().append(true).create_new(true).clone();
        let runs = options.open(&runs).map_err(|error| match error.kind() {
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
        Origin { commit: self.told.commit.clone(), toolchain: self.told.toolchain.clone() }
    }

    /// The page to begin with.
    pub fn index(&self) -> PathBuf {
        self.path.join(INDEX)
    }

    /// Notes a run.
    pub fn ran(&mut self, ran: &Ran) -> io::Result<()> {
        let mut line = serde_json::to_vec(ran)?;
        line.push(b'\n');
        self.runs.write_all(&line).map_err(|error| at(&self.path.join(RUNS), &error))
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
        let first = ran.signatures.first().cloned().unwrap_or_default();
        write(&files.seed, seed_file(&recipe, &first, &ran.signatures, None, &self.told).to_toml().as_bytes())?;
        Ok(files)
    }

    /// Keeps what was found out about a failure, and brings the night's pages up to date.
    pub fn found(&mut self, ran: &Ran, finding: &Finding, tally: &Tally, took: Duration) -> io::Result<()> {
        let name = name_of(&ran.recipe.scenario, ran.recipe.seed);
        let first = finding.violation.as_ref().map(|found| (found.oracle.clone(), found.signature.clone()));
        let first = first.or_else(|| ran.signatures.first().cloned()).unwrap_or_default();
        let cause = finding.attributions.iter().find(|attribution| attribution.is_cause());
        let passes = cause.map(|cause| {
            let mut arm = finding.recipe.arm.clone();
            // What was added is not added; what the release has is cured.
            if arm.defect.contains(&cause.id) {
                arm.defect.retain(|id| *id != cause.id)
            } else {
                arm.cured.push(cause.id.clone())
            }
            arm
        });
        let file = seed_file(&finding.recipe, &first, &ran.signatures, passes, &self.told);
        let seed = self.path.join(format!("{name}.toml"));
        write(&seed, file.to_toml().as_bytes())?;
        let report = self.path.join(format!("{name}.html"));
        if let Some((journal, twin)) = &finding.journals {
            let (divergence, chain) = (&finding.divergence, &finding.chain);
            let parted_at = twin.as_ref().and_then(|twin| parting(journal, twin));
            let page = Page { run: journal, twin: twin.as_ref(), divergence, chain, parted_at };
            write(&report, page.html().as_bytes())?;
        }
        let seen = &finding.violation;
        let relative = |ending: &str| format!("{name}{ending}");
        let has_twin = finding.journals.as_ref().is_some_and(|(_, twin)| twin.is_some());
        let mut attribution = told_attributions(&finding.attributions);
        attribution.extend(finding.remarks.iter().cloned());
        self.findings.push(corral_reports::Finding {
            oracle: first.0.clone(),
            signature: first.1.clone(),
            detail: seen.as_ref().map_or_else(|| first.1.clone(), |found| found.detail.clone()),
            scenario: ran.recipe.scenario.clone(),
            seed: ran.recipe.seed,
            arm: ran.recipe.arm.to_string(),
            at_ns: seen.as_ref().map_or(0, |found| found.at.0),
            runs: 0,
            examples: Vec::new(),
            story: story(finding, &ran.signatures),
            removed: finding.removed.clone(),
            attribution,
            divergence: finding.divergence.clone(),
            chain: finding.chain.clone(),
            reproduce: vec![
                format!("corral replay {}", seed.display()),
                format!("corral run {} --seed {} {}", ran.recipe.scenario, ran.recipe.seed, ran.recipe.arm.options()),
            ],
            files: Files {
                seed: relative(".toml"),
                journal: relative(".jsonl"),
                report: relative(".html"),
                twin: has_twin.then(|| relative("-twin.jsonl")),
            },
        });
        self.write_pages(tally, took)
    }

    /// Brings everything up to date for the last time.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(&mut self, tally: &Tally, took: Duration) -> Result<(), Refused> {
        self.write_pages(tally, took).map_err(Refused::new)
    }

    fn write_pages(&self, tally: &Tally, took: Duration) -> io::Result<()> {
        let night = night(tally, &self.told, &self.findings, took);
        let mut summary = serde_json::to_vec_pretty(&night)?;
        summary.push(b'\n');
        write(&self.path.join(SUMMARY), &summary)?;
        write(&self.path.join(INDEX), corral_reports::index(&night).as_bytes())?;
        write(&self.path.join(ISSUE), corral_reports::markdown(&night).as_bytes())?;
        write(&self.path.join(JUNIT), corral_reports::junit(&night).as_bytes())
    }
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

/// What each recorded defect has to do with a failure: what says something first, and those that have no part in it on one line.
fn told_attributions(attributions: &[Attribution]) -> Vec<String> {
    let (none, some): (Vec<_>, Vec<_>) = attributions.iter().partition(|attribution| attribution.part == Part::None);
    let (causes, others): (Vec<_>, Vec<_>) = some.into_iter().partition(|attribution| attribution.is_cause());
    let mut lines: Vec<String> = causes.into_iter().chain(others).map(Attribution::told).collect();
    let ids: Vec<&str> = none.iter().map(|attribution| attribution.id.as_str()).collect();
    if !ids.is_empty() {
        lines.push(format!(
            "{}: no part in it; without any one of them the run is the same to the last event",
            ids.join(", ")
        ));
    }
    lines
}

/// What is wrong, since when, and why, in a few sentences.
fn story(finding: &Finding, signatures: &BTreeSet<Signature>) -> String {
    let Some(violation) = &finding.violation else { return "The run did not come to an end.".to_owned() };
    let mut text = format!("{} ({}, seen at {}).", violation.detail, violation.oracle, violation.at);
    let others: Vec<&str> =
        signatures.iter().map(|(oracle, _)| oracle.as_str()).filter(|oracle| *oracle != violation.oracle).collect();
    if !others.is_empty() {
        text.push_str(&format!(" The same run also breaks {}.", others.join(", ")));
    }
    let causes: Vec<&str> =
        finding.attributions.iter().filter(|found| found.is_cause()).map(|found| found.id.as_str()).collect();
    match (causes.as_slice(), &finding.twin) {
        ([], None) if finding.attributions.is_empty() => {}
        ([], None) => text.push_str(" No recorded defect explains it, and no twin passes."),
        ([], Some(differs)) => text.push_str(&format!(" No recorded defect explains it; {differs} the run passes.")),
        (causes, _) => {
            let told = causes.iter().map(|id| match corral_scenarios::cause_of(id) {
                Some(cause) => format!("{id} ({cause})"),
                None => (*id).to_owned(),
            });
            text.push_str(&format!(" It needs the recorded defect {}.", told.collect::<Vec<_>>().join(" or ")));
        }
    }
    // The first thing that the failing run alone does.
    let first =
        finding.divergence.iter().find_map(|line| line.split_once("  fails: ").map(|(at, what)| (at.trim(), what)));
    if let Some((at, what)) = first.filter(|(at, _)| !at.is_empty()) {
        text.push_str(&format!(" The twin that passes goes another way from {at} on, when this one does: {what}."));
    }
    text
}

/// A failure as a seed file.
fn seed_file(
    recipe: &Recipe,
    (oracle, signature): &Signature,
    signatures: &BTreeSet<Signature>,
    passes: Option<Arm>,
    told: &Told,
) -> SeedFile {
    let along = signatures.iter().filter(|other| other.1 != *signature).map(|(_, other)| other.clone()).collect();
    let plan = recipe.plan.clone().unwrap_or_default();
    SeedFile {
        version: 1,
        issue: String::new(),
        title: signature.clone(),
        scenario: recipe.scenario.clone(),
        seed: recipe.seed,
        found: Some(Found { commit: told.commit.clone(), toolchain: told.toolchain.clone() }),
        fails: vec![recipe.arm.clone()],
        passes: passes.into_iter().collect(),
        reached: Vec::new(),
        expect: Expectation { oracle: oracle.clone(), signature: signature.clone(), along },
        cluster: plan.cluster,
        steps: plan.steps,
        faults: plan.faults,
    }
}

/// The night as data: of the findings, those whose run is the first of a group.
fn night(tally: &Tally, told: &Told, findings: &[corral_reports::Finding], took: Duration) -> Night {
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
    folder: Option<&NightFolder>,
    took: Duration,
) -> Result<(), Refused> {
    let findings = folder.map_or_else(|| plain(tally, &told), |folder| folder.findings.clone());
    let night = night(tally, &told, &findings, took);
    write(path, corral_reports::junit(&night).as_bytes()).map_err(Refused::new)
}

/// Findings of which no more is known than that they were met.
fn plain(tally: &Tally, told: &Told) -> Vec<corral_reports::Finding> {
    let of = |(signature, group): (&Signature, &Group)| {
        let (scenario, seed) = group.first.first()?;
        let reproduce = format!("corral run {scenario} --seed {seed}");
        Some(bare(signature, scenario, *seed, &told.arm, reproduce))
    };
    tally.groups.iter().filter_map(of).collect()
}

fn bare(
    (oracle, signature): &Signature,
    scenario: &str,
    seed: u64,
    arm: &str,
    line: String,
) -> corral_reports::Finding {
    corral_reports::Finding {
        oracle: oracle.clone(),
        signature: signature.clone(),
        detail: signature.clone(),
        scenario: scenario.to_owned(),
        seed,
        arm: arm.to_owned(),
        at_ns: 0,
        runs: 1,
        examples: Vec::new(),
        story: String::new(),
        removed: Vec::new(),
        attribution: Vec::new(),
        divergence: Vec::new(),
        chain: Vec::new(),
        reproduce: vec![line],
        files: Files { seed: String::new(), journal: String::new(), report: String::new(), twin: None },
    }
}

/// One run as a night.
pub fn of_run(run: &JournalFile) -> Night {
    let recipe = serde_json::from_value::<Recipe>(run.header.run.clone()).ok();
    let (scenario, seed, arm) =
        recipe.map(|recipe| (recipe.scenario, recipe.seed, recipe.arm.to_string())).unwrap_or_default();
    let told = Told {
        scenarios: vec![scenario.clone()],
        seeds: vec![seed.to_string()],
        arm: arm.clone(),
        machine: machine(),
        commit: run.header.commit.clone(),
        toolchain: run.header.toolchain.clone(),
    };
    let finding = |found: &Violation| corral_reports::Finding {
        detail: found.detail.clone(),
        at_ns: found.at.0,
        ..bare(&(found.oracle.clone(), found.signature.clone()), &scenario, seed, &arm, run.header.reproduce.clone())
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

/// `corral merge`: the nights of several folders as one.
pub fn merge(options: &MergeOptions) -> Done {
    let mut told = Told::default();
    let (mut all, mut findings, mut took) = (Vec::new(), Vec::new(), Duration::ZERO);
    for folder in &options.folders {
        let path = folder.join(SUMMARY);
        let text = std::fs::read_to_string(&path).map_err(|error| Refused::path(&path, "cannot be read", error))?;
        let night: Night = serde_json::from_str(&text).map_err(|error| Refused::path(&path, "is no night's", error))?;
        if night.version != Night::VERSION {
            let (found, known) = (night.version, Night::VERSION);
            return Err(Refused::new(format!("{}: version {found} is unknown; allowed is {known}", path.display())));
        }
        if !told.arm.is_empty() && (&told.arm, &told.scenarios) != (&night.arm, &night.scenarios) {
            return Err(Refused::new(format!(
                "{}: is of {}, and another folder of {} under {}; allowed are nights of the same",
                path.display(),
                night.title,
                told.scenarios.join(", "),
                told.arm
            )));
        }
        took += Duration::from_secs_f64(night.real_seconds.max(0.0));
        let mut seeds = std::mem::take(&mut told.seeds);
        seeds.extend(night.seeds);
        let Night { arm, scenarios, machine, commit, toolchain, .. } = night;
        told = Told { arm, scenarios, seeds, machine, commit, toolchain };
        findings.extend(night.findings.into_iter().map(|finding| (folder.clone(), finding)));
        all.extend(read_runs(&folder.join(RUNS))?);
    }
    // In the order of one whole run; the first of equal runs stays.
    all.sort_by(|one: &Ran, other: &Ran| one.place().cmp(&other.place()));
    all.dedup_by(|one, other| one.place() == other.place() && one.recipe == other.recipe);
    let mut merged = NightFolder::new(&options.out, told.clone())?;
    let mut tally = Tally::default();
    for ran in &all {
        tally.add(ran);
        merged.ran(ran).map_err(Refused::new)?;
    }
    for (folder, mut finding) in findings {
        let (from, to) = (folder.display().to_string(), options.out.display().to_string());
        finding.reproduce.iter_mut().for_each(|line| *line = line.replace(&from, &to));
        let files = [
            Some(&finding.files.seed),
            Some(&finding.files.journal),
            Some(&finding.files.report),
            finding.files.twin.as_ref(),
        ];
        for name in files.into_iter().flatten().filter(|name| folder.join(name).is_file()) {
            let to = options.out.join(name);
            std::fs::copy(folder.join(name), &to).map_err(|error| Refused::path(&to, "cannot be written", error))?;
        }
        merged.findings.push(finding);
    }
    merged.finish(&tally, took)?;
    let arm = all.first().map(|ran| ran.recipe.arm.clone()).unwrap_or_default();
    say(report(&tally, took, &arm).trim_end());
    say(format_args!("the nights' pages: {}", merged.index().display()));
    Ok(if tally.groups.is_empty() { Status::AsExpected } else { Status::Violation })
}

/// The runs of earlier nights that met what no run before them had met.
pub fn corpus(folders: &[PathBuf]) -> Result<Vec<Ran>, Refused> {
    let mut all = Vec::new();
    for folder in folders {
        all.extend(read_runs(&folder.join(RUNS))?.into_iter().filter(|ran| !ran.new_situations.is_empty()));
    }
    Ok(all)
}

/// The runs of a night. A last line that was cut short by whatever ended the night is left out.
fn read_runs(path: &Path) -> Result<Vec<Ran>, Refused> {
    let file = File::open(path).map_err(|error| Refused::path(path, "cannot be read", error))?;
    let lines: Vec<String> = BufReader::new(file)
        .lines()
        .collect::<Result<_, _>>()
        .map_err(|error| Refused::path(path, "cannot be read", error))?;
    let mut runs = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        match serde_json::from_str(line) {
            Ok(ran) => runs.push(ran),
            Err(_) if index + 1 == lines.len() => {}
            Err(error) => return Err(Refused::new(format!("{}:{}: is no run: {error}", path.display(), index + 1))),
        }
    }
    Ok(runs)
}
