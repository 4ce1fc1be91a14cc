//! What is done with a failure that fuzzing met: it is run again alone, shrunk, attributed, held against a twin that passes, and explained.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use corral_core::Nanos;
use corral_core::journal::{Header, JournalFile};
use corral_world::text::quoted;
use corral_world::{Arm, Catalogue, Recipe, Violation};

use crate::attribute::{Attribution, attribute};
use crate::explain::{Divergence, USUAL_LINES, beside, explain, first_violation, violations};
use crate::forks::{Decided, Failing, decided};
use crate::job::{Job, Signature};
use crate::pool::Pool;
use crate::shrink::{ShrinkBudget, shrink};
use crate::tally::Ran;
use crate::twin::{Twin, twin};

/// Who made a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Commit of Corral.
    pub commit: String,
    /// Version of the Rust toolchain.
    pub toolchain: String,
}

impl Origin {
    /// What stands above the journal of this run; digest and end are the run's.
    pub fn header(&self, recipe: &Recipe, reproduce: String) -> Header {
        Header {
            version: Header::VERSION,
            title: recipe.title(),
            reproduce,
            commit: self.commit.clone(),
            toolchain: self.toolchain.clone(),
            digest: String::new(),
            ended_at: Nanos::ZERO,
            run: serde_json::to_value(recipe).expect("a recipe can be written as JSON"),
        }
    }
}

/// What an investigation may cost.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// For shrinking.
    pub shrinking: ShrinkBudget,
    /// Whether to try which recorded defects the failure needs.
    pub attributes: bool,
    /// Real time after which no more is tried of what it needs; its twin, its journals and its page are made all the same.
    pub time: Duration,
}

/// Where the findings of one failure go.
#[derive(Clone, Debug)]
pub struct Files {
    /// The seed file, which stores the plan. Written by the caller; the journals say that it reproduces them.
    pub seed: PathBuf,
    /// The journal of the failing run.
    pub journal: PathBuf,
    /// The journal of its passing twin.
    pub twin: PathBuf,
}

impl Files {
    /// The line of shell that does a run again: the failure that the seed file is of, or its twin, whose journal has this path.
    pub fn reproduce(&self, failure: &Recipe, run: &Recipe, journal: &Path) -> String {
        // The seed file has the plan of the failure; a twin with another plan is only in its journal.
        if run.plan == failure.plan {
            run.command(Some(&self.seed))
        } else {
            format!("corral inspect {}", quoted(journal.display()))
        }
    }
}

/// A failure, and what is known of it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The smallest run that was found to show it, with its plan.
    pub recipe: Recipe,
    /// What it is about: all that this run shows and that no other had shown before.
    pub signatures: BTreeSet<Signature>,
    /// What else is wrong with such a run.
    pub along: BTreeSet<Signature>,
    /// The one that says most; none if the run did not come to an end.
    pub violation: Option<Violation>,
    /// What shrinking took away, a line each.
    pub removed: Vec<String>,
    /// The part of each recorded defect that is open in the release.
    pub attributions: Vec<Attribution>,
    /// The arm without the defect that it needs, if the run was seen to pass under it.
    pub cured: Option<Arm>,
    /// When it was decided, if that was searched for.
    pub decided: Option<Decided>,
    /// In what the passing twin differs, if there is one.
    pub twin: Option<String>,
    /// Where the two part.
    pub divergence: Divergence,
    /// The chain of events.
    pub chain: Vec<String>,
    /// The journals, as they were written.
    pub journals: Option<(JournalFile, Option<JournalFile>)>,
    /// Whether the run, done again alone, was the same; if not, the simulator has failed.
    pub is_deterministic: bool,
    /// What is to be said of the investigation itself: what it could not do, or not finish.
    pub remarks: Vec<String>,
}

/// Investigates what is wanted of a failure.
///
/// # Errors
/// A worker cannot be started.
pub fn investigate(
    pool: &mut Pool,
    catalogue: &dyn Catalogue,
    ran: &Ran,
    wanted: &BTreeSet<Signature>,
    origin: &Origin,
    files: &Files,
    effort: Effort,
) -> io::Result<Finding> {
    let mut finding = Finding::new(with_plan(catalogue, &ran.recipe), wanted.clone());
    finding.along = ran.signatures.difference(wanted).cloned().collect();
    if ran.is_stuck() {
        finding.remarks.push("it did not come to an end, and was not run again".to_owned());
        return Ok(finding);
    }
    let alone = pool.run_alone(&Job::from(ran.recipe.clone()))?;
    if ran.digest.is_empty() {
        finding.remarks.push(match alone.verdict() {
            Some(verdict) if verdict.passed() => {
                "run again alone it passes: its worker was ended by something else".to_owned()
            }
            Some(_) => "run again alone it comes to an end, and fails otherwise".to_owned(),
            None => "run again alone it does not come to an end either".to_owned(),
        });
        return Ok(finding);
    }
    if alone.verdict().is_none_or(|verdict| verdict.digest != ran.digest) {
        finding.is_deterministic = false;
        finding.remarks.push("not deterministic: run again alone it is another run".to_owned());
    }
    match further(pool, catalogue, &mut finding, origin, files, effort) {
        // That it is another run is not lost with what was being tried.
        Err(error) if error.kind() == io::ErrorKind::Interrupted && !finding.is_deterministic => Ok(finding),
        ended => ended.map(|()| finding),
    }
}

/// What is tried with a failure once it was run again.
fn further(
    pool: &mut Pool,
    catalogue: &dyn Catalogue,
    finding: &mut Finding,
    origin: &Origin,
    files: &Files,
    effort: Effort,
) -> io::Result<()> {
    let wanted = finding.signatures.clone();
    #[expect(clippy::disallowed_methods, reason = "a budget in real time")]
    let began = std::time::Instant::now();
    let shrinking = ShrinkBudget { time: effort.shrinking.time.min(effort.time), ..effort.shrinking };
    let shrunk = shrink(pool, catalogue, &finding.recipe, &wanted, shrinking)?;
    finding.recipe = shrunk.recipe;
    finding.removed = shrunk.removed;
    if !shrunk.is_done {
        finding.remarks.push(format!("shrinking was ended after {} runs; more may be taken away", shrunk.runs));
    }
    let Some(journal) = finding.see(pool, catalogue, origin, files)? else { return Ok(()) };
    let has_time = || began.elapsed() < effort.time;
    if effort.attributes && !has_time() {
        finding.remarks.push("the time was over: what it needs and when it was decided was not tried".to_owned());
    } else if let Some(violation) = finding.violation.as_ref().filter(|_| effort.attributes) {
        let failing = Failing { recipe: &finding.recipe, wanted: &wanted, journal: &journal };
        let decided = decided(pool, &failing, violation.at, &has_time)?;
        let open = decided.open_at().unwrap_or(Nanos::ZERO);
        let scratch = files.twin.with_extension("part");
        finding.attributions = attribute(pool, catalogue, &failing, open, &scratch, &has_time)?;
        finding.decided = Some(decided);
        finding.cure(pool)?;
    }
    let twin = twin(pool, finding)?;
    finding.tell(pool, journal, twin.as_ref(), origin, files)
}

impl Finding {
    /// A failure of which no more is known than its run.
    pub fn new(recipe: Recipe, signatures: BTreeSet<Signature>) -> Finding {
        Finding {
            recipe,
            signatures,
            along: BTreeSet::new(),
            violation: None,
            removed: Vec::new(),
            attributions: Vec::new(),
            cured: None,
            decided: None,
            twin: None,
            divergence: Divergence::default(),
            chain: Vec::new(),
            journals: None,
            is_deterministic: true,
            remarks: Vec::new(),
        }
    }

    /// Runs it and its twin in fresh processes for their journals, and explains it; without a violation, if the run does not show it.
    ///
    /// # Errors
    /// A worker cannot be started, or a journal not be written.
    pub fn replay(
        &mut self,
        pool: &Pool,
        catalogue: &dyn Catalogue,
        twin: Option<&Twin>,
        origin: &Origin,
        files: &Files,
    ) -> io::Result<()> {
        match self.see(pool, catalogue, origin, files)? {
            Some(journal) => self.tell(pool, journal, twin, origin, files),
            None => Ok(()),
        }
    }

    /// The defect that it needs; the first, if it needs several.
    pub fn cause(&self) -> Option<&Attribution> {
        self.attributions.iter().find(|attribution| attribution.is_cause())
    }

    /// Runs it without the defect that it needs, as a release is that does not have it: its images have other tags then, and it is another run.
    fn cure(&mut self, pool: &Pool) -> io::Result<()> {
        let Some(Attribution { id, .. }) = self.cause() else { return Ok(()) };
        let mut recipe = self.recipe.clone();
        // What was added is not added; what the release has is cured.
        if recipe.arm.defect.contains(id) {
            recipe.arm.defect.retain(|added| added != id);
        } else {
            recipe.arm.cured.push(id.clone());
        }
        if pool.run_alone(&Job::from(recipe.clone()))?.passes() {
            self.cured = Some(recipe.arm);
        } else {
            self.remarks.push(format!("a release without {id} does not pass with this seed: it is another run"));
        }
        Ok(())
    }

    /// Runs it for its journal, and notes the violation that is worth telling.
    fn see(
        &mut self,
        pool: &Pool,
        catalogue: &dyn Catalogue,
        origin: &Origin,
        files: &Files,
    ) -> io::Result<Option<JournalFile>> {
        let journal = self.journal(pool, &self.recipe.clone(), origin, files, &files.journal)?;
        let is_known = |found: &Violation| self.signatures.contains(&found.group());
        self.violation = journal.as_ref().and_then(|journal| first_violation(journal, catalogue, is_known));
        if let Some(journal) = &journal {
            // What the run showed before it was shrunk is told no more.
            self.along = beside(journal, &self.signatures);
        }
        Ok(journal)
    }

    /// Runs its twin for its journal, and explains it beside that.
    fn tell(
        &mut self,
        pool: &Pool,
        journal: JournalFile,
        twin: Option<&Twin>,
        origin: &Origin,
        files: &Files,
    ) -> io::Result<()> {
        let passing = match twin {
            Some(twin) => self.journal(pool, &twin.recipe, origin, files, &files.twin)?,
            None => None,
        };
        let passing = passing.filter(|passing| violations(passing).is_empty());
        self.twin = twin.filter(|_| passing.is_some()).map(|twin| twin.differs.clone());
        let Some(violation) = &self.violation else { return Ok(()) };
        let beside = passing.as_ref().zip(self.twin.as_deref());
        match explain(&journal, violation, beside, &[], USUAL_LINES) {
            Ok(explained) => (self.divergence, self.chain) = (explained.divergence, explained.chain),
            Err(error) => self.remarks.push(error),
        }
        self.journals = Some((journal, passing));
        Ok(())
    }

    /// The journal of a run in a fresh process, written to its file; none if that cannot be had.
    fn journal(
        &mut self,
        pool: &Pool,
        recipe: &Recipe,
        origin: &Origin,
        files: &Files,
        path: &Path,
    ) -> io::Result<Option<JournalFile>> {
        let header = origin.header(recipe, files.reproduce(&self.recipe, recipe, path));
        let journal = pool.journal(recipe, header, path)?;
        Ok(journal.map_err(|why| self.remarks.push(why)).ok())
    }
}

/// The run with its plan in full, and without the parameters that made the plan.
pub fn with_plan(catalogue: &dyn Catalogue, recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.clone();
    let Ok(scenario) = catalogue.scenario(&recipe.scenario) else { return recipe };
    if recipe.plan.is_none() {
        recipe.plan = scenario.expand(recipe.seed, &recipe.arm).ok();
    }
    let in_plan = |key: &str| scenario.parameters().iter().any(|known| known.key == key && known.in_plan);
    recipe.arm.set.retain(|key, _| !in_plan(key));
    recipe
}
