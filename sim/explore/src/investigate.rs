//! What is done with a failure that fuzzing met: it is run again alone, shrunk, attributed, held against a twin that passes, and explained.

use std::collections::BTreeSet;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use corral_core::Nanos;
use corral_core::journal::{Header, JournalFile, file};
use corral_world::{Catalogue, Recipe, Violation};

use crate::attribute::{Attribution, attribute};
use crate::explain::{USUAL_LINES, explain, first_violation};
use crate::job::{Job, JobResult, Keep, Signature};
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
    /// Real time after which nothing more is tried with it; its journals and its page are written all the same.
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

/// A failure, and what is known of it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The smallest run that was found to show it, with its plan.
    pub recipe: Recipe,
    /// Everything that this run shows and that the failure did.
    pub signatures: BTreeSet<Signature>,
    /// The one that says most; none if the run did not come to an end.
    pub violation: Option<Violation>,
    /// What shrinking took away, a line each.
    pub removed: Vec<String>,
    /// The part of each recorded defect that is open in the release.
    pub attributions: Vec<Attribution>,
    /// In what the passing twin differs, if there is one.
    pub twin: Option<String>,
    /// Where the two part.
    pub divergence: Vec<String>,
    /// The chain of events.
    pub chain: Vec<String>,
    /// The journals, as they were written.
    pub journals: Option<(JournalFile, Option<JournalFile>)>,
    /// What went wrong with the investigation itself: a run that was not the same twice, a journal that could not be written.
    pub remarks: Vec<String>,
}

/// Investigates a failure.
///
/// # Errors
/// A worker cannot be started.
pub fn investigate(
    pool: &mut Pool,
    catalogue: &dyn Catalogue,
    ran: &Ran,
    origin: &Origin,
    files: &Files,
    effort: Effort,
) -> io::Result<Finding> {
    let recipe = with_plan(catalogue, &ran.recipe);
    let mut finding = Finding::new(recipe.clone(), ran.signatures.clone());
    if ran.digest.is_empty() {
        finding.remarks.push("it did not come to an end, and was not run again".to_owned());
        return Ok(finding);
    }
    let alone = pool.run_alone(&Job::from(ran.recipe.clone()))?;
    if alone.verdict().is_none_or(|verdict| verdict.digest != ran.digest) {
        finding.remarks.push("not deterministic: run again alone it is another run".to_owned());
    }
    #[expect(clippy::disallowed_methods, reason = "a budget in real time")]
    let began = std::time::Instant::now();
    let shrinking = ShrinkBudget { time: effort.shrinking.time.min(effort.time), ..effort.shrinking };
    let shrunk = shrink(pool, catalogue, &recipe, &ran.signatures, shrinking)?;
    finding.recipe = shrunk.recipe;
    finding.removed = shrunk.removed;
    if !shrunk.is_done {
        finding.remarks.push(format!("shrinking was ended after {} runs; more may be taken away", shrunk.runs));
    }
    if effort.attributes && began.elapsed() >= effort.time {
        finding.remarks.push("the time was over: which recorded defect it needs was not tried".to_owned());
    } else if effort.attributes {
        finding.attributions = attribute(pool, catalogue, &finding.recipe, &ran.signatures)?;
    }
    let twin = twin(pool, &finding.recipe, &ran.signatures, &finding.attributions)?;
    finding.tell(pool, catalogue, twin.as_ref(), origin, files)?;
    Ok(finding)
}

impl Finding {
    /// A failure of which no more is known than its run.
    pub fn new(recipe: Recipe, signatures: BTreeSet<Signature>) -> Finding {
        Finding {
            recipe,
            signatures,
            violation: None,
            removed: Vec::new(),
            attributions: Vec::new(),
            twin: None,
            divergence: Vec::new(),
            chain: Vec::new(),
            journals: None,
            remarks: Vec::new(),
        }
    }

    /// Runs it and its twin in fresh processes for their journals, and explains it; without a violation, if the run does not show it.
    ///
    /// # Errors
    /// A worker cannot be started, or a journal not be written.
    pub fn tell(
        &mut self,
        pool: &Pool,
        catalogue: &dyn Catalogue,
        twin: Option<&Twin>,
        origin: &Origin,
        files: &Files,
    ) -> io::Result<()> {
        let Some(journal) = self.journal(pool, &self.recipe.clone(), origin, &files.seed, &files.journal)? else {
            return Ok(());
        };
        let passing = match twin {
            Some(twin) => self.journal(pool, &twin.recipe, origin, &files.seed, &files.twin)?,
            None => None,
        };
        self.twin = twin.filter(|_| passing.is_some()).map(|twin| twin.differs.clone());
        let is_known = |found: &Violation| self.signatures.contains(&found.group());
        let Some(violation) = first_violation(&journal, catalogue, is_known) else { return Ok(()) };
        let beside = passing.as_ref().zip(self.twin.as_deref());
        match explain(&journal, &violation, beside, &[], USUAL_LINES) {
            Ok(explained) => (self.divergence, self.chain) = (explained.divergence, explained.chain),
            Err(error) => self.remarks.push(error),
        }
        self.violation = Some(violation);
        self.journals = Some((journal, passing));
        Ok(())
    }

    /// The journal of a run in a fresh process, written to its file; none if that cannot be had.
    fn journal(
        &mut self,
        pool: &Pool,
        recipe: &Recipe,
        origin: &Origin,
        seed_file: &Path,
        path: &Path,
    ) -> io::Result<Option<JournalFile>> {
        let header = origin.header(recipe, recipe.command(Some(seed_file)));
        let keep = Some(Keep { path: path.to_owned(), header });
        let JobResult { unwritten, .. } = pool.run_alone(&Job { recipe: recipe.clone(), situations: false, keep })?;
        if let Some(why) = unwritten {
            return Err(io::Error::other(why));
        }
        let read = std::fs::File::open(path).map_err(Into::into).and_then(|input| file::read(BufReader::new(input)));
        match read {
            Ok(journal) => Ok(Some(journal)),
            Err(error) => {
                self.remarks.push(format!("{}: {error}", path.display()));
                Ok(None)
            }
        }
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
