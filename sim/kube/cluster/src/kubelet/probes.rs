//! Probes: one task for each probe of each container, that asks at its period and tells the pod's worker when the answer changes.
//!
//! A result counts for one run of the container only. Until the startup probe has succeeded, the others are not asked. After a failed liveness or
//! startup probe nothing is asked until the container runs anew.
//! Source: kubernetes pkg/kubelet/prober (worker.go, prober_manager.go), pkg/probe.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use host::net::TcpStream;
use host::time::Instant;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::sync::Notify;

use super::runtime::{ContainerRecord, Runtime};
use super::status::Probed;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    fn name(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        }
    }
}

/// The answers of one probe about one run of its container.
#[derive(Clone, Debug)]
struct Answers {
    run: String,
    /// None until it has been asked often enough.
    verdict: Option<bool>,
    last: Option<bool>,
    in_a_row: i32,
    /// It has failed for good; nothing is asked until the next run.
    on_hold: bool,
}

impl Answers {
    fn new(run: &str) -> Answers {
        Answers { run: run.to_owned(), verdict: None, last: None, in_a_row: 0, on_hold: false }
    }

    /// Counts an answer; true if the verdict has changed.
    fn count(&mut self, probe: &Probe, kind: ProbeKind, success: bool) -> bool {
        self.in_a_row = if self.last == Some(success) { self.in_a_row.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let enough = if success { probe.success_threshold } else { probe.failure_threshold };
        if self.in_a_row < enough.unwrap_or(if success { 1 } else { 3 }) {
            return false;
        }
        self.on_hold = match kind {
            ProbeKind::Startup => true,
            ProbeKind::Liveness => !success,
            ProbeKind::Readiness => false,
        };
        let changed = self.verdict != Some(success);
        self.verdict = Some(success);
        changed
    }
}

type Key = (String, ProbeKind);

/// The probes of one pod. Clones are the same.
#[derive(Clone)]
pub(crate) struct PodProbes {
    shared: Arc<Shared>,
}

struct Shared {
    answers: Mutex<BTreeMap<Key, Answers>>,
    probes: BTreeMap<Key, Probe>,
    /// Asks a readiness probe to be made at once.
    hurry: BTreeMap<String, Notify>,
    /// Tells the pod's worker that a verdict has changed.
    changed: Arc<Notify>,
    runtime: Arc<Runtime>,
    uid: String,
    pod: Arc<Pod>,
}

impl PodProbes {
    /// The probes of a pod, not begun yet; `changed` is told of each verdict that changes.
    pub fn new(pod: &Arc<Pod>, runtime: &Arc<Runtime>, changed: Arc<Notify>) -> PodProbes {
        let mut probes = BTreeMap::new();
        let mut hurry = BTreeMap::new();
        for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
            for (kind, probe) in probes_of(container) {
                if kind == ProbeKind::Readiness {
                    hurry.insert(container.name.clone(), Notify::new());
                }
                probes.insert((container.name.clone(), kind), probe.clone());
            }
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let (runtime, pod) = (runtime.clone(), pod.clone());
        let shared = Shared { answers: Mutex::default(), probes, hurry, changed, runtime, uid, pod };
        PodProbes { shared: Arc::new(shared) }
    }

    /// Begins to ask; the tasks end when they are aborted.
    pub fn start(&self) -> Vec<host::JoinHandle<()>> {
        let keys: Vec<Key> = self.shared.probes.keys().cloned().collect();
        keys.into_iter().map(|key| host::spawn(ask_for_ever(self.shared.clone(), key))).collect()
    }

    /// What is known of a run. A container whose readiness is unknown is asked at once.
    pub fn probed(&self, run: &ContainerRecord) -> Probed {
        let verdict = |kind| self.shared.verdict(&run.name, kind, &run.id);
        let has = |kind| self.shared.probes.contains_key(&(run.name.clone(), kind));
        let started = !has(ProbeKind::Startup) || verdict(ProbeKind::Startup) == Some(true);
        let ready = started && (!has(ProbeKind::Readiness) || verdict(ProbeKind::Readiness) == Some(true));
        if started
            && !ready
            && let Some(hurry) = self.shared.hurry.get(&run.name)
        {
            hurry.notify_one();
        }
        Probed { started, ready }
    }

    /// Which probe has found a run to be broken, and how long it may take to stop, if the probe says so.
    pub fn found_broken(&self, run: &ContainerRecord) -> Option<(ProbeKind, Option<Duration>)> {
        [ProbeKind::Startup, ProbeKind::Liveness].into_iter().find_map(|kind| {
            (self.shared.verdict(&run.name, kind, &run.id) == Some(false)).then(|| {
                let probe = self.shared.probes.get(&(run.name.clone(), kind));
                let grace = probe.and_then(|probe| probe.termination_grace_period_seconds);
                (kind, grace.map(|seconds| Duration::from_secs(seconds.max(1) as u64)))
            })
        })
    }
}

fn probes_of(container: &Container) -> impl Iterator<Item = (ProbeKind, &Probe)> {
    [
        (ProbeKind::Startup, container.startup_probe.as_ref()),
        (ProbeKind::Liveness, container.liveness_probe.as_ref()),
        (ProbeKind::Readiness, container.readiness_probe.as_ref()),
    ]
    .into_iter()
    .filter_map(|(kind, probe)| Some((kind, probe?)))
}

impl Shared {
    fn answers(&self) -> MutexGuard<'_, BTreeMap<Key, Answers>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verdict(&self, container: &str, kind: ProbeKind, run: &str) -> Option<bool> {
        let answers = self.answers();
        answers.get(&(container.to_owned(), kind)).filter(|answers| answers.run == run)?.verdict
    }

    /// The run to be asked now, if there is one.
    fn run_to_ask(&self, key: &Key, probe: &Probe) -> Option<ContainerRecord> {
        let (container, kind) = key;
        let pod = self.runtime.pod(&self.uid)?;
        let run = pod.newest(container).filter(|run| run.is_running())?.clone();
        let waits_for_startup = *kind != ProbeKind::Startup
            && self.probes.contains_key(&(container.clone(), ProbeKind::Startup))
            && self.verdict(container, ProbeKind::Startup, &run.id) != Some(true);
        let delay = Duration::from_secs(probe.initial_delay_seconds.unwrap_or(0).max(0) as u64);
        let on_hold = self.answers().get(key).is_some_and(|answers| answers.run == run.id && answers.on_hold);
        (!waits_for_startup && run.started.elapsed() >= delay && !on_hold).then_some(run)
    }

    async fn ask(&self, key: &Key, probe: &Probe) {
        let Some(run) = self.run_to_ask(key, probe) else { return };
        let limit = Duration::from_secs(probe.timeout_seconds.unwrap_or(1).max(1) as u64);
        let answer = host::time::timeout(limit, self.perform(probe, &run)).await;
        let failure = match answer {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            Err(_elapsed) => Some("context deadline exceeded".to_owned()),
        };
        if let Some(failure) = &failure {
            let (container, kind) = key;
            tracing::info!(container, pod = ?self.pod.metadata.name, "{} probe failed: {failure}", kind.name());
        }
        let changed = {
            let mut answers = self.answers();
            let answers = answers.entry(key.clone()).or_insert_with(|| Answers::new(&run.id));
            if answers.run != run.id {
                *answers = Answers::new(&run.id);
            }
            answers.count(probe, key.1, failure.is_none())
        };
        if changed {
            self.changed.notify_one();
        }
    }

    async fn perform(&self, probe: &Probe, run: &ContainerRecord) -> Result<(), String> {
        let address = self.runtime.pod(&self.uid).and_then(|pod| pod.sandbox).map(|sandbox| sandbox.address);
        let address = IpAddr::from(address.ok_or("the pod has no network")?);
        if let Some(get) = &probe.http_get {
            return http_get(get, self.socket(address, get.host.as_deref(), &get.port, &run.name)?).await;
        }
        if let Some(tcp) = &probe.tcp_socket {
            let socket = self.socket(address, tcp.host.as_deref(), &tcp.port, &run.name)?;
            return TcpStream::connect(socket)
                .await
                .map(|_stream| ())
                .map_err(|error| format!("dial tcp {socket}: {error}"));
        }
        if let Some(exec) = &probe.exec {
            let command = exec.command.clone().unwrap_or_default();
            let process = self.runtime.exec(run, &command).map_err(|error| error.to_string())?;
            return match process.wait().await.code() {
                0 => Ok(()),
                code => Err(format!("command terminated with exit code {code}")),
            };
        }
        // A grpc probe: not part of this kubelet; the container counts as not answering.
        Err("the probe has no handler that this kubelet knows".to_owned())
    }

    fn socket(
        &self,
        pod: IpAddr,
        host: Option<&str>,
        port: &IntOrString,
        container: &str,
    ) -> Result<SocketAddr, String> {
        let address = match host.filter(|host| !host.is_empty()) {
            Some(host) => host.parse().map_err(|_| format!("{host} is no address"))?,
            None => pod,
        };
        let port = match port {
            IntOrString::Int(number) => u16::try_from(*number).map_err(|_| format!("invalid port number {number}"))?,
            IntOrString::String(name) => self.named_port(name, container)?,
        };
        Ok(SocketAddr::new(address, port))
    }

    fn named_port(&self, name: &str, container: &str) -> Result<u16, String> {
        let containers = self.pod.spec.iter().flat_map(|spec| &spec.containers);
        let of_container = containers.filter(|candidate| candidate.name == container);
        let mut ports = of_container.flat_map(|container| container.ports.iter().flatten());
        let named = ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port);
        let number = named.or_else(|| name.parse().ok()).and_then(|number| u16::try_from(number).ok());
        number.ok_or_else(|| format!("invalid port {name}"))
    }
}

async fn http_get(get: &HTTPGetAction, socket: SocketAddr) -> Result<(), String> {
    let path = get.path.as_deref().unwrap_or("/");
    let separator = if path.starts_with('/') { "" } else { "/" };
    let mut request = http::Request::get(format!("http://{socket}{separator}{path}"))
        .header(http::header::USER_AGENT, "kube-probe/1.36")
        .header(http::header::ACCEPT, "*/*")
        .header(http::header::CONNECTION, "close");
    for header in get.http_headers.iter().flatten() {
        request = request.header(&header.name, &header.value);
    }
    let request = request.body(host::http::empty()).map_err(|error| error.to_string())?;
    // A client of its own: a probe never uses an old connection.
    let response = host::http::Client::new().send(request).await.map_err(|error| format!("Get {path:?}: {error}"))?;
    let status = response.status();
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
    }
}

async fn ask_for_ever(shared: Arc<Shared>, key: Key) {
    let probe = shared.probes[&key].clone();
    let period = Duration::from_secs(probe.period_seconds.unwrap_or(10).max(1) as u64);
    let never = Notify::new();
    let hurry = if key.1 == ProbeKind::Readiness { shared.hurry.get(&key.0).unwrap_or(&never) } else { &never };
    let mut next = Instant::now();
    loop {
        shared.ask(&key, &probe).await;
        // A ticker: a slow answer does not move the following ones.
        while next <= Instant::now() {
            next = next + period;
        }
        tokio::select! {
            biased;
            () = hurry.notified() => {}
            () = host::time::sleep_until(next) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_change_after_as_many_equal_answers_as_asked_for() {
        let probe = Probe { success_threshold: Some(2), failure_threshold: Some(3), ..Probe::default() };
        let mut answers = Answers::new("run");
        let verdicts: Vec<(bool, Option<bool>)> = [true, true, false, false, true, false, false, false]
            .into_iter()
            .map(|answer| (answers.count(&probe, ProbeKind::Readiness, answer), answers.verdict))
            .collect();
        let yes = Some(true);
        let expected = [
            (false, None),
            (true, yes),
            (false, yes),
            (false, yes),
            (false, yes),
            (false, yes),
            (false, yes),
            (true, Some(false)),
        ];
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn a_failed_liveness_probe_waits_for_the_next_run() {
        let probe = Probe { failure_threshold: Some(1), ..Probe::default() };
        let mut answers = Answers::new("run");
        assert!(answers.count(&probe, ProbeKind::Liveness, false));
        assert!(answers.on_hold);
    }
}
