//! What a scenario is to the world: a name, parameters, an expansion from a seed, and a play.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use corral_cluster::ClusterSpec;
use corral_object_store::BucketStore;

use crate::arm::Arm;
use crate::oracle::{Oracle, Probe};
use crate::plan::Plan;
use crate::stage::Stage;

/// A boxed future of a play.
pub type Play = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A parameter that `--set` changes.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its key.
    pub key: &'static str,
    /// Its default, as it would be written.
    pub default: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// Whether the seed's plan is made by it; a plan that is given has it already, in its own words.
    pub in_plan: bool,
}

/// What a plan plays on.
pub struct Ground {
    /// The cluster to boot.
    pub cluster: ClusterSpec,
    /// Object stores, under the plan's faults and the oracles' eyes. Their servers are pods of the cluster's.
    pub stores: Vec<Arc<BucketStore>>,
}

/// A cluster, a workload and what may go wrong.
pub trait Scenario: Send + Sync {
    /// Its name, in kebab-case.
    fn name(&self) -> &'static str;

    /// What it does, in one line.
    fn about(&self) -> &'static str;

    /// What `--set` may change.
    fn parameters(&self) -> &'static [Parameter] {
        &[]
    }

    /// The plan that this seed stands for.
    ///
    /// # Errors
    /// A parameter's value is impossible; in one line.
    fn expand(&self, seed: u64, arm: &Arm) -> Result<Plan, String>;

    /// Whether a plan's tables are this scenario's.
    ///
    /// # Errors
    /// What is wrong, and what is allowed; in one line.
    fn check(&self, plan: &Plan) -> Result<(), String>;

    /// What the plan plays on. Called inside the run.
    fn ground(&self, plan: &Plan, arm: &Arm) -> Ground;

    /// Whether it upgrades from one release to another.
    fn upgrades(&self) -> bool {
        false
    }

    /// The machines that a plan's faults may name.
    fn machines(&self, _plan: &Plan) -> Vec<String> {
        Vec::new()
    }

    /// The kinds of objects that a plan's faults may name, each with the plural that requests have.
    fn kinds(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// Kinds that a poll writes again and again in a cluster where nothing happens: their updates do not count as changes.
    fn polled_kinds(&self) -> &'static [&'static str] {
        &[]
    }

    /// The oracles that judge it.
    fn oracles(&self) -> Vec<Box<dyn Oracle>>;

    /// Situations that its seed files may ask to be reached.
    fn probes(&self) -> Vec<Probe> {
        Vec::new()
    }

    /// Sets up, lets the clients work, and returns when they are done. Faults strike from [`Stage::begin_workload`] on.
    fn play(&self, stage: Arc<Stage>) -> Play;
}

/// What there is to choose from: scenarios, and the words of an arm.
pub trait Catalogue: Send + Sync {
    /// All scenarios.
    fn scenarios(&self) -> Vec<Arc<dyn Scenario>>;

    /// Whether an arm's releases and defects exist.
    ///
    /// # Errors
    /// The unknown name, the nearest known one, and what there is; in one line.
    fn check_arm(&self, arm: &Arm) -> Result<(), String>;

    /// The recorded defects that an arm has, by their ids.
    fn open_defects(&self, arm: &Arm) -> Vec<String>;

    /// A scenario by its name.
    ///
    /// # Errors
    /// No such scenario; in one line.
    fn scenario(&self, name: &str) -> Result<Arc<dyn Scenario>, String> {
        let scenarios = self.scenarios();
        let found = scenarios.iter().find(|scenario| scenario.name() == name).cloned();
        found.ok_or_else(|| {
            let known: Vec<&str> = scenarios.iter().map(|scenario| scenario.name()).collect();
            crate::text::unknown_name("scenario", name, known.iter().copied())
        })
    }

    /// Checks everything that can be checked before a run.
    ///
    /// # Errors
    /// What is wrong; in one line.
    fn check(&self, scenario: &dyn Scenario, arm: &Arm, plan: &Plan) -> Result<(), String> {
        self.check_arm(arm)?;
        let parameters = scenario.parameters();
        for key in arm.set.keys() {
            if !parameters.iter().any(|parameter| parameter.key == key) {
                return Err(crate::text::unknown_name(
                    "parameter",
                    key,
                    parameters.iter().map(|parameter| parameter.key),
                ));
            }
        }
        if !arm.from.is_empty() && !scenario.upgrades() {
            return Err(format!("--from {}: {} upgrades nothing", arm.from, scenario.name()));
        }
        // Values are checked where they are read.
        scenario.expand(0, arm)?;
        scenario.check(plan)?;
        let machines = scenario.machines(plan);
        let (kinds, resources): (Vec<_>, Vec<_>) = scenario.kinds().into_iter().unzip();
        plan.faults.iter().enumerate().try_for_each(|(index, planned)| {
            let checked = planned.on.as_ref().map_or(Ok(()), |on| on.check(&kinds));
            let checked = checked.and_then(|()| planned.fault.check(&machines, &resources));
            checked.map_err(|error| format!("[[fault]] {}: {error}", index + 1))
        })
    }

    /// Checks an arm with a plan that is given, not expanded from a seed.
    ///
    /// # Errors
    /// What is wrong; in one line.
    fn check_given(&self, scenario: &dyn Scenario, arm: &Arm, plan: &Plan) -> Result<(), String> {
        self.check(scenario, arm, plan)?;
        let shapes = |key: &&String| scenario.parameters().iter().any(|known| known.key == *key && known.in_plan);
        match arm.set.keys().find(shapes) {
            Some(key) => Err(format!("parameter {key:?} makes a plan and changes none; change the plan that is given")),
            None => Ok(()),
        }
    }
}
