//! Faults in force: those of the API server as a policy that it asks, the others done to the world when their time comes and undone when it is over.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_apiserver::{AnswerFate, ClientIdentity, Delivery, Refusal, RequestFate, RequestPolicy, RequestView};
use corral_core::journal::{Event, FaultPhase, Record};
use corral_core::random::Stream;
use corral_core::{Latency, World};
use corral_disk::{FaultKind, FaultRule};
use corral_net::{DegradationSpec, Net, PartitionSpec, Selector};
use corral_object_store::{Effect, ErrorCode, Fault as StoreFault, OperationKind};

use crate::fault::{DiskAccess, Fault};
use crate::plan::{ApiVerb, StoreVerb, Trigger};
use crate::pods::{self, Pod};
use crate::stage::Stage;

/// A plan's machines are compared with the scenario's before anything runs.
const CHECKED: &str = "a plan names machines that exist";

/// The API server's faults in force.
pub struct ApiFaults {
    state: Mutex<ApiState>,
}

struct ApiState {
    active: Vec<(u64, Fault)>,
    last: u64,
    random: Stream,
}

impl ApiFaults {
    pub(crate) fn new(world: &World) -> Arc<ApiFaults> {
        let random = world.stream("faults/api");
        Arc::new(ApiFaults { state: Mutex::new(ApiState { active: Vec::new(), last: 0, random }) })
    }

    fn state(&self) -> MutexGuard<'_, ApiState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, fault: Fault) -> u64 {
        let mut state = self.state();
        state.last += 1;
        let id = state.last;
        state.active.push((id, fault));
        id
    }

    fn remove(&self, id: u64) {
        self.state().active.retain(|(active, _)| *active != id);
    }
}

fn writes(verb: &str) -> bool {
    !matches!(verb, "get" | "list" | "watch")
}

impl RequestPolicy for ApiFaults {
    fn request(&self, request: &RequestView<'_>) -> RequestFate {
        let ApiState { active, random, .. } = &mut *self.state();
        let (mut fate, mut late) = (RequestFate::default(), Duration::ZERO);
        for (_, fault) in active.iter() {
            match fault {
                Fault::SlowApi { extra, client, .. } if request.client.user_agent.starts_with(client) => {
                    let before = random.duration(Duration::ZERO, *extra);
                    fate.delay += before;
                    late += *extra - before;
                }
                Fault::ApiErrors { code, one_in, client, .. }
                    if writes(request.verb)
                        && request.client.user_agent.starts_with(client)
                        && random.chance(1, *one_in) =>
                {
                    fate.refusal = Some(Refusal {
                        code: *code,
                        retry_after_seconds: (*code == 429).then_some(1),
                        message: refusal_message(*code, request),
                    });
                }
                Fault::ApiLosesAnswers { one_in, client, .. }
                    if writes(request.verb)
                        && request.client.user_agent.starts_with(client)
                        && random.chance(1, *one_in) =>
                {
                    fate.answer = AnswerFate::Lost;
                }
                _ => {}
            }
        }
        if fate.answer == AnswerFate::Sent && !late.is_zero() {
            fate.answer = AnswerFate::Delayed(late);
        }
        fate
    }

    fn delivery(&self, client: &ClientIdentity, resource: &str) -> Delivery {
        let state = self.state();
        let lag = state.active.iter().filter_map(|(_, fault)| match fault {
            Fault::WatchLag { extra, client: only, resource: plural, .. }
                if client.user_agent.starts_with(only)
                    && (plural.is_empty() || resource.split('.').next() == Some(plural)) =>
            {
                Some(*extra)
            }
            _ => None,
        });
        match lag.max() {
            Some(lag) => Delivery::After(lag),
            None => Delivery::Prompt,
        }
    }
}

/// What the real server says with such a status.
fn refusal_message(code: u16, request: &RequestView<'_>) -> String {
    match code {
        403 => format!("{} \"{}\" is forbidden: not allowed", request.resource, request.name),
        429 => "too many requests, please try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => "Timeout: request did not complete within requested timeout".to_owned(),
        _ => "etcdserver: request timed out".to_owned(),
    }
}

/// Puts the plan's faults under way: each waits for its trigger from now on.
pub(crate) fn arm(stage: &Arc<Stage>) {
    for (index, planned) in stage.plan.faults.iter().enumerate() {
        match &planned.on {
            None => schedule(stage, index),
            Some(trigger) => wait_for(stage, trigger.clone(), index),
        }
    }
}

/// What a trigger has seen.
#[derive(Default)]
struct Seen {
    count: u32,
    /// Objects that are being deleted.
    deleting: BTreeSet<String>,
}

fn wait_for(stage: &Arc<Stage>, trigger: Trigger, index: usize) {
    let seen = Mutex::new(Seen::default());
    let weak = Arc::downgrade(stage);
    stage.world().journal().subscribe(Arc::new(move |record: &Record<'_>| {
        if !matches(&trigger, &record.event) {
            return;
        }
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::ApiWrite { uid, .. } = &record.event
            && trigger.api == Some(ApiVerb::Deleting)
            && !seen.deleting.insert(uid.to_string())
        {
            // Its deletion timestamp was set before.
            return;
        }
        seen.count += 1;
        if seen.count == trigger.nth
            && let Some(stage) = weak.upgrade()
        {
            schedule(&stage, index);
        }
    }));
}

fn matches(wanted: &Trigger, event: &Event<'_>) -> bool {
    match event {
        Event::ApiWrite { verb, kind, name, deleting, .. } => {
            let verb = match (verb.as_ref(), *deleting) {
                ("create", _) => ApiVerb::Create,
                ("delete", _) => ApiVerb::Delete,
                (_, true) => ApiVerb::Deleting,
                _ => ApiVerb::Update,
            };
            wanted.api == Some(verb) && wanted.kind == *kind && name.starts_with(&wanted.name)
        }
        Event::StoreOperation { verb, key, .. } => {
            let verb = if verb == "put" { StoreVerb::Put } else { StoreVerb::Delete };
            wanted.store == Some(verb) && key.contains(&wanted.key)
        }
        _ => false,
    }
}

fn schedule(stage: &Arc<Stage>, index: usize) {
    let world = stage.world();
    let weak = Arc::downgrade(stage);
    world.queue().run_at(world.now() + stage.plan.faults[index].after, move || {
        if let Some(stage) = weak.upgrade().filter(|stage| stage.faults_may_strike()) {
            strike(&stage, index);
        }
    });
}

fn target(fault: &Fault) -> String {
    match fault {
        Fault::Partition { from, to, .. } | Fault::SlowLink { from, to, .. } | Fault::LossyLink { from, to, .. } => {
            format!("{from} and {}", if to.is_empty() { "all others" } else { to })
        }
        Fault::SlowDisk { machine, path, .. }
        | Fault::DiskErrors { machine, path, .. }
        | Fault::DiskStalls { machine, path, .. }
        | Fault::DiskReadOnly { machine, path, .. }
        | Fault::DiskFull { machine, path, .. } => format!("{machine} {path}").trim_end().to_owned(),
        Fault::DeletePods { namespace, name, machine, .. } | Fault::KillProcess { namespace, name, machine } => {
            format!("{namespace}/{name}* {machine}").trim_end().to_owned()
        }
        Fault::PowerOff { machine, .. } | Fault::Freeze { machine, .. } | Fault::StepClock { machine, .. } => {
            machine.clone()
        }
        Fault::SlowApi { client, .. }
        | Fault::ApiErrors { client, .. }
        | Fault::ApiLosesAnswers { client, .. }
        | Fault::WatchLag { client, .. } => {
            if client.is_empty() {
                "all clients".to_owned()
            } else {
                client.clone()
            }
        }
        _ => "object stores".to_owned(),
    }
}

/// Undoes a fault.
pub(crate) type Undo = Box<dyn FnOnce(&Stage) + Send>;

fn strike(stage: &Arc<Stage>, index: usize) {
    let fault = &stage.plan.faults[index].fault;
    if fault.is_of_stores() && stage.stores().is_empty() {
        return;
    }
    if let Some(machine) = held_machine(fault)
        && !stage.hold(machine)
    {
        // It is off or frozen already: what one fault took, another can neither take nor give back.
        return;
    }
    let pods = pods_struck(stage, fault);
    if pods.as_ref().is_some_and(Vec::is_empty) {
        return;
    }
    stage.note_struck(index);
    note(stage, fault, if fault.lasts().is_some() { FaultPhase::Begins } else { FaultPhase::Once });
    let undo = begin(stage, fault, &pods.unwrap_or_default());
    let (Some(undo), Some(lasts)) = (undo, fault.lasts()) else { return };
    let of = fault.clone();
    let id = stage.keep_undo(Box::new(move |stage: &Stage| {
        undo(stage);
        if let Some(machine) = held_machine(&of) {
            stage.release(machine);
        }
        note(stage, &of, FaultPhase::Ends);
    }));
    let weak = Arc::downgrade(stage);
    stage.world().queue().run_at(stage.world().now() + lasts, move || {
        let Some(stage) = weak.upgrade() else { return };
        if let Some(undo) = stage.take_undo(id) {
            undo(&stage);
        }
    });
}

/// What a fault of pods strikes; none for other faults. Pods are deleted at the API server, wherever they are; killed by the kernel of their machine.
fn pods_struck(stage: &Stage, fault: &Fault) -> Option<Vec<Pod>> {
    match fault {
        Fault::DeletePods { namespace, name, machine, .. } => Some(pods::of(stage, namespace, name, machine)),
        Fault::KillProcess { namespace, name, machine } => {
            let pods = pods::of(stage, namespace, name, machine).into_iter();
            Some(pods.filter(|pod| pod.runs(stage)).collect())
        }
        _ => None,
    }
}

fn note(stage: &Stage, fault: &Fault, phase: FaultPhase) {
    stage.world().record(Event::Fault { kind: fault.name().into(), target: target(fault).into(), phase });
}

/// The machine that a fault takes as a whole.
fn held_machine(fault: &Fault) -> Option<&str> {
    match fault {
        Fault::PowerOff { machine, .. } | Fault::Freeze { machine, .. } => Some(machine),
        _ => None,
    }
}

/// Ends every fault in force: the heal phase.
pub(crate) fn heal(stage: &Stage) {
    for undo in stage.take_undos() {
        undo(stage);
    }
}

/// Does what a fault does; returns what undoes it, if it lasts.
fn begin(stage: &Arc<Stage>, fault: &Fault, pods: &[Pod]) -> Option<Undo> {
    match fault {
        Fault::SlowApi { .. } | Fault::ApiErrors { .. } | Fault::ApiLosesAnswers { .. } | Fault::WatchLag { .. } => {
            // The API server carries them out by itself.
            let id = stage.api_faults().add(fault.clone());
            Some(Box::new(move |stage| stage.api_faults().remove(id)))
        }
        Fault::SlowStore { per_operation, .. } => {
            let slow = Effect::Slow { per_operation: *per_operation, bytes_per_second: None };
            Some(on_stores(stage, vec![StoreFault::new(slow)]))
        }
        Fault::StoreErrors { code, one_in, .. } => {
            let mut refuse = StoreFault::new(Effect::Refuse(store_error(*code)));
            refuse.chance = (1, *one_in);
            Some(on_stores(stage, vec![refuse]))
        }
        Fault::StoreSilent { .. } => Some(on_stores(stage, vec![StoreFault::new(Effect::NeverAnswer)])),
        Fault::StoreListsLate { window, .. } => Some(on_stores(
            stage,
            vec![
                StoreFault::new(Effect::ListLate { window: *window }),
                StoreFault::new(Effect::ListDeleted { window: *window }),
            ],
        )),
        Fault::StoreListsNothing { .. } => {
            Some(on_stores(stage, vec![StoreFault::new(Effect::EmptyList).on([OperationKind::List])]))
        }
        Fault::Partition { from, to, port, one_way, .. } => Some(partition(stage, from, to, *port, *one_way)),
        Fault::SlowLink { from, to, extra, .. } => Some(degrade(stage, from, to, Latency::fixed(*extra), (0, 1))),
        Fault::LossyLink { from, to, one_in, .. } => Some(degrade(stage, from, to, Latency::ZERO, (1, *one_in))),
        Fault::SlowDisk { machine, path, extra, .. } => {
            Some(on_disks(stage, machine, path, &[FaultKind::Slow { extra: Latency::fixed(*extra) }]))
        }
        Fault::DiskErrors { machine, path, only, .. } => {
            let kinds: &[FaultKind] = match only {
                Some(DiskAccess::Reads) => &[FaultKind::ReadError],
                Some(DiskAccess::Writes) => &[FaultKind::WriteError],
                None => &[FaultKind::ReadError, FaultKind::WriteError],
            };
            Some(on_disks(stage, machine, path, kinds))
        }
        Fault::DiskStalls { machine, path, .. } => Some(on_disks(stage, machine, path, &[FaultKind::Stall])),
        Fault::DiskReadOnly { machine, path, .. } => Some(on_disks(stage, machine, path, &[FaultKind::ReadOnly])),
        Fault::DiskFull { machine, path, .. } => Some(on_disks(stage, machine, path, &[FaultKind::NoSpace])),
        Fault::DeletePods { forced, .. } => {
            pods::delete(stage, pods, *forced);
            None
        }
        Fault::KillProcess { .. } => {
            pods.iter().for_each(|pod| pod.kill(stage));
            None
        }
        Fault::PowerOff { machine, .. } => {
            let machine = machine.clone();
            stage.cluster().power_off(&machine).expect(CHECKED);
            Some(Box::new(move |stage| stage.cluster().power_on(&machine).expect(CHECKED)))
        }
        Fault::Freeze { machine, .. } => {
            let machine = machine.clone();
            stage.cluster().freeze(&machine).expect(CHECKED);
            Some(Box::new(move |stage| stage.cluster().thaw(&machine).expect(CHECKED)))
        }
        Fault::StepClock { machine, milliseconds } => {
            let now = stage.world().now();
            if let Some(machine) = stage.world().machine_named(machine) {
                machine.set_clock(now, milliseconds.saturating_mul(1_000_000), machine.clock().drift_ppm);
            }
            None
        }
    }
}

fn on_stores(stage: &Stage, faults: Vec<StoreFault>) -> Undo {
    let mut added = Vec::new();
    for store in stage.stores() {
        added.extend(faults.iter().map(|fault| (store.clone(), store.add_fault(fault.clone()))));
    }
    Box::new(move |_| {
        for (store, id) in added {
            store.remove_fault(id);
        }
    })
}

fn store_error(code: u16) -> ErrorCode {
    match code {
        403 => ErrorCode::AccessDenied,
        503 => ErrorCode::SlowDown,
        // 500: no other is allowed.
        _ => ErrorCode::InternalError,
    }
}

/// Sets faults on every disk of a machine.
fn on_disks(stage: &Stage, machine: &str, path: &str, kinds: &[FaultKind]) -> Undo {
    let path = if path.is_empty() { "**" } else { path };
    let mut set = Vec::new();
    for (_, disk) in stage.cluster().disks(machine).expect(CHECKED) {
        for kind in kinds {
            let id = disk.set_fault(FaultRule::new(path, *kind));
            set.push((disk.clone(), id));
        }
    }
    Box::new(move |_| set.iter().for_each(|(disk, id)| disk.clear_fault(*id)))
}

fn degrade(stage: &Stage, from: &str, to: &str, extra_latency: Latency, loss: (u64, u64)) -> Undo {
    let scope = PartitionSpec::between(machine(stage, from), machine(stage, to));
    let spec = DegradationSpec { scope, extra_latency, loss, bandwidth_bytes_per_second: None };
    let id = Net::of(stage.world()).degrade(spec);
    Box::new(move |stage| {
        Net::of(stage.world()).restore(id);
    })
}

/// A machine by its name; everybody if there is no name.
fn machine(stage: &Stage, name: &str) -> Selector {
    stage.world().machine_named(name).map_or(Selector::Any, |machine| Selector::Machine(machine.id))
}

fn partition(stage: &Stage, from: &str, to: &str, port: Option<u16>, one_way: bool) -> Undo {
    let (from, to) = (machine(stage, from), machine(stage, to));
    let mut spec = if one_way { PartitionSpec::one_way(from, to) } else { PartitionSpec::between(from, to) };
    if let Some(port) = port {
        spec = spec.port(port);
    }
    let id = Net::of(stage.world()).partition(spec);
    Box::new(move |stage| {
        Net::of(stage.world()).heal(id);
    })
}
