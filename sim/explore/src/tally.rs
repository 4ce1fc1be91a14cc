//! What many runs came to: counts, failures by signature, situations met. It can be told again from the runs' lines, in any portions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use corral_world::{Catalogue, Recipe};
use serde::{Deserialize, Serialize};

use crate::explain::symptomatic;
use crate::job::{JobResult, STUCK, Signature};

/// So many runs of a group are named.
const NAMED: usize = 5;

/// A run that was done, as one line of a fuzz run's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ran {
    /// The run; it has a plan if that is not the seed's own.
    pub recipe: Recipe,
    /// Oracle and signature of everything wrong with it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub signatures: BTreeSet<Signature>,
    /// How long it was, in simulated milliseconds.
    pub simulated_ms: u64,
    /// Events in its journal.
    pub events: u64,
    /// Real time it took, in microseconds.
    pub took_us: u64,
    /// Processor time it took, in microseconds.
    pub cpu_us: u64,
    /// Its digest; empty if it did not end.
    pub digest: String,
    /// The situations that it met and no run before it, by their hashes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub new_situations: BTreeSet<u64>,
}

/// What many runs came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Runs done.
    pub runs: u64,
    /// Runs that failed.
    pub failed: u64,
    /// Whether a run never ended.
    pub stuck: bool,
    /// Simulated time, all runs together.
    pub simulated: Duration,
    /// Events, all runs together.
    pub events: u64,
    /// Failures by signature.
    pub groups: BTreeMap<Signature, Group>,
    /// All situations met.
    pub situations: BTreeSet<u64>,
    /// Real time of each run in milliseconds, in the order of the runs.
    pub run_times_ms: Vec<u32>,
}

/// Equal failures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// How many runs showed it.
    pub runs: u64,
    /// The first of them.
    pub first: Vec<Recipe>,
    /// The first in which nothing explained it that was known by then; none if it came only beside other violations.
    pub unexplained: Option<Recipe>,
    /// What it was to be looked into with, each time.
    companions: Vec<BTreeSet<Signature>>,
}

impl Group {
    /// Whether what is known of it may be all there is to it in a run that shows these: it was looked into alone, or with something that is there too.
    fn explains(&self, shown: &BTreeSet<&Signature>) -> bool {
        self.companions.iter().any(|others| others.is_empty() || others.iter().any(|other| shown.contains(other)))
    }
}

impl Ran {
    /// What a job came to; `known` situations are left out.
    pub fn new(recipe: Recipe, result: &JobResult, known: &BTreeSet<u64>) -> Ran {
        let verdict = result.verdict();
        Ran {
            recipe,
            signatures: result.signatures(),
            simulated_ms: verdict.map_or(0, |verdict| verdict.simulated.as_duration().as_millis() as u64),
            events: verdict.map_or(0, |verdict| verdict.events),
            took_us: result.took_us,
            cpu_us: result.cpu_us,
            digest: verdict.map_or_else(String::new, |verdict| verdict.digest.clone()),
            new_situations: verdict
                .map(|verdict| verdict.situations.difference(known).copied().collect())
                .unwrap_or_default(),
        }
    }

    /// Whether the watchdog ended it.
    pub fn is_stuck(&self) -> bool {
        self.signatures.iter().any(|(_, signature)| signature == STUCK)
    }

    /// Where it stands among others: by seed, then by scenario.
    pub fn place(&self) -> (u64, &str) {
        (self.recipe.seed, &self.recipe.scenario)
    }
}

impl Tally {
    /// Counts a run, and says what of it is to be looked into: what none before it has shown, and what came with other violations and is here without
    /// them. A symptom is to be looked into only where there is nothing that it may be a symptom of.
    pub fn add(&mut self, ran: &Ran, catalogue: &dyn Catalogue) -> BTreeSet<Signature> {
        self.runs += 1;
        self.failed += u64::from(!ran.signatures.is_empty());
        self.stuck |= ran.is_stuck();
        self.simulated += Duration::from_millis(ran.simulated_ms);
        self.events += ran.events;
        self.situations.extend(&ran.new_situations);
        self.run_times_ms.push(u32::try_from(ran.took_us / 1000).unwrap_or(u32::MAX));
        for signature in &ran.signatures {
            let group = self.groups.entry(signature.clone()).or_default();
            group.runs += 1;
            if group.first.len() < NAMED {
                group.first.push(ran.recipe.clone());
            }
        }
        let new = self.unexplained(ran, catalogue);
        for signature in &new {
            let group = self.groups.entry(signature.clone()).or_default();
            group.unexplained.get_or_insert_with(|| ran.recipe.clone());
            group.companions.push(new.iter().filter(|other| *other != signature).cloned().collect());
        }
        new
    }

    fn unexplained(&self, ran: &Ran, catalogue: &dyn Catalogue) -> BTreeSet<Signature> {
        if ran.signatures.is_empty() {
            return BTreeSet::new();
        }
        let symptomatic = symptomatic(catalogue, &ran.recipe.scenario);
        let (symptoms, causes): (BTreeSet<_>, BTreeSet<_>) =
            ran.signatures.iter().partition(|(oracle, _)| symptomatic.contains(oracle.as_str()));
        let shown = if causes.is_empty() { symptoms } else { causes };
        let is_new = |signature: &&Signature| !self.groups.get(*signature).is_some_and(|group| group.explains(&shown));
        shown.iter().copied().filter(is_new).cloned().collect()
    }

    /// The groups, those of most runs first.
    pub fn by_size(&self) -> Vec<(&Signature, &Group)> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.runs));
        groups
    }

    /// The real time that so many percent of the runs took no longer than.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut times = self.run_times_ms.clone();
        times.sort_unstable();
        let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
        Duration::from_millis(times.get(at).copied().unwrap_or(0).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let of = |times: &[u32], percent| {
            let tally = Tally { run_times_ms: times.to_vec(), ..Tally::default() };
            tally.percentile(percent).as_millis()
        };
        let hundred: Vec<u32> = (1..=100).rev().collect();
        assert_eq!([of(&hundred, 50), of(&hundred, 99), of(&hundred, 100)], [50, 99, 100]);
        assert_eq!([of(&[], 50), of(&[7], 1), of(&[7], 99), of(&[1, 2, 3], 50)], [0, 7, 7, 2]);
    }
}
