//! Guided search: plans that met new situations are kept, and varied beside new seeds.
//!
//! A variation recombines what the scenario itself draws (faults, their lengths, waits, the cluster's latencies) and moves faults in time. It makes
//! nothing up: a fault that no seed would draw may break promises that hold, and what it showed would be worth nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use corral_core::random::Stream;
use corral_world::{Arm, Catalogue, Plan, PlannedFault, Recipe, Scenario};

use crate::tally::Ran;

/// So many plans of a scenario are kept.
const MOST_KEPT: usize = 256;
/// So many faults a varied plan has at the most: more of them hide what each of them does.
const MOST_FAULTS: usize = 6;
/// How far a fault is moved in time at the most.
const FARTHEST: Duration = Duration::from_secs(30);

/// A guided search under way.
pub(crate) struct Guide<'a> {
    catalogue: &'a dyn Catalogue,
    arm: &'a Arm,
    random: Stream,
    kept: BTreeMap<String, Vec<Kept>>,
}

/// A plan worth varying.
struct Kept {
    plan: Plan,
    /// Situations that it was the first to meet.
    news: usize,
    /// How often it was varied.
    tried: usize,
}

impl Kept {
    /// The more it found and the less it was tried, the better.
    fn worth(&self) -> usize {
        self.news * 64 / (self.tried + 1)
    }
}

impl<'a> Guide<'a> {
    pub fn new(catalogue: &'a dyn Catalogue, arm: &'a Arm, first_seed: u64) -> Guide<'a> {
        Guide { catalogue, arm, random: Stream::new(first_seed, "guide"), kept: BTreeMap::new() }
    }

    /// A variation of a kept plan, or none: then the seed's own plan is run.
    pub fn plan(&mut self, scenario: &str, seed: u64) -> Option<Plan> {
        let random = &mut self.random;
        let kept = self.kept.get_mut(scenario).filter(|kept| !kept.is_empty())?;
        if random.chance(1, 2) {
            return None;
        }
        // The best of a few: good ones come often, and none is forgotten.
        let candidates: Vec<usize> = (0..3).map(|_| random.below(kept.len() as u64) as usize).collect();
        let best = candidates.into_iter().max_by_key(|index| kept[*index].worth())?;
        kept[best].tried += 1;
        let mut plan = kept[best].plan.clone();
        let scenario = self.catalogue.scenario(scenario).ok()?;
        // A fourth of them is the same plan under another seed: the schedule differs, and what each latency is.
        for _ in 0..random.below(4) {
            let donor = donor(&scenario, self.arm, seed, random)?;
            vary(&mut plan, &donor, random);
        }
        self.catalogue.check(scenario.as_ref(), self.arm, &plan).ok().map(|()| plan)
    }

    /// Keeps the run's plan if it met something new.
    pub fn learn(&mut self, ran: &Ran) {
        let news = ran.new_situations.len();
        if news == 0 {
            return;
        }
        // Under its own arm: a corpus may be of other parameters.
        let Recipe { scenario, seed, arm, .. } = &ran.recipe;
        let expanded = || self.catalogue.scenario(scenario).ok()?.expand(*seed, arm).ok();
        let Some(plan) = ran.recipe.plan.clone().or_else(expanded) else { return };
        let kept = self.kept.entry(ran.recipe.scenario.clone()).or_default();
        kept.push(Kept { plan, news, tried: 0 });
        if kept.len() > MOST_KEPT
            && let Some(worst) = (0..kept.len()).min_by_key(|index| kept[*index].worth())
        {
            kept.swap_remove(worst);
        }
    }
}

/// A plan to take parts from.
fn donor(scenario: &Arc<dyn Scenario>, arm: &Arm, seed: u64, random: &mut Stream) -> Option<Plan> {
    scenario.expand(seed ^ random.next_u64(), arm).ok()
}

fn vary(plan: &mut Plan, donor: &Plan, random: &mut Stream) {
    match random.below(7) {
        // A fault more, a fault for another, a fault less.
        0 | 1 => {
            if plan.faults.len() < MOST_FAULTS {
                plan.faults.extend(random.pick(&donor.faults).cloned());
            }
        }
        2 => {
            if let (Some(index), Some(other)) = (place(&plan.faults, random), random.pick(&donor.faults)) {
                plan.faults[index] = other.clone();
            }
        }
        3 => {
            if plan.faults.len() > 1 {
                let index = random.below(plan.faults.len() as u64) as usize;
                plan.faults.remove(index);
            }
        }
        // The same fault at another time.
        4 => {
            if let Some(index) = place(&plan.faults, random) {
                shift(&mut plan.faults[index], random);
            }
        }
        // The cluster's scales, as another seed draws them.
        5 => {
            let keys: Vec<String> =
                plan.cluster.keys().filter(|key| donor.cluster.contains_key(*key)).cloned().collect();
            // How many machines there are goes with the steps.
            if let Some(key) = random.pick(&keys).filter(|key| *key != "machines") {
                plan.cluster.insert(key.clone(), donor.cluster[key].clone());
            }
        }
        // The steps of another seed under these faults; whether they go together is checked.
        _ => {
            plan.steps.clone_from(&donor.steps);
            plan.cluster.clone_from(&donor.cluster);
        }
    }
}

fn place<T>(items: &[T], random: &mut Stream) -> Option<usize> {
    (!items.is_empty()).then(|| random.below(items.len() as u64) as usize)
}

fn shift(fault: &mut PlannedFault, random: &mut Stream) {
    match (&mut fault.on, random.below(3)) {
        (Some(trigger), 0) => trigger.nth = trigger.nth.saturating_add(random.below(4) as u32),
        (Some(trigger), 1) => trigger.nth = (trigger.nth / 2).max(1),
        _ => {
            let by = random.duration(Duration::ZERO, FARTHEST);
            fault.after = if random.chance(1, 2) { fault.after + by } else { fault.after.saturating_sub(by) };
        }
    }
}
