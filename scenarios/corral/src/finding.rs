//! A failure in a night's words: as a seed file, and as its pages tell of it.

use std::collections::BTreeSet;
use std::collections::btree_set::Union;

use corral_explore::{Attribution, Decided, Finding, Group, Part, Signature};
use corral_reports::{Also, Files};
use corral_world::{Arm, Expectation, Found, Recipe, SeedFile, Violation};

use crate::night::Told;

/// A failure as it was met, before anything was tried with it.
pub fn seed_file_as_met(
    recipe: &Recipe,
    new: &BTreeSet<Signature>,
    along: &BTreeSet<Signature>,
    told: &Told,
) -> SeedFile {
    seed_file(recipe, &new.first().cloned().unwrap_or_default(), new.union(along), None, told)
}

/// A failure as it is known after its investigation: with an arm that was seen to pass, if one defect is its cause.
pub fn seed_file_as_known(finding: &Finding, told: &Told) -> SeedFile {
    let all = finding.signatures.union(&finding.along);
    seed_file(&finding.recipe, &group(finding), all, finding.cured.clone(), told)
}

/// The signature under which a failure is filed.
fn group(finding: &Finding) -> Signature {
    let first = finding.violation.as_ref().map(Violation::group);
    first.or_else(|| finding.signatures.first().cloned()).unwrap_or_default()
}

/// What pages say of a failure of this run; its files have this name without an ending.
pub fn told(ran: &Recipe, finding: &Finding, name: &str, reproduce: Vec<String>) -> corral_reports::Finding {
    let group = group(finding);
    let seen = &finding.violation;
    let is_seen = finding.journals.is_some();
    let has_twin = finding.journals.as_ref().is_some_and(|(_, twin)| twin.is_some());
    let mut attribution = told_attributions(&finding.attributions);
    attribution.extend(finding.remarks.iter().cloned());
    corral_reports::Finding {
        detail: seen.as_ref().map_or_else(|| group.1.clone(), |found| found.detail.clone()),
        at_ns: seen.as_ref().map_or(0, |found| found.at.0),
        story: story(finding),
        removed: finding.removed.clone(),
        attribution,
        divergence: finding.divergence.lines.clone(),
        chain: finding.chain.clone(),
        reproduce,
        also: finding.signatures.iter().filter(|other| **other != group).map(also).collect(),
        decided_ns: finding.decided.as_ref().and_then(Decided::span).map(|(open, lost)| (open.0, lost.0)),
        is_deterministic: finding.is_deterministic,
        files: Files {
            seed: format!("{name}.toml"),
            journal: if is_seen { format!("{name}.jsonl") } else { String::new() },
            report: if is_seen { format!("{name}.html") } else { String::new() },
            twin: has_twin.then(|| format!("{name}-twin.jsonl")),
        },
        ..bare(&group, ran)
    }
}

/// A failure of a search that keeps nothing.
pub fn plain(group: &Group, signature: &Signature) -> Option<corral_reports::Finding> {
    let recipe = group.first.first()?;
    Some(corral_reports::Finding { reproduce: vec![recipe.command(None)], ..bare(signature, recipe) })
}

/// Of which no more is known than that a run showed it.
pub fn bare((oracle, signature): &Signature, recipe: &Recipe) -> corral_reports::Finding {
    corral_reports::Finding {
        oracle: oracle.clone(),
        signature: signature.clone(),
        detail: signature.clone(),
        scenario: recipe.scenario.clone(),
        seed: recipe.seed,
        arm: recipe.arm.to_string(),
        at_ns: 0,
        runs: 1,
        examples: Vec::new(),
        story: String::new(),
        removed: Vec::new(),
        attribution: Vec::new(),
        divergence: Vec::new(),
        chain: Vec::new(),
        reproduce: Vec::new(),
        also: Vec::new(),
        decided_ns: None,
        is_deterministic: true,
        files: Files::default(),
    }
}

fn also((oracle, signature): &Signature) -> Also {
    Also { oracle: oracle.clone(), signature: signature.clone() }
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
fn story(finding: &Finding) -> String {
    let Some(violation) = &finding.violation else {
        return "There is no journal of it that shows it; what was tried says why.".to_owned();
    };
    let mut text = format!("{} ({}, seen at {}).", violation.detail, violation.oracle, violation.at);
    if !finding.removed.is_empty() {
        let seed = finding.recipe.seed;
        text.push_str(&format!(
            " All that is told here is of the run with a smaller plan, under seed {seed}, not of the one as it was met."
        ));
    }
    let others: BTreeSet<&str> = finding
        .signatures
        .union(&finding.along)
        .map(|(oracle, _)| oracle.as_str())
        .filter(|oracle| *oracle != violation.oracle)
        .collect();
    if !others.is_empty() {
        let others: Vec<&str> = others.into_iter().collect();
        text.push_str(&format!(" The same run also breaks {}.", others.join(", ")));
    }
    let causes: Vec<&str> =
        finding.attributions.iter().filter(|found| found.is_cause()).map(|found| found.id.as_str()).collect();
    match (causes.as_slice(), &finding.twin) {
        ([], None) if finding.attributions.is_empty() => {}
        ([], Some(differs)) if finding.attributions.is_empty() => {
            text.push_str(&format!(" It passes {differs}."));
        }
        ([], None) => text.push_str(" No recorded defect explains it, and no twin passes."),
        ([], Some(differs)) => text.push_str(&format!(" No recorded defect explains it; {differs} the run passes.")),
        (causes, _) => {
            let told = causes.iter().map(|id| match corral_scenarios::cause_of(id) {
                Some(cause) => format!("{id} ({cause})"),
                None => (*id).to_owned(),
            });
            let defects = if causes.len() > 1 { "all of these recorded defects:" } else { "the recorded defect" };
            text.push_str(&format!(" It needs {defects} {}.", told.collect::<Vec<_>>().join("; ")));
        }
    }
    if let Some(decided) = &finding.decided {
        text.push_str(&format!(" It was {}.", decided.told()));
    }
    if let Some((at, what)) = &finding.divergence.first {
        text.push_str(&format!(" The twin that passes goes another way from {at} on, when this one does: {what}."));
    }
    text
}

/// A failure as a seed file.
fn seed_file(
    recipe: &Recipe,
    (oracle, signature): &Signature,
    all: Union<'_, Signature>,
    passes: Option<Arm>,
    told: &Told,
) -> SeedFile {
    let along = all.filter(|other| other.1 != *signature).map(|(_, other)| other.clone()).collect();
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
