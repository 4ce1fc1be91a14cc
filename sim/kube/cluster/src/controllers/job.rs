//! The Job controller: runs pods until enough of them have succeeded, or too many have failed.
//!
//! Changes of pods are looked at a second later, together. A failed pod is followed by another after 10 s, doubling to 10 min with each failure since
//! the last success. A Job that has failed, or is complete, says so once none of its pods is active.
//! Not here: counting by finalizers (counts never go down instead), Indexed completion, pod failure and success policies, suspension, managedBy, TTL.
//! Source: kubernetes pkg/controller/job (job_controller.go, backoff_utils.go).

mod census;

use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::params::{DeleteParams, PropagationPolicy};
use corral_kube_client::workqueue::ItemExponential;
use corral_kube_client::{Api, Client, Error, Event, Lister, WorkQueue, key_of, object_key};
use futures_util::future::join_all;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use census::{Census, back_off_left};

use super::expectations::Expectations;
use super::pods::{controller_of, controller_reference, from_template, is_controlled_by};
use super::{Context, start_workers};

const WORKERS: usize = 5;
/// Changes of pods within this are looked at together. Source: syncJobBatchPeriod.
const BATCH_PERIOD: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(600);
/// No more creations and deletions in one sync.
const BURST: usize = 500;
const BY_CONTROLLER: &str = "by-job";

struct Controller {
    client: Client,
    jobs: Lister<Job>,
    pods: Lister<Pod>,
    queue: WorkQueue<String>,
    expectations: Expectations,
}

/// Why a Job has failed: reason and message.
type Failure = (&'static str, &'static str);

/// Begins the controller.
pub(crate) fn start(context: &Context) -> Result<(), Error> {
    let (jobs, pods) = (context.informers.informer::<Job>(), context.informers.informer::<Pod>());
    pods.add_index(BY_CONTROLLER, |pod: &Pod| {
        let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == "Job");
        owner.map(|owner| owner.uid.clone()).into_iter().collect()
    });
    let controller = Arc::new(Controller {
        client: context.client("job-controller")?,
        jobs: jobs.lister(),
        pods: pods.lister(),
        queue: WorkQueue::new(Box::new(ItemExponential::new(BATCH_PERIOD, LONGEST_BACK_OFF))),
        expectations: Expectations::default(),
    });
    let this = controller.clone();
    jobs.add_handler(move |event| {
        let key = object_key(&event.object().metadata);
        if let Event::Deleted { .. } = event {
            this.expectations.forget(&key);
        }
        this.queue.add(key);
    });
    let this = controller.clone();
    pods.add_handler(move |event| this.pod_changed(&event));
    let (informers, stop) = (context.informers.clone(), context.stop.clone());
    host::spawn(async move {
        informers.wait_for_cache_sync().await;
        let queue = controller.queue.clone();
        start_workers("job-controller", WORKERS, &queue, move |key| {
            let controller = controller.clone();
            async move { controller.sync(&key).await }
        });
        stop.stopped().await;
        queue.shut_down();
    });
    Ok(())
}

impl Controller {
    fn pod_changed(&self, event: &Event<Pod>) {
        let metadata = &event.object().metadata;
        let Some(owner) = controller_of(metadata).filter(|owner| owner.kind == "Job") else { return };
        let key = key_of(metadata.namespace.as_deref(), &owner.name);
        match event {
            Event::Added { .. } => self.expectations.creation_observed(&key),
            Event::Deleted { .. } => self.expectations.deletion_observed(&key, &object_key(metadata)),
            Event::Updated { new, .. } if new.metadata.deletion_timestamp.is_some() => {
                self.expectations.deletion_observed(&key, &object_key(metadata));
            }
            Event::Updated { .. } => {}
        }
        self.queue.add_after(key, BATCH_PERIOD);
    }

    async fn sync(&self, key: &str) -> Result<(), Error> {
        let Some(job) = self.jobs.get(key) else {
            self.expectations.forget(key);
            return Ok(());
        };
        let Some(spec) = &job.spec else { return Ok(()) };
        if has_condition(&job, "Complete") || has_condition(&job, "Failed") {
            return Ok(());
        }
        let expectations_met = self.expectations.are_met(key);
        let mut pods = self.pods.by_index(BY_CONTROLLER, job.metadata.uid.as_deref().unwrap_or_default());
        pods.retain(|pod| is_controlled_by(&pod.metadata, job.metadata.uid.as_ref()));
        let census = Census::of(pods);
        let old = job.status.clone().unwrap_or_default();
        let mut status = JobStatus {
            active: Some(census.active.len() as i32),
            ready: Some(census.ready),
            terminating: Some(census.terminating as i32),
            succeeded: Some(old.succeeded.unwrap_or(0).max(census.succeeded.len() as i32)),
            failed: Some(old.failed.unwrap_or(0).max(census.failed.len() as i32)),
            ..old.clone()
        };
        let now = host::wall_clock::now();
        status.start_time.get_or_insert(Time(now));
        let work = match self.failure(&job, spec, &status, &census, now) {
            Some(failure) => self.fail(&job, &census, &mut status, failure).await,
            None if is_complete(spec, &status, &census) => self.complete(&job, &census, &mut status).await,
            None if expectations_met && job.metadata.deletion_timestamp.is_none() => {
                self.manage(key, &job, spec, &census, &mut status).await
            }
            None => Ok(()),
        };
        self.arm_deadline(key, spec, &status, now);
        if status != old {
            let mut updated = Job::clone(&job);
            updated.status = Some(status);
            self.api(&job).update_status(&updated).await?;
        }
        work
    }

    fn api(&self, job: &Job) -> Api<Job> {
        Api::namespaced(&self.client, job.metadata.namespace.as_deref().unwrap_or_default())
    }

    fn pod_api(&self, job: &Job) -> Api<Pod> {
        Api::namespaced(&self.client, job.metadata.namespace.as_deref().unwrap_or_default())
    }

    fn failure(
        &self,
        job: &Job,
        spec: &JobSpec,
        status: &JobStatus,
        census: &Census,
        now: jiff::Timestamp,
    ) -> Option<Failure> {
        const TOO_OFTEN: Failure = ("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        const TOO_LONG: Failure = ("DeadlineExceeded", "Job was active longer than specified deadline");
        if let Some(target) = condition(job, "FailureTarget").filter(|condition| condition.status == "True") {
            let was_deadline = target.reason.as_deref() == Some(TOO_LONG.0);
            return Some(if was_deadline { TOO_LONG } else { TOO_OFTEN });
        }
        let limit = spec.backoff_limit.unwrap_or(6);
        let restarts_itself = template_policy(spec) == "OnFailure";
        if restarts_itself && census.restarts > 0 && census.restarts >= limit {
            return Some(TOO_OFTEN);
        }
        if status.failed.unwrap_or(0) > limit {
            return Some(TOO_OFTEN);
        }
        let active_for = status.start_time.as_ref().map(|start| now.duration_since(start.0).as_secs());
        let deadline = spec.active_deadline_seconds?;
        active_for.is_some_and(|seconds| seconds >= deadline).then_some(TOO_LONG)
    }

    async fn fail(
        &self,
        job: &Job,
        census: &Census,
        status: &mut JobStatus,
        (reason, message): Failure,
    ) -> Result<(), Error> {
        add_condition(status, "FailureTarget", reason, message);
        let deleted = self.delete(job, &census.active).await;
        status.active = Some(0);
        status.ready = Some(0);
        if census.active.is_empty() && census.terminating == 0 {
            add_condition(status, "Failed", reason, message);
        }
        deleted
    }

    async fn complete(&self, job: &Job, census: &Census, status: &mut JobStatus) -> Result<(), Error> {
        let (reason, message) = ("CompletionsReached", "Reached expected number of succeeded pods");
        add_condition(status, "SuccessCriteriaMet", reason, message);
        let deleted = self.delete(job, &census.active).await;
        if census.active.is_empty() && census.terminating == 0 {
            add_condition(status, "Complete", reason, message);
            status.completion_time = Some(Time(host::wall_clock::now()));
        }
        deleted
    }

    async fn manage(
        &self,
        key: &str,
        job: &Job,
        spec: &JobSpec,
        census: &Census,
        status: &mut JobStatus,
    ) -> Result<(), Error> {
        let parallel = spec.parallelism.unwrap_or(1).max(0) as usize;
        let succeeded = status.succeeded.unwrap_or(0).max(0) as usize;
        let wanted = match spec.completions {
            Some(completions) => (completions.max(0) as usize).saturating_sub(succeeded).min(parallel),
            // Without a number, the first success ends it: nothing new is begun.
            None if succeeded > 0 => census.active.len().min(parallel),
            None => parallel,
        };
        let active = census.active.len();
        if active > wanted {
            let surplus = &census.active[..(active - wanted).min(BURST)];
            self.expectations.expect(key, 0, surplus.iter().map(|pod| object_key(&pod.metadata)));
            status.active = Some(wanted as i32);
            return self.delete(job, surplus).await;
        }
        if active == wanted {
            return Ok(());
        }
        if let Some(left) = back_off_left(census, host::wall_clock::now()) {
            self.queue.add_after(key.to_owned(), left);
            return Ok(());
        }
        let missing = (wanted - active).min(BURST);
        self.expectations.expect(key, missing, []);
        let made = self.create(key, job, spec, missing).await;
        status.active = Some((active + missing) as i32);
        made
    }

    async fn create(&self, key: &str, job: &Job, spec: &JobSpec, count: usize) -> Result<(), Error> {
        let api = self.pod_api(job);
        let owner = controller_reference("batch/v1", "Job", &job.metadata);
        let prefix = format!("{}-", job.metadata.name.as_deref().unwrap_or_default());
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let pod = from_template(&spec.template, namespace, &prefix, owner);
        let creations = (0..count).map(|_| async {
            let created = api.create(&pod).await;
            if created.is_err() {
                self.expectations.creation_observed(key);
            }
            created.map(|_created| ())
        });
        join_all(creations).await.into_iter().collect()
    }

    async fn delete(&self, job: &Job, pods: &[Arc<Pod>]) -> Result<(), Error> {
        let api = self.pod_api(job);
        let params =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
        let deletions = pods.iter().map(|pod| async {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            match api.delete(name, &params).await {
                Err(error) if !error.is_not_found() => Err(error),
                _deleted_or_gone => Ok(()),
            }
        });
        join_all(deletions).await.into_iter().collect()
    }

    /// Comes back when the Job's time is over.
    fn arm_deadline(&self, key: &str, spec: &JobSpec, status: &JobStatus, now: jiff::Timestamp) {
        let (Some(deadline), Some(start)) = (spec.active_deadline_seconds, &status.start_time) else { return };
        let left = deadline - now.duration_since(start.0).as_secs();
        if left > 0 {
            self.queue.add_after(key.to_owned(), Duration::from_secs(left as u64));
        }
    }
}

fn template_policy(spec: &JobSpec) -> &str {
    spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Never")
}

fn is_complete(spec: &JobSpec, status: &JobStatus, census: &Census) -> bool {
    let succeeded = status.succeeded.unwrap_or(0);
    match spec.completions {
        Some(completions) => succeeded >= completions,
        None => succeeded > 0 && census.active.is_empty(),
    }
}

fn condition<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    job.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn has_condition(job: &Job, kind: &str) -> bool {
    condition(job, kind).is_some_and(|condition| condition.status == "True")
}

fn add_condition(status: &mut JobStatus, kind: &str, reason: &str, message: &str) {
    let conditions = status.conditions.get_or_insert_default();
    if conditions.iter().any(|condition| condition.type_ == kind) {
        return;
    }
    let now = Some(Time(host::wall_clock::now()));
    conditions.push(JobCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: now.clone(),
        last_transition_time: now,
    });
}
