//! The run: boot, play under faults, heal, settle, judge.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use corral_apiserver::Recorder;
use corral_cluster::{Cluster, ClusterSpec};
use corral_core::journal::{Event, Record};
use corral_core::{Failure, Fork, Options, World, world};

use crate::arm::Arm;
use crate::bound::Bound;
use crate::inject::{self, ApiFaults};
use crate::oracle::{Probes, Violation};
use crate::plan::Plan;
use crate::scenario::{Ground, Scenario};
use crate::situations::Situations;
use crate::stage::{Found, Stage};
use crate::stale_reads::StaleReads;
use crate::verdict::{OWN_FAULT, PANIC, RESTLESS, STALE_READ, Verdict};

/// What a run keeps for its reader, and where it is to leave its course.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Keep the full journal.
    pub keep_journal: bool,
    /// Collect the models' logs at this level and above.
    pub logs: Option<tracing::Level>,
    /// Note which situations are met: an operation, what had been done before to what it is done to, and the faults in force.
    pub situations: bool,
    /// Keep every version of every object of the API server.
    pub keep_objects: bool,
    /// From a time on, be another run.
    pub fork: Option<Fork>,
}

/// Longest time a cluster gets to settle after the faults have healed, in simulated time: every bound that an oracle knows is shorter.
const SETTLE_LIMIT: Duration = Duration::from_secs(15 * 60);
/// A cluster in which nothing but leases, heartbeats and events was written for this long has settled: longer than every resync and poll but one.
const QUIET_TIME: Duration = Duration::from_secs(65);
/// That one, of a backup target, and a margin: what it mends is no damage, so a run with something to complain about waits for it.
const POLL_TIME: Duration = Duration::from_secs(310);

/// Runs a scenario; without a plan, the seed is expanded into one.
///
/// # Errors
/// The plan or the arm cannot be; in one line.
pub fn run(
    scenario: Arc<dyn Scenario>,
    arm: &Arm,
    seed: u64,
    plan: Option<Plan>,
    options: RunOptions,
) -> Result<Verdict, String> {
    let plan = plan.map_or_else(|| scenario.expand(seed, arm), Ok)?;
    scenario.check(&plan)?;
    let mut core_options = Options::new(seed);
    core_options.keep_journal = options.keep_journal;
    core_options.logs = options.logs;
    core_options.fork = options.fork;
    let recorder = options.keep_objects.then(Arc::<Recorder>::default);
    let arm = arm.clone();
    let began = real_time();
    let situations = options.situations.then(Arc::<Situations>::default);
    let faults = plan.faults.clone();
    let found = Arc::<Mutex<Found>>::default();
    let notes = Notes { found: found.clone(), situations: situations.clone(), recorder: recorder.clone() };
    let outcome = corral_core::run(core_options, async move { play(scenario, plan, arm, seed, notes).await });
    let took = began.elapsed();
    let found = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
    let Found { mut violations, reached, hazards, struck } = found;
    if let Err(failure) = outcome.value {
        let own = own_fault(&failure, outcome.ended_at);
        // A panic was noted when it came.
        if !violations.iter().any(|known| own.detail.ends_with(&known.detail)) {
            violations.push(own);
        }
    }
    let idle = faults.iter().enumerate().filter(|(index, _)| !struck.contains(index));
    let idle_faults = idle.map(|(_, planned)| planned.fault.name().to_owned()).collect();
    violations.sort_by_key(|violation| violation.at);
    Ok(Verdict {
        violations,
        reached,
        hazards,
        idle_faults,
        situations: situations.map(|situations| situations.take()).unwrap_or_default(),
        digest: format!("{:032x}", outcome.digest),
        events: outcome.events,
        simulated: outcome.ended_at,
        took,
        journal: outcome.journal,
        logs: outcome.logs,
        objects: recorder.map(|recorder| recorder.take()),
    })
}

fn real_time() -> std::time::Instant {
    #[expect(clippy::disallowed_methods, reason = "how long a run takes is told to people and never to the run")]
    std::time::Instant::now()
}

fn own_fault(failure: &Failure, at: corral_core::Nanos) -> Violation {
    let detail = failure.to_string();
    Violation { oracle: OWN_FAULT.to_owned(), signature: crate::text::normalised(&detail), detail, at }
}

/// What is noted of a run beside its journal.
struct Notes {
    found: Arc<Mutex<Found>>,
    situations: Option<Arc<Situations>>,
    recorder: Option<Arc<Recorder>>,
}

async fn play(scenario: Arc<dyn Scenario>, plan: Plan, arm: Arm, seed: u64, notes: Notes) {
    let world = world();
    // A silenced defect leaves no trace: where it makes no difference, the run is the same to the last bit.
    let loud = Arm { silenced: Vec::new(), ..arm.clone() };
    let what = format!("{}, {loud}", scenario.name());
    world.record(Event::RunBegan { seed, what: what.into() });
    let api_faults = ApiFaults::new(&world);
    let Ground { cluster: mut spec, stores } = scenario.ground(&plan, &arm);
    spec.api_server.policy = api_faults.clone();
    spec.api_server.recorder = notes.recorder;
    let stage = Arc::new(Stage::new(plan, arm, world.clone(), api_faults, stores, notes.found));
    let bound = Arc::<Bound>::default();
    watch(&world, &scenario, &stage, bound.clone());
    if let Some(situations) = notes.situations {
        world.journal().subscribe(Arc::new(move |record: &Record<'_>| situations.observe(record)));
    }
    tokio::select! { biased;
        () = bound.over() => {}
        () = act(scenario, spec, &stage) => {}
    }
}

/// All phases of a run.
async fn act(scenario: Arc<dyn Scenario>, spec: ClusterSpec, stage: &Arc<Stage>) {
    stage.phase("boot");
    stage.set_cluster(Cluster::boot(spec).await);
    stage.phase("set-up");
    scenario.play(stage.clone()).await;
    stage.phase("heal");
    inject::heal(stage);
    stage.phase("settle");
    settle(stage).await;
    let judge = || scenario.oracles().iter().for_each(|oracle| oracle.judge(stage));
    let trial = stage.try_judging(judge);
    if trial.has_complaints {
        corral_core::sleep(POLL_TIME).await;
        settle(stage).await;
    }
    stage.phase("judge");
    if trial.has_complaints {
        judge();
    } else {
        // Nothing has happened since: it would judge the same again.
        trial.hazards.iter().for_each(|[name, object, detail]| stage.hazard(name, object, detail));
    }
}

/// Lets oracles and probes see every event.
fn watch(world: &World, scenario: &Arc<dyn Scenario>, stage: &Arc<Stage>, bound: Arc<Bound>) {
    let oracles = scenario.oracles();
    let probes = Probes::new(scenario.probes());
    let stale = StaleReads::default();
    let weak = Arc::downgrade(stage);
    let polled = scenario.polled_kinds();
    world.journal().subscribe(Arc::new(move |record: &Record<'_>| {
        let Some(stage) = weak.upgrade() else { return };
        if let Some(what) = change(&record.event, polled) {
            stage.note_change(record.at, what);
        }
        if let Some(what) = bound.count(&record.event) {
            let signature = format!("{what} without end");
            let detail = format!("{signature}: the run was ended after {} events", record.sequence);
            stage.violation_as(RESTLESS, &signature, &detail);
        }
        for (object, seen, newest) in stale.observe(&record.event) {
            stage.hazard(STALE_READ, &object, &format!("had read version {seen}, stored was {newest}"));
        }
        if let Event::Panicked { message, location } = &record.event {
            stage.violation(panic_oracle(location), &format!("{message} ({location})"));
        }
        for probe in probes.observe(record) {
            stage.reach(probe);
        }
        oracles.iter().for_each(|oracle| oracle.observe(&stage, record));
    }));
}

/// Whose fault a panic is: the simulator's and the scenarios' own, or the system's that is tested.
fn panic_oracle(location: &str) -> &'static str {
    let is_own = location.contains("/madsim-") || ["sim/", "scenarios/"].iter().any(|room| location.starts_with(room));
    if is_own { OWN_FAULT } else { PANIC }
}

/// What changes and by whom, where that says something new: not a lease, an event for people, a node's heartbeat or the trace of a poll.
fn change<'a>(event: &'a Event<'_>, polled: &[&str]) -> Option<(&'a str, &'a str)> {
    match event {
        Event::ApiWrite { kind, verb, subresource, client, .. } => {
            let heartbeat = kind == "Node" && subresource == "status" && client.starts_with("kubelet");
            let poll = verb == "update" && polled.contains(&kind.as_ref());
            (!heartbeat && !poll && kind != "Lease" && kind != "Event").then_some((kind, client))
        }
        Event::Phase { .. } | Event::Step { .. } => Some(("", "")),
        _ => None,
    }
}

/// Waits until nothing changes any more. That something still changes when the bound is over is damage: controllers write without end.
async fn settle(stage: &Stage) {
    let deadline = stage.world().now() + SETTLE_LIMIT;
    loop {
        let (last, kind, client) = stage.last_change();
        let quiet_at = last + QUIET_TIME;
        let now = stage.world().now();
        if now >= quiet_at {
            return;
        }
        if now >= deadline {
            let signature = format!("{kind} is written by {client} without end");
            let limit = SETTLE_LIMIT.as_secs() / 60;
            let detail =
                format!("{signature}: the last time at {last}, {limit} min after faults and clients had ended");
            return stage.violation_as(RESTLESS, &signature, &detail);
        }
        corral_core::sleep(quiet_at.min(deadline).since(now)).await;
    }
}
