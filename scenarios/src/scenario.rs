//! What every scenario of Longhorn is made of. They differ in what a seed draws, what is judged and what is watched for; the cluster's table, the
//! steps, the ground and the client are the same for all.

use std::ops::RangeInclusive;
use std::sync::Arc;

use corral_world::{Arm, Ground, Oracle, Parameter, Plan, Play, Probe, Scenario, Stage};

use crate::oracles::{
    AbsenceIsProved, ClientsAreServed, GoodReplicasAgree, NothingIsDeletingForEver, OneObjectPerRole,
    OutcomesAreStored, PromotedReplicasAreWhole, SystemPodsAreReady,
};
use crate::steps::{self, Action};
use crate::tables::ClusterTable;
use crate::{ground, user};

/// A scenario.
pub struct LonghornScenario {
    /// Its name, in kebab-case.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// How many machines a plan may have.
    pub machines: RangeInclusive<u32>,
    /// Whether it goes from one release to another.
    pub upgrades: bool,
    /// What `--set` may change.
    pub parameters: &'static [Parameter],
    /// The plan that a seed stands for.
    pub expand: fn(u64, &Arm) -> Result<Plan, String>,
    /// The oracles that judge it, beside those of every scenario.
    pub oracles: fn() -> Vec<Box<dyn Oracle>>,
    /// What its seed files may ask to be reached.
    pub probes: fn() -> Vec<Probe>,
}

impl LonghornScenario {
    fn read(&self, plan: &Plan) -> Result<(ClusterTable, Vec<Action>), String> {
        let cluster = ClusterTable::read(plan, self.machines.clone())?;
        let actions = steps::read(plan, &cluster, self.upgrades)?;
        Ok((cluster, actions))
    }
}

impl Scenario for LonghornScenario {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.parameters
    }

    fn expand(&self, seed: u64, arm: &Arm) -> Result<Plan, String> {
        (self.expand)(seed, arm)
    }

    fn check(&self, plan: &Plan) -> Result<(), String> {
        self.read(plan).map(drop)
    }

    fn ground(&self, plan: &Plan, arm: &Arm) -> Ground {
        let (cluster, actions) = self.read(plan).expect("checked before the run");
        ground::ground(&cluster, &actions, arm)
    }

    fn upgrades(&self) -> bool {
        self.upgrades
    }

    fn machines(&self, plan: &Plan) -> Vec<String> {
        self.read(plan).map(|(cluster, _)| cluster.workers()).unwrap_or_default()
    }

    fn kinds(&self) -> Vec<(&'static str, &'static str)> {
        let own = longhorn_api::kinds::DEFINITIONS.iter().map(|definition| (definition.kind, definition.plural));
        let mut kinds: Vec<_> = own.chain(corral_apiserver::builtin_kinds()).collect();
        kinds.sort_unstable();
        kinds
    }

    fn polled_kinds(&self) -> &'static [&'static str] {
        // Each poll of a backup target asks for synchronisations and notes when they were.
        &["BackupTarget", "BackupVolume"]
    }

    fn oracles(&self) -> Vec<Box<dyn Oracle>> {
        let mut oracles = (self.oracles)();
        oracles.extend([
            Box::new(ClientsAreServed) as Box<dyn Oracle>,
            Box::new(NothingIsDeletingForEver),
            Box::new(SystemPodsAreReady),
            Box::new(GoodReplicasAgree),
            Box::<PromotedReplicasAreWhole>::default(),
            Box::new(OneObjectPerRole),
            Box::<AbsenceIsProved>::default(),
            Box::<OutcomesAreStored>::default(),
        ]);
        oracles
    }

    fn probes(&self) -> Vec<Probe> {
        (self.probes)()
    }

    fn play(&self, stage: Arc<Stage>) -> Play {
        let (cluster, actions) = self.read(&stage.plan).expect("checked before the run");
        Box::pin(user::play(stage, cluster, actions))
    }
}
