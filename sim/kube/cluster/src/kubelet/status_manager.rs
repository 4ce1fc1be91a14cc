//! Tells the server how pods are: one request after another, newest status only, again after a failure.
//!
//! A status is compared with what the server has (GET) and patched if it differs; of a pod that has ended and is to be deleted, the object is then
//! deleted with no grace. A failure, or a status that somebody else has overwritten, waits for the next full look, each 10 s; without one of
//! these nothing ticks. Source: kubernetes pkg/kubelet/status/status_manager.go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_kube_client::params::{DeleteParams, Patch, PatchParams, Preconditions};
use corral_kube_client::{Api, Client, Error, reads};
use host::time::Instant;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::status::OWN_CONDITIONS;

/// Between two full looks.
const FULL_SYNC_PERIOD: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Entry {
    namespace: String,
    name: String,
    status: PodStatus,
    /// Containers, network and volumes are gone.
    is_finished: bool,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<String, Entry>,
    /// To be told at once.
    changed: BTreeSet<String>,
    /// To be told at the next full look.
    later: BTreeSet<String>,
}

/// The statuses of a kubelet's pods. Clones are the same manager.
#[derive(Clone)]
pub(crate) struct StatusManager {
    client: Client,
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
}

impl StatusManager {
    pub fn new(client: &Client) -> StatusManager {
        StatusManager { client: client.clone(), state: Arc::default(), wake: Arc::new(Notify::new()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest status of a pod, told or not.
    pub fn status(&self, uid: &str) -> Option<PodStatus> {
        self.state().entries.get(uid).map(|entry| entry.status.clone())
    }

    /// Sets the status of a pod. `is_finished` means that nothing of it is left on this machine.
    pub fn set(&self, pod: &Pod, status: PodStatus, is_finished: bool) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut state = self.state();
        let same = |entry: &Entry| entry.status == status && entry.is_finished == is_finished;
        if state.entries.get(&uid).is_some_and(same) {
            return;
        }
        let entry = Entry {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            status,
            is_finished,
        };
        state.entries.insert(uid.clone(), entry);
        state.changed.insert(uid);
        self.wake.notify_one();
    }

    /// The watch showed a pod: if its status is not what was told, somebody else wrote it, and it is told again.
    pub fn observe(&self, pod: &Pod) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let mut state = self.state();
        let Some(entry) = state.entries.get(uid) else { return };
        if state.changed.contains(uid) {
            return;
        }
        let shown = pod.status.clone().unwrap_or_default();
        let waits_for_deletion = entry.is_finished && pod.metadata.deletion_timestamp.is_some();
        if waits_for_deletion || differ(&merged(&shown, &entry.status), &shown) {
            state.later.insert(uid.to_owned());
            self.wake.notify_one();
        }
    }

    pub fn forget(&self, uid: &str) {
        let mut state = self.state();
        state.entries.remove(uid);
        state.changed.remove(uid);
        state.later.remove(uid);
    }

    /// Sends what is to be told; never completes.
    pub async fn run(self) {
        let started = Instant::now();
        loop {
            let waits = !self.state().later.is_empty();
            let full_look = waits.then(|| next_tick(started, FULL_SYNC_PERIOD));
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                () = sleep_until_some(full_look) => {
                    let mut state = self.state();
                    let later = std::mem::take(&mut state.later);
                    state.changed.extend(later);
                }
            }
            let batch = std::mem::take(&mut self.state().changed);
            for uid in batch {
                let entry = self.state().entries.get(&uid).cloned();
                if let Some(entry) = entry {
                    self.tell(&uid, entry).await;
                }
            }
        }
    }

    async fn tell(&self, uid: &str, entry: Entry) {
        let within = format!("kubelet status {}/{}", entry.namespace, entry.name);
        match reads::scope(within, self.try_to_tell(uid, &entry)).await {
            Ok(()) => {}
            Err(error) => {
                tracing::debug!(%error, pod = %entry.name, "cannot tell the status of a pod");
                self.state().later.insert(uid.to_owned());
            }
        }
    }

    async fn try_to_tell(&self, uid: &str, entry: &Entry) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(&self.client, &entry.namespace);
        let Some(mut pod) = api.get_opt(&entry.name).await? else { return Ok(()) };
        if pod.metadata.uid.as_deref() != Some(uid) {
            // Another pod of this name: the old one is gone.
            self.forget(uid);
            return Ok(());
        }
        let shown = pod.status.clone().unwrap_or_default();
        let wanted = merged(&shown, &entry.status);
        if differ(&wanted, &shown) {
            let patch = json!({"metadata": {"uid": uid}, "status": with_nulls(&wanted)});
            pod = api.patch_status(&entry.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        if entry.is_finished && pod.metadata.deletion_timestamp.is_some() {
            let params = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
                ..DeleteParams::default()
            };
            match api.delete(&entry.name, &params).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _deleted_or_gone => self.forget(uid),
            }
        }
        Ok(())
    }
}

/// The next point of a grid that began at `origin`.
pub(super) fn next_tick(origin: Instant, period: Duration) -> Instant {
    let periods = origin.elapsed().as_nanos() / period.as_nanos() + 1;
    origin + period * u32::try_from(periods).unwrap_or(u32::MAX)
}

pub(super) async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => host::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The kubelet's status with the conditions of others.
fn merged(shown: &PodStatus, own: &PodStatus) -> PodStatus {
    let is_own = |condition: &&PodCondition| OWN_CONDITIONS.contains(&condition.type_.as_str());
    let mut conditions: Vec<PodCondition> =
        shown.conditions.iter().flatten().filter(|condition| !is_own(condition)).cloned().collect();
    conditions.extend(own.conditions.iter().flatten().cloned());
    PodStatus {
        conditions: Some(conditions),
        qos_class: own.qos_class.clone().or_else(|| shown.qos_class.clone()),
        nominated_node_name: shown.nominated_node_name.clone(),
        ..own.clone()
    }
}

/// Whether two statuses differ as the server stores them: times without fractions, conditions in any order.
fn differ(one: &PodStatus, other: &PodStatus) -> bool {
    let normal = |status: &PodStatus| {
        let mut status = status.clone();
        status.conditions.iter_mut().for_each(|conditions| conditions.sort_by(|a, b| a.type_.cmp(&b.type_)));
        as_json(&status)
    };
    normal(one) != normal(other)
}

fn as_json(status: &PodStatus) -> Value {
    serde_json::to_value(status).expect("a status is plain data")
}

/// A merge patch removes only what it names.
fn with_nulls(status: &PodStatus) -> Value {
    let mut value = as_json(status);
    if let Some(fields) = value.as_object_mut() {
        for field in ["podIP", "podIPs", "reason", "message", "initContainerStatuses"] {
            fields.entry(field).or_insert(Value::Null);
        }
    }
    value
}
