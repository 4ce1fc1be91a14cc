//! The system-restore controller: starts the Job that brings a system backup back, and takes it away again
//! (`controller/system_restore_controller.go`). What the Job does is in [`crate::rollout`].
//!
//! The Job runs on the node of the manager that made it, with the manager image that made the backup. The handler has no resync.

use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::{Api, DeleteParams, EventRecorder, EventType};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::system_restore::{CONDITION_ERROR, SystemRestoreState, SystemRestoreStatus};
use longhorn_api::{SystemRestore, names, settings};
use serde_json::{Value, json};

use super::{again_on_engine_images, capitalised};
use crate::engine::BackupTargetClient;
use crate::manager::Manager;
use crate::pods;
use crate::rollout;
use crate::runtime::backups::{name, owner_reference};
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Context, Error, Result, clock, ownership};

/// What the Job is called before the restore's name.
const JOB_PREFIX: &str = "longhorn-system-rollout-";
/// How often the Job tries again (`RestoreJobBackoffLimit`).
const BACKOFF_LIMIT: i32 = 3;
/// Where each host has its engine binaries.
const BINARIES: &str = "/var/lib/longhorn/engine-binaries/";

/// The controller.
pub struct SystemRestoreController {
    manager: Arc<Manager>,
    queue: Queue,
    events: EventRecorder,
}

/// Where a step leads.
enum Step {
    Next { state: SystemRestoreState, reason: &'static str, message: String },
    Failed { reason: String, message: String },
}

/// Starts it: SystemRestores without resync. Without defect c2 EngineImages too: one that nobody could take waits for them.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    manager.datastore.system_restores.informer().add_handler_with_resync(Duration::ZERO, queue.handler());
    again_on_engine_images(manager, &queue, |datastore| {
        let restores = datastore.system_restores.list();
        let new = restores.iter().filter(|restore| restore.status.state == SystemRestoreState::New);
        new.map(|restore| name(&restore.metadata).to_owned()).collect()
    });
    let events = manager.events(SystemRestoreController::NAME);
    let controller = SystemRestoreController { manager: manager.clone(), queue: queue.clone(), events };
    Runner::new(queue, Arc::new(controller)).start();
}

impl Reconcile for SystemRestoreController {
    const NAME: &'static str = "longhorn-system-restore";

    async fn reconcile(&self, name: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        let target = datastore.backup_targets.get(names::DEFAULT_BACKUP_TARGET)?;
        let client = datastore.backup_target_client(&target)?;
        let Some(restore) = datastore.system_restores.find(name) else { return Ok(()) };
        let me = self.manager.node();
        if !datastore.is_responsible_for(me, &restore.status.owner_id) {
            return Ok(());
        }
        if restore.status.state == SystemRestoreState::New && !datastore.may_begin_on_system(me)? {
            return Ok(());
        }
        let taken = ownership::take(&datastore.system_restores, (*restore).clone(), me).await?;
        let Some(restore) = taken else { return Ok(()) };
        let before = restore.status.clone();
        if let Some(step) = self.step(&restore, &client).await? {
            self.record(step, restore, &before).await;
        }
        Ok(())
    }
}

impl SystemRestoreController {
    async fn step(&self, restore: &SystemRestore, client: &BackupTargetClient) -> Result<Option<Step>> {
        let state = &restore.status.state;
        if restore.metadata.deletion_timestamp.is_some() && *state != SystemRestoreState::Deleting {
            let message = "Deleting SystemRestore".to_owned();
            return Ok(Some(Step::Next { state: SystemRestoreState::Deleting, reason: "Deleting", message }));
        }
        match state {
            SystemRestoreState::Completed | SystemRestoreState::Error => {
                self.manager.datastore.remove_restore_label(restore).await?;
                Ok(None)
            }
            SystemRestoreState::Deleting => {
                self.delete_job(&job_name(restore)).await.context(|| "failed to delete SystemRestore")?;
                Ok(None)
            }
            SystemRestoreState::New => self.begin(restore, client).await,
            _ => Ok(None),
        }
    }

    /// Creates the Job, unless there is one of the restore's own name: upstream looks for that, and creates under another.
    async fn begin(&self, restore: &SystemRestore, client: &BackupTargetClient) -> Result<Option<Step>> {
        if self.jobs().get_opt(name(&restore.metadata)).await?.is_some() {
            return Ok(None);
        }
        Ok(Some(match self.create_job(restore, client).await {
            Ok(job) => {
                let message = format!("Created system restore Job {job}");
                Step::Next { state: SystemRestoreState::Pending, reason: "Created", message }
            }
            Err(error) => Step::Failed {
                reason: format!("FailedCreating: Job for {}", name(&restore.metadata)),
                message: format!("failed to create system restore Job: {error}"),
            },
        }))
    }

    fn jobs(&self) -> Api<Job> {
        let datastore = &self.manager.datastore;
        Api::namespaced(datastore.kubernetes(), &datastore.namespace)
    }

    async fn create_job(&self, restore: &SystemRestore, client: &BackupTargetClient) -> Result<String> {
        let datastore = &self.manager.datastore;
        let backup = datastore.system_backups.get(&restore.spec.system_backup)?;
        let config = client.system_backup_config(name(&backup.metadata), &backup.status.version).await?;
        let managers = pods::managers(datastore);
        let account = managers.first().and_then(|pod| pod.spec.as_ref()?.service_account_name.clone());
        let account = account.ok_or_else(|| Error::message("failed to find service account from manager pods"))?;
        let tolerations = datastore.setting_value(settings::TAINT_TOLERATION)?;
        if !tolerations.is_empty() {
            return Err(Error::message(format!("cannot give the tolerations {tolerations} to a Job")));
        }
        let job = self.job(restore, &config.manager_image, &account);
        let job: Job = serde_json::from_value(job).expect("a Job of ours");
        self.jobs().create(&job).await?;
        Ok(job_name(restore))
    }

    fn job(&self, restore: &SystemRestore, image: &str, account: &str) -> Value {
        let name = job_name(restore);
        let restore_name = restore.metadata.name.clone().unwrap_or_default();
        let node = self.manager.node();
        let owner =
            OwnerReference { controller: Some(true), block_owner_deletion: Some(true), ..owner_reference(restore) };
        let container = json!({
            "name": name,
            "image": image,
            "command": ["longhorn-manager", rollout::COMMAND, restore_name],
            "env": [
                {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                {"name": "NODE_NAME", "value": node},
            ],
            "volumeMounts": [{"name": "engine", "mountPath": BINARIES}],
            "securityContext": {"privileged": true},
        });
        json!({
            "metadata": {"name": name, "namespace": self.manager.datastore.namespace, "ownerReferences": [owner]},
            "spec": {"backoffLimit": BACKOFF_LIMIT, "template": {
                "metadata": {"name": restore_name},
                "spec": {
                    "serviceAccountName": account,
                    "containers": [container],
                    "volumes": [{"name": "engine", "hostPath": {"path": BINARIES}}],
                    "restartPolicy": "OnFailure",
                    "nodeSelector": {"kubernetes.io/hostname": node},
                },
            }},
        })
    }

    async fn delete_job(&self, job: &str) -> Result<()> {
        if self.jobs().get_opt(job).await?.is_some() {
            self.jobs().delete(job, &DeleteParams::foreground()).await?;
        }
        Ok(())
    }

    async fn record(&self, step: Step, mut restore: SystemRestore, before: &SystemRestoreStatus) {
        match &step {
            Step::Next { state, .. } => restore.status.state = state.clone(),
            Step::Failed { reason, message } => {
                restore.status.state = SystemRestoreState::Error;
                let now = clock::now_text();
                restore.status.conditions.set_condition(CONDITION_ERROR, ConditionStatus::True, reason, message, &now);
            }
        }
        if restore.status != *before
            && let Err(error) = self.manager.datastore.system_restores.update_status(&restore).await
        {
            tracing::debug!(%error, "Requeue {} due to error", name(&restore.metadata));
            return self.queue.add(name(&restore.metadata));
        }
        match step {
            Step::Next { reason, message, .. } => self.events.event(&restore, EventType::Normal, reason, message),
            Step::Failed { message, .. } => {
                self.events.event(&restore, EventType::Warning, "Failed", capitalised(&message));
            }
        }
    }
}

fn job_name(restore: &SystemRestore) -> String {
    format!("{JOB_PREFIX}{}", name(&restore.metadata))
}
