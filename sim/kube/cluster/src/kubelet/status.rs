//! What a kubelet says about a pod: phase, conditions and the state of each container, from what the runtime knows and what probes found.
//!
//! Pure: the same facts give the same status. Source: kubernetes pkg/kubelet/kubelet_pods.go (generateAPIPodStatus, getPhase,
//! convertToAPIContainerStatuses), pkg/kubelet/status/generate.go.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::runtime::{ContainerRecord, RuntimePod};

/// Why a container waits: reason and message.
pub(crate) type Waiting = (&'static str, String);

/// What probes found of a running container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probed {
    /// Its startup probe has succeeded, or it has none.
    pub started: bool,
    /// It is started, and its readiness probe succeeds, or it has none.
    pub ready: bool,
}

/// The facts of a pod.
pub(crate) struct Facts<'a> {
    pub pod: &'a Pod,
    pub runtime: Option<&'a RuntimePod>,
    pub host_address: Ipv4Addr,
    /// Why containers could not be started at the last try.
    pub waiting: &'a BTreeMap<String, Waiting>,
    /// By the id of a container's run.
    pub probed: &'a dyn Fn(&ContainerRecord) -> Probed,
    /// Everything has been stopped for good.
    pub is_terminal: bool,
    pub now: Time,
}

/// Whether a container that is not running is to be started, given how it ended last.
pub(crate) fn should_start(spec: &PodSpec, newest: Option<&ContainerRecord>) -> bool {
    let Some(newest) = newest else { return true };
    match (&newest.finished, restart_policy(spec)) {
        (None, _) => false,
        (Some(_), "Never") => false,
        (Some(finished), "OnFailure") => finished.exit_code != 0,
        (Some(_), _) => true,
    }
}

pub(crate) fn restart_policy(spec: &PodSpec) -> &str {
    spec.restart_policy.as_deref().unwrap_or("Always")
}

pub(crate) fn init_containers(spec: &PodSpec) -> &[Container] {
    spec.init_containers.as_deref().unwrap_or_default()
}

/// Whether all init containers have succeeded in the sandbox that is there now.
pub(crate) fn is_initialized(spec: &PodSpec, runtime: Option<&RuntimePod>) -> bool {
    init_containers(spec).iter().all(|container| has_succeeded(runtime, &container.name))
        // Once a main container has run in this sandbox, nobody asks the init containers again.
        || spec.containers.iter().any(|container| newest_in_sandbox(runtime, &container.name).is_some())
}

/// The newest run of a container in the sandbox that is there now.
pub(crate) fn newest_in_sandbox<'a>(runtime: Option<&'a RuntimePod>, name: &str) -> Option<&'a ContainerRecord> {
    let runtime = runtime?;
    let attempt = runtime.sandbox.as_ref()?.attempt;
    runtime.newest(name).filter(|run| run.sandbox_attempt == attempt)
}

fn has_succeeded(runtime: Option<&RuntimePod>, name: &str) -> bool {
    let newest = newest_in_sandbox(runtime, name);
    newest.and_then(|run| run.finished.as_ref()).is_some_and(|finished| finished.exit_code == 0)
}

impl Facts<'_> {
    fn spec(&self) -> &PodSpec {
        self.pod.spec.as_ref().expect("the server admits no pod without a spec")
    }

    /// The status of the pod.
    pub fn status(&self) -> PodStatus {
        let old = self.pod.status.clone().unwrap_or_default();
        let spec = self.spec();
        let init_statuses: Vec<ContainerStatus> =
            init_containers(spec).iter().map(|container| self.container(container, true, &old)).collect();
        let statuses: Vec<ContainerStatus> =
            spec.containers.iter().map(|container| self.container(container, false, &old)).collect();
        // What has ended stays ended, whatever is known of its containers later.
        let phase = match old.phase.as_deref() {
            Some("Succeeded") => "Succeeded",
            Some("Failed") => "Failed",
            _ => self.phase(&init_statuses, &statuses),
        };
        let conditions = self.conditions(phase, &init_statuses, &statuses, &old);
        let address = self.address();
        let ip = |address: Ipv4Addr| address.to_string();
        PodStatus {
            phase: Some(phase.to_owned()),
            conditions: Some(conditions),
            host_ip: Some(ip(self.host_address)),
            host_ips: Some(vec![HostIP { ip: ip(self.host_address) }]),
            pod_ip: address.map(ip),
            pod_ips: address.map(|address| vec![PodIP { ip: ip(address) }]),
            start_time: Some(old.start_time.clone().unwrap_or_else(|| self.now.clone())),
            init_container_statuses: (!init_statuses.is_empty()).then_some(init_statuses),
            container_statuses: Some(statuses),
            qos_class: old.qos_class.clone(),
            observed_generation: self.pod.metadata.generation,
            ..PodStatus::default()
        }
    }

    fn address(&self) -> Option<Ipv4Addr> {
        let sandbox = self.runtime?.sandbox.as_ref()?;
        (sandbox.ready || self.is_terminal).then_some(sandbox.address)
    }

    fn container(&self, container: &Container, is_init: bool, old: &PodStatus) -> ContainerStatus {
        let newest = self.runtime.and_then(|runtime| runtime.newest(&container.name));
        let mut state = newest.map_or_else(|| self.not_begun(), state_of);
        let before = self.runtime.and_then(|runtime| {
            let runs = runtime.containers.iter().rev().filter(|run| run.name == container.name);
            runs.skip(1).find(|run| !run.is_running())
        });
        let mut last_state = before.map(state_of);
        let is_over = self.is_terminal || (is_init && has_succeeded(self.runtime, &container.name));
        if !is_over
            && newest.is_none_or(|run| !run.is_running())
            && should_start(self.spec(), newest)
            && let Some((reason, message)) = self.waiting.get(&container.name)
        {
            if state.terminated.is_some() {
                last_state = Some(state);
            }
            state = waiting(reason, Some(message.clone()));
        }
        let probed = newest.filter(|run| run.is_running()).map(|run| (self.probed)(run));
        let ready = if is_init {
            newest.and_then(|run| run.finished.as_ref()).is_some_and(|finished| finished.exit_code == 0)
        } else {
            probed.is_some_and(|probed| probed.ready)
        };
        ContainerStatus {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            image_id: newest.map(|run| image_id(&run.image)).unwrap_or_default(),
            container_id: newest.map(|run| format!("containerd://{}", run.id)),
            restart_count: newest.map_or_else(|| old_restart_count(old, &container.name), |run| run.attempt as i32),
            ready,
            started: Some(probed.is_some_and(|probed| probed.started)),
            state: Some(state),
            last_state,
            ..ContainerStatus::default()
        }
    }

    fn not_begun(&self) -> ContainerState {
        if self.is_terminal {
            // It never ran, and never will.
            return ContainerState {
                terminated: Some(ContainerStateTerminated {
                    exit_code: 137,
                    reason: Some("ContainerStatusUnknown".into()),
                    message: Some("The container could not be located when the pod was terminated".into()),
                    ..ContainerStateTerminated::default()
                }),
                ..ContainerState::default()
            };
        }
        let has_init = !init_containers(self.spec()).is_empty();
        waiting(if has_init { "PodInitializing" } else { "ContainerCreating" }, None)
    }

    fn phase(&self, init_statuses: &[ContainerStatus], statuses: &[ContainerStatus]) -> &'static str {
        let policy = restart_policy(self.spec());
        let initialized = is_initialized(self.spec(), self.runtime);
        let failed = |status: &ContainerStatus| exit_code(status.state.as_ref()).is_some_and(|code| code != 0);
        if !initialized && !self.is_terminal {
            let for_good = policy == "Never" && init_statuses.iter().any(failed);
            return if for_good { "Failed" } else { "Pending" };
        }
        let count = |is: &dyn Fn(&ContainerStatus) -> bool| statuses.iter().filter(|status| is(status)).count();
        let running = count(&|status| status.state.as_ref().is_some_and(|state| state.running.is_some()));
        let waits = |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.waiting.is_some());
        // A container that waits after it has run counts as stopped.
        let waiting = count(&|status| waits(status) && exit_code(status.last_state.as_ref()).is_none());
        let succeeded = count(&|status| exit_code(status.state.as_ref()) == Some(0));
        let stopped = statuses.len() - running - waiting;
        match () {
            () if self.is_terminal && running == 0 => {
                if stopped == succeeded && stopped > 0 {
                    "Succeeded"
                } else {
                    "Failed"
                }
            }
            () if waiting > 0 => "Pending",
            () if running > 0 => "Running",
            () if policy == "Always" => "Running",
            () if stopped == succeeded => "Succeeded",
            () if policy == "Never" => "Failed",
            () => "Running",
        }
    }

    fn conditions(
        &self,
        phase: &str,
        init_statuses: &[ContainerStatus],
        statuses: &[ContainerStatus],
        old: &PodStatus,
    ) -> Vec<PodCondition> {
        let names = |statuses: &[ContainerStatus]| {
            let unready = statuses.iter().filter(|status| !status.ready).map(|status| status.name.clone());
            unready.collect::<Vec<String>>()
        };
        let initialized = is_initialized(self.spec(), self.runtime) || phase == "Succeeded";
        let incomplete = if initialized { Vec::new() } else { names(init_statuses) };
        let unready = names(statuses);
        let has_network = self.runtime.and_then(|pod| pod.sandbox.as_ref()).is_some_and(|sandbox| sandbox.ready);
        let completed = phase == "Succeeded";
        let initialized = match (completed, incomplete.is_empty()) {
            (true, _) => condition("Initialized", Some(("PodCompleted", String::new())), true),
            (_, true) => condition("Initialized", None, true),
            _ => {
                let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
                condition("Initialized", Some(("ContainersNotInitialized", message)), false)
            }
        };
        let why_unready = || match (completed, phase == "Failed") {
            (true, _) => ("PodCompleted", String::new()),
            (_, true) => ("PodFailed", String::new()),
            _ => ("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" "))),
        };
        let ready = unready.is_empty() && !completed && phase != "Failed";
        let reason = (!ready).then(why_unready);
        let mut conditions = vec![
            condition("PodReadyToStartContainers", None, has_network && !self.is_terminal),
            initialized,
            condition("Ready", reason.clone(), ready),
            condition("ContainersReady", reason, ready),
            condition("PodScheduled", None, true),
        ];
        for condition in &mut conditions {
            condition.observed_generation = self.pod.metadata.generation;
            condition.last_transition_time = Some(transition_time(old, condition).unwrap_or_else(|| self.now.clone()));
        }
        conditions
    }
}

/// The conditions that the kubelet owns; others in a status are left as they are.
pub(crate) const OWN_CONDITIONS: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// When the condition took the value that it still has.
fn transition_time(old: &PodStatus, new: &PodCondition) -> Option<Time> {
    let same = old.conditions.iter().flatten().find(|old| old.type_ == new.type_ && old.status == new.status)?;
    same.last_transition_time.clone()
}

fn condition(kind: &str, reason: Option<Waiting>, is_true: bool) -> PodCondition {
    let (reason, message) = reason.unzip();
    PodCondition {
        type_: kind.to_owned(),
        status: if is_true { "True" } else { "False" }.to_owned(),
        reason: reason.map(str::to_owned),
        message: message.filter(|message| !message.is_empty()),
        ..PodCondition::default()
    }
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn state_of(run: &ContainerRecord) -> ContainerState {
    let started_at = Some(Time(run.started_at));
    match &run.finished {
        None => ContainerState { running: Some(ContainerStateRunning { started_at }), ..ContainerState::default() },
        Some(finished) => ContainerState {
            terminated: Some(ContainerStateTerminated {
                exit_code: finished.exit_code,
                reason: Some(finished.reason.to_owned()),
                started_at,
                finished_at: Some(Time(finished.at)),
                container_id: Some(format!("containerd://{}", run.id)),
                ..ContainerStateTerminated::default()
            }),
            ..ContainerState::default()
        },
    }
}

fn exit_code(state: Option<&ContainerState>) -> Option<i32> {
    state?.terminated.as_ref().map(|terminated| terminated.exit_code)
}

fn old_restart_count(old: &PodStatus, name: &str) -> i32 {
    let all = old.container_statuses.iter().flatten().chain(old.init_container_statuses.iter().flatten());
    all.filter(|status| status.name == name).map(|status| status.restart_count).next().unwrap_or(0)
}

/// A digest would name the content; here the reference is the content's only name.
fn image_id(image: &str) -> String {
    let content = corral_core::journal::content_hash(image.as_bytes());
    format!("{image}@sha256:{content:016x}{content:016x}{content:016x}{content:016x}")
}
