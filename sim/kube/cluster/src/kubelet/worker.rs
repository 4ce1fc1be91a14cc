//! One pod on its machine: brought up, kept as its spec wants it, and taken down.
//!
//! A worker is woken by a change of the pod, of its containers (seen at the runtime's next listing, each second) or of a probe's verdict, and by
//! its own alarm: a minute or so after a success, the end of the shortest back-off after a failure. A deletion interrupts whatever it is doing.
//! Source: kubernetes pkg/kubelet/pod_workers.go, kubelet.go (SyncPod, SyncTerminatingPod, SyncTerminatedPod).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use host::time::Instant;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::sync::Notify;

use super::Kubelet;
use super::probes::PodProbes;
use super::runtime::RuntimePod;
use super::status::{Facts, Waiting};
use super::volumes::Volumes;

/// Between two looks at a pod that is as it should be; up to half as much again.
const RESYNC_PERIOD: Duration = Duration::from_secs(60);
/// After a failure that has no back-off of its own; up to half as much again.
const ERROR_PERIOD: Duration = Duration::from_secs(10);

/// What a worker is told.
pub(super) struct Mailbox {
    letter: Mutex<Letter>,
    /// There is something to look at.
    pub changed: Arc<Notify>,
    /// The pod is to go, or to go faster.
    termination: Notify,
}

struct Letter {
    pod: Arc<Pod>,
    removed: bool,
}

impl Mailbox {
    pub fn new(pod: Arc<Pod>) -> Mailbox {
        let letter = Letter { pod, removed: false };
        Mailbox { letter: Mutex::new(letter), changed: Arc::new(Notify::new()), termination: Notify::new() }
    }

    fn letter(&self) -> MutexGuard<'_, Letter> {
        self.letter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn pod(&self) -> Arc<Pod> {
        self.letter().pod.clone()
    }

    /// The newest version of the pod.
    pub fn update(&self, pod: Arc<Pod>) {
        let terminating = pod.metadata.deletion_timestamp.is_some();
        self.letter().pod = pod;
        self.changed.notify_one();
        if terminating {
            self.termination.notify_one();
        }
    }

    /// The pod is no longer in the API.
    pub fn remove(&self, pod: Arc<Pod>) {
        let mut letter = self.letter();
        letter.pod = pod;
        letter.removed = true;
        drop(letter);
        self.changed.notify_one();
        self.termination.notify_one();
    }

    fn is_removed(&self) -> bool {
        self.letter().removed
    }

    fn must_go(&self) -> bool {
        let letter = self.letter();
        letter.removed || letter.pod.metadata.deletion_timestamp.is_some()
    }

    async fn going(&self) {
        while !self.must_go() {
            self.termination.notified().await;
        }
    }

    /// How long its processes may take to end, as things stand.
    fn grace(&self) -> Duration {
        let letter = self.letter();
        let spec_seconds =
            letter.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
        let seconds = letter.pod.metadata.deletion_grace_period_seconds.unwrap_or(spec_seconds);
        // Never none at all: everybody gets a second.
        Duration::from_secs(seconds.max(1) as u64)
    }
}

/// How a sync ended.
pub(super) enum Synced {
    /// The pod has run to its end.
    Ended,
    /// Look again after this long.
    Again(Duration),
}

pub(super) struct Worker {
    pub(super) kubelet: Arc<Kubelet>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) uid: String,
    /// Why containers could not be started at the last try.
    pub(super) waiting: BTreeMap<String, Waiting>,
    pub(super) volumes: Option<Volumes>,
    pub(super) probes: PodProbes,
    probe_tasks: Vec<host::JoinHandle<()>>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end_probes();
    }
}

impl Worker {
    pub fn new(kubelet: Arc<Kubelet>, mailbox: Arc<Mailbox>) -> Worker {
        let pod = mailbox.pod();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let probes = PodProbes::new(&pod, &kubelet.runtime, mailbox.changed.clone());
        let (waiting, volumes, probe_tasks) = (BTreeMap::new(), None, Vec::new());
        Worker { kubelet, mailbox, uid, waiting, volumes, probes, probe_tasks }
    }

    /// Serves the pod until it is gone from the API and from the machine.
    pub async fn run(mut self) {
        self.keep_up().await;
        self.terminate().await;
        while !self.mailbox.is_removed() {
            self.mailbox.changed.notified().await;
        }
        self.kubelet.forget_pod(&self.uid).await;
    }

    /// Syncs until the pod has ended or is to go.
    async fn keep_up(&mut self) {
        let mut alarm = Instant::now();
        let mut last_sync = None;
        let mailbox = self.mailbox.clone();
        while !mailbox.must_go() {
            if let Some(last_sync) = last_sync {
                tokio::select! {
                    biased;
                    () = mailbox.changed.notified() => {}
                    () = host::time::sleep_until(alarm) => {}
                }
                // Decisions are made on a listing of the containers that is newer than the last sync.
                self.kubelet.listing_after(last_sync).await;
                if mailbox.must_go() {
                    return;
                }
            }
            let synced = tokio::select! {
                biased;
                () = mailbox.going() => return,
                synced = self.sync() => synced,
            };
            last_sync = Some(Instant::now());
            match synced {
                Synced::Ended => return,
                Synced::Again(after) => alarm = Instant::now() + after,
            }
        }
    }

    pub(super) fn start_probes(&mut self) {
        if self.probe_tasks.is_empty() {
            self.probe_tasks = self.probes.start();
        }
    }

    fn end_probes(&mut self) {
        self.probe_tasks.drain(..).for_each(|task| task.abort());
    }

    pub(super) fn spec<'a>(&self, pod: &'a Pod) -> &'a PodSpec {
        pod.spec.as_ref().expect("the server admits no pod without a spec")
    }

    /// Says how the pod is.
    pub(super) fn report(&self, pod: &Pod, runtime: Option<&RuntimePod>, is_terminal: bool) -> Option<String> {
        let probes = &self.probes;
        let known = self.kubelet.status.status(&self.uid);
        // Its own last word counts, not what the API shows with a delay.
        let mut pod = pod.clone();
        if let Some(known) = known {
            pod.status = Some(known);
        }
        let facts = Facts {
            pod: &pod,
            runtime,
            host_address: self.kubelet.config.address,
            waiting: &self.waiting,
            probed: &|run| probes.probed(run),
            is_terminal,
            now: Time(host::wall_clock::now()),
        };
        let status = facts.status();
        let phase = status.phase.clone();
        self.kubelet.status.set(&pod, status, is_terminal);
        phase
    }

    // ---- the end

    async fn terminate(&mut self) {
        let pod = self.mailbox.pod();
        self.waiting.clear();
        self.report(&pod, self.kubelet.runtime.pod(&self.uid).as_ref(), false);
        self.stop_containers().await;
        self.end_probes();
        let latencies = &self.kubelet.config.latencies;
        self.kubelet.pause(latencies.sandbox_stop).await;
        self.kubelet.runtime.stop_sandbox(&self.uid);
        self.kubelet.listing_after(Instant::now()).await;
        let runtime = self.kubelet.runtime.pod(&self.uid);
        self.report(&self.mailbox.pod(), runtime.as_ref(), false);
        self.kubelet.pause(latencies.unmount).await;
        self.report(&self.mailbox.pod(), runtime.as_ref(), true);
    }

    /// Asks everything to stop; kills what has not when the grace is over. A later deletion with a shorter grace counts from then on.
    async fn stop_containers(&self) {
        loop {
            let Some(runtime) = self.kubelet.runtime.pod(&self.uid) else { return };
            if runtime.running().next().is_none() {
                return;
            }
            let grace = self.mailbox.grace();
            let stopping = runtime.running().map(|container| self.kubelet.runtime.stop_container(container, grace));
            tokio::select! {
                biased;
                _all = join_all(stopping) => {}
                () = self.shorter_grace_than(grace) => {}
            }
        }
    }

    async fn shorter_grace_than(&self, grace: Duration) {
        while self.mailbox.grace() >= grace {
            self.mailbox.termination.notified().await;
        }
    }

    /// The next look after a sync without trouble.
    pub(super) fn resync_period(&self) -> Duration {
        self.kubelet.jittered(RESYNC_PERIOD)
    }

    /// The next look after a failure; on the second, as the kubelet's own work queue is looked at.
    pub(super) fn retry_period(&self, back_off: Option<Duration>) -> Duration {
        match back_off {
            Some(left) => self.kubelet.until_tick_after(left),
            None => self.kubelet.jittered(ERROR_PERIOD),
        }
    }
}
