//! One look at a pod: what is missing, what is broken, and what is done about it.
//!
//! Order: status, volumes, sandbox, init containers one after the other, then all containers. A container that has ended and is to run again waits
//! for its back-off; one that cannot be started says why in its status.
//! Source: kubernetes pkg/kubelet/kuberuntime/kuberuntime_manager.go (computePodActions, SyncPod, doBackOff), pkg/kubelet/images.

use std::sync::Arc;
use std::time::Duration;

use corral_core::Attachments;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::backoff::go_duration;
use super::environment::{Environment, expand};
use super::runtime::{ContainerRecord, RuntimePod, Sandbox, StartContainer};
use super::status::{Waiting, init_containers, is_initialized, newest_in_sandbox, restart_policy, should_start};
use super::volumes::Volumes;
use super::worker::{Synced, Worker};
use crate::images::TaggedImage;

/// A container could not be started.
struct Failure {
    reason: &'static str,
    message: String,
    /// When it may be tried again, if that is known.
    back_off: Option<Duration>,
}

impl Failure {
    fn new(reason: &'static str, message: impl Into<String>) -> Failure {
        Failure { reason, message: message.into(), back_off: None }
    }
}

/// What one look has come to.
#[derive(Default)]
struct Outcome {
    failed: bool,
    back_off: Option<Duration>,
}

impl Outcome {
    fn note(&mut self, failure: &Failure) {
        self.failed = true;
        self.back_off = match (self.back_off, failure.back_off) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

impl Worker {
    pub(super) async fn sync(&mut self) -> Synced {
        let pod = self.mailbox.pod();
        let runtime = self.kubelet.runtime.pod(&self.uid);
        let phase = self.report(&pod, runtime.as_ref(), false);
        if matches!(phase.as_deref(), Some("Succeeded" | "Failed")) {
            return Synced::Ended;
        }
        self.start_probes();
        if let Err(message) = self.prepare_volumes(&pod).await {
            tracing::info!(message, pod = ?pod.metadata.name, "cannot mount the volumes");
            return Synced::Again(self.retry_period(None));
        }
        let Some(sandbox) = self.prepare_sandbox(&pod, runtime.as_ref()).await else {
            return Synced::Again(self.retry_period(None));
        };
        let outcome = self.start_what_is_missing(&pod, &sandbox).await;
        if outcome.failed {
            let runtime = self.kubelet.runtime.pod(&self.uid);
            self.report(&pod, runtime.as_ref(), false);
            return Synced::Again(self.retry_period(outcome.back_off));
        }
        Synced::Again(self.resync_period())
    }

    async fn prepare_volumes(&mut self, pod: &Pod) -> Result<(), String> {
        if self.volumes.is_some() {
            return Ok(());
        }
        self.kubelet.pause(self.kubelet.config.latencies.mount).await;
        let volumes = Volumes::prepare(&self.kubelet.client, &self.kubelet.config.disks, pod).await;
        self.volumes = Some(volumes.map_err(|error| error.to_string())?);
        Ok(())
    }

    /// The pod's sandbox: the one that is there, or a new one if there is none or it did not survive the machine.
    async fn prepare_sandbox(&self, pod: &Pod, runtime: Option<&RuntimePod>) -> Option<Sandbox> {
        if let Some(sandbox) = runtime.and_then(|pod| pod.sandbox.clone()).filter(|sandbox| sandbox.ready) {
            return Some(sandbox);
        }
        for container in runtime.into_iter().flat_map(RuntimePod::running) {
            self.kubelet.runtime.stop_container(container, Duration::from_secs(2)).await;
        }
        self.kubelet.pause(self.kubelet.config.latencies.sandbox_start).await;
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let host_network = self.spec(pod).host_network == Some(true);
        let sandbox = self.kubelet.runtime.make_sandbox(namespace, name, &self.uid, host_network);
        if sandbox.is_none() {
            tracing::warn!(name, "no pod address is left on this machine");
        }
        sandbox
    }

    async fn start_what_is_missing(&mut self, pod: &Arc<Pod>, sandbox: &Sandbox) -> Outcome {
        let mut outcome = Outcome::default();
        let spec = self.spec(pod);
        let runtime = self.kubelet.runtime.pod(&self.uid);
        if !is_initialized(spec, runtime.as_ref()) {
            self.start_next_init_container(pod, sandbox, runtime.as_ref(), &mut outcome).await;
            return outcome;
        }
        for container in &spec.containers {
            // Everything is decided on the listing this look began with, however long the containers before it took.
            let newest = newest_in_sandbox(runtime.as_ref(), &container.name);
            let wanted = match newest.filter(|run| run.is_running()) {
                Some(run) => self.stop_if_broken(pod, run).await && restart_policy(spec) != "Never",
                None => newest.is_none() || should_start(spec, newest),
            };
            if wanted {
                self.start(pod, container, sandbox, runtime.as_ref(), &mut outcome).await;
            }
        }
        outcome
    }

    async fn start_next_init_container(
        &mut self,
        pod: &Arc<Pod>,
        sandbox: &Sandbox,
        runtime: Option<&RuntimePod>,
        outcome: &mut Outcome,
    ) {
        let next = init_containers(self.spec(pod)).iter().find_map(|container| {
            let newest = newest_in_sandbox(runtime, &container.name);
            let exit_code = newest.and_then(|run| run.finished.as_ref()).map(|finished| finished.exit_code);
            (exit_code != Some(0)).then_some((container, newest, exit_code))
        });
        let Some((container, newest, exit_code)) = next else { return };
        let runs = newest.is_some_and(ContainerRecord::is_running);
        let failed_for_good = exit_code.is_some() && restart_policy(self.spec(pod)) == "Never";
        if !runs && !failed_for_good {
            self.start(pod, container, sandbox, runtime, outcome).await;
        }
    }

    /// Stops a container that a probe has found broken; true if it did.
    async fn stop_if_broken(&self, pod: &Pod, run: &ContainerRecord) -> bool {
        let Some((kind, grace)) = self.probes.found_broken(run) else { return false };
        tracing::info!(container = run.name, pod = ?pod.metadata.name, ?kind, "a probe failed, restarting the container");
        let of_pod = self.spec(pod).termination_grace_period_seconds.unwrap_or(30).max(1) as u64;
        self.kubelet.runtime.stop_container(run, grace.unwrap_or(Duration::from_secs(of_pod))).await;
        true
    }

    async fn start(
        &mut self,
        pod: &Arc<Pod>,
        container: &Container,
        sandbox: &Sandbox,
        runtime: Option<&RuntimePod>,
        outcome: &mut Outcome,
    ) {
        match self.try_to_start(pod, container, sandbox, runtime).await {
            Ok(()) => {
                self.waiting.remove(&container.name);
            }
            Err(failure) => {
                outcome.note(&failure);
                let waiting: Waiting = (failure.reason, failure.message);
                self.waiting.insert(container.name.clone(), waiting);
            }
        }
    }

    async fn try_to_start(
        &self,
        pod: &Arc<Pod>,
        container: &Container,
        sandbox: &Sandbox,
        runtime: Option<&RuntimePod>,
    ) -> Result<(), Failure> {
        let newest = runtime.and_then(|runtime| runtime.newest(&container.name));
        self.wait_for_back_off(pod, container, runtime)?;
        let image_name = container.image.clone().unwrap_or_default();
        let image = self.pull(container, &image_name).await?;
        let environment = Environment {
            client: &self.kubelet.client,
            pod,
            pod_address: sandbox.address,
            host_address: self.kubelet.config.address,
            api_service: self.kubelet.config.api_service,
        };
        let config_error = |error: super::environment::ConfigError| Failure::new("CreateContainerConfigError", error.0);
        let variables = environment.variables(container).await.map_err(config_error)?;
        let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
            list.iter().flatten().map(|text| expand(text, &variables)).collect()
        };
        let arguments = image.arguments(&expanded(&container.command), &expanded(&container.args));
        let attempt = newest.map_or(0, |run| run.attempt + 1);
        let mounts = match &self.volumes {
            Some(volumes) => volumes
                .mounts(&self.kubelet.config.disks, &self.uid, container, attempt, |text| expand(text, &variables))
                .map_err(config_error)?,
            None => return Err(Failure::new("CreateContainerError", "the volumes are not ready")),
        };
        self.kubelet.pause(image.start_latency()).await;
        let metadata = &pod.metadata;
        let start = StartContainer {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            pod_name: metadata.name.clone().unwrap_or_default(),
            uid: self.uid.clone(),
            container: container.name.clone(),
            hostname: self.hostname(pod),
            image_name,
            image,
            arguments,
            environment: variables,
            attempt,
            attachments: Attachments::default().with(Arc::new(mounts)),
        };
        let started = self.kubelet.runtime.start_container(start);
        started.map(|_id| ()).map_err(|error| Failure::new("RunContainerError", error.to_string()))
    }

    fn hostname(&self, pod: &Pod) -> String {
        let spec = self.spec(pod);
        if spec.host_network == Some(true) {
            return self.kubelet.config.node.clone();
        }
        spec.hostname.clone().or_else(|| pod.metadata.name.clone()).unwrap_or_default()
    }

    /// CrashLoopBackOff, if the container ended not long enough ago; else this restart is counted.
    fn wait_for_back_off(&self, pod: &Pod, container: &Container, runtime: Option<&RuntimePod>) -> Result<(), Failure> {
        let finished = runtime.and_then(|runtime| runtime.newest_finished(&container.name));
        let Some(finished) = finished.and_then(|run| run.finished.as_ref()) else { return Ok(()) };
        let key = format!("{}/container/{}", self.uid, container.name);
        let mut backoffs = self.kubelet.backoffs();
        if let Some(remaining) = backoffs.remaining(&key, finished.when) {
            let metadata = &pod.metadata;
            let message = format!(
                "back-off {} restarting failed container={} pod={}_{}({})",
                go_duration(remaining.whole),
                container.name,
                metadata.name.as_deref().unwrap_or_default(),
                metadata.namespace.as_deref().unwrap_or_default(),
                self.uid,
            );
            return Err(Failure { reason: "CrashLoopBackOff", message, back_off: Some(remaining.left) });
        }
        backoffs.count(&key, finished.when);
        Ok(())
    }

    /// Has the image on the machine.
    async fn pull(&self, container: &Container, name: &str) -> Result<TaggedImage, Failure> {
        let kubelet = &self.kubelet;
        let policy = container.image_pull_policy.as_deref().unwrap_or("IfNotPresent");
        let present = kubelet.runtime.has_image(name);
        let found = kubelet.config.images.find(name);
        if let (true, Some(image)) = (present && policy != "Always", &found) {
            return Ok(image.clone());
        }
        if policy == "Never" {
            let message = format!("Container image {name:?} is not present with pull policy of Never");
            return Err(Failure::new("ErrImageNeverPull", message));
        }
        let key = format!("{}/image/{name}", self.uid);
        if let Some(remaining) = kubelet.backoffs().remaining_since_count(&key) {
            let message = format!("Back-off pulling image {name:?}");
            return Err(Failure { reason: "ImagePullBackOff", message, back_off: Some(remaining.left) });
        }
        // One pull at a time, as the kubelet does by default.
        let turn = kubelet.pull_turn.lock().await;
        let Some(image) = found else {
            kubelet.pause(kubelet.config.latencies.registry).await;
            drop(turn);
            kubelet.backoffs().count(&key, host::time::Instant::now());
            let message = format!(
                "failed to pull and unpack image {name:?}: failed to resolve reference {name:?}: {name}: not found"
            );
            return Err(Failure::new("ErrImagePull", message));
        };
        let latency =
            if kubelet.runtime.has_image(name) { kubelet.config.latencies.registry } else { image.pull_latency() };
        kubelet.pause(latency).await;
        kubelet.runtime.image_pulled(name);
        drop(turn);
        Ok(image)
    }
}
