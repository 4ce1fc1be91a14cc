//! What the engine and the replica controller have in common: an instance that is started and stopped through its node's instance
//! manager, and whose state is what the InstanceManager resource says of it (`controller/instance_handler.go`).
//!
//! The resource is behind the instance manager by up to a second, so an instance may be created or deleted several times over; both are
//! asked for until the resource shows the result.

mod observe;

use std::collections::BTreeMap;
use std::sync::Arc;

use corral_kube_client::{EventRecorder, EventType};
use longhorn_api::InstanceManager;
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::instance::{
    CONDITION_INSTANCE_CREATION, Instance, InstanceSpec, InstanceState, InstanceStatus,
    REASON_INSTANCE_CREATION_FAILURE,
};
use longhorn_api::kinds::instance_manager::InstanceProcess;
use longhorn_api::kinds::volume::DataEngine;

use crate::runtime::backups::name;
use crate::runtime::ownership::Owned;
use crate::runtime::{Context, Datastore, Error, Result, clock};

/// A kind that is an instance.
pub trait Managed: Instance + Owned {
    /// The instances of this kind in an instance manager.
    fn listed_in(manager: &InstanceManager) -> BTreeMap<String, InstanceProcess>;

    /// Changes what is known of the instance.
    fn note<T>(&mut self, change: impl FnOnce(&mut InstanceStatus) -> T) -> T {
        let mut status = self.instance_status();
        let result = change(&mut status);
        self.set_instance_status(status);
        result
    }
}

macro_rules! managed {
    ($($kind:ident in $field:ident),*) => { $(
        impl Managed for longhorn_api::$kind {
            fn listed_in(manager: &InstanceManager) -> BTreeMap<String, InstanceProcess> {
                let lists = [&manager.status.$field, &manager.status.instances];
                lists.into_iter().flatten().map(|(name, instance)| (name.clone(), instance.clone())).collect()
            }
        }
    )* };
}

managed!(Engine in instance_engines, Replica in instance_replicas);

/// Reaches the instance of an object in its manager.
pub trait Driver<K: Managed>: Sync {
    /// Asks for it; a creation that has to wait for something else is a success too.
    fn create(&self, object: &mut K) -> impl Future<Output = Result<()>> + Send;

    /// Has it stopped and taken away; one that is not there is a success.
    fn delete(&self, object: &K) -> impl Future<Output = Result<()>> + Send;

    /// An error that says "cannot find" if it is not there.
    fn get(&self, object: &K) -> impl Future<Output = Result<()>> + Send;

    /// Puts its log into this manager's.
    fn print_log(&self, object: &K) -> impl Future<Output = Result<()>> + Send;
}

/// Brings instances closer to what their objects want.
pub struct InstanceHandler<'a, D> {
    /// This manager's view.
    pub datastore: &'a Datastore,
    /// Where starts and stops are told.
    pub events: &'a EventRecorder,
    /// How instances are reached.
    pub driver: &'a D,
}

impl<D> InstanceHandler<'_, D> {
    /// Starts or stops the instance if need be, and notes its state in the status, which is not written.
    pub async fn reconcile<K>(&self, object: &mut K) -> Result<()>
    where
        K: Managed,
        D: Driver<K>,
    {
        let wanted = object.instance_spec();
        let instance_name = name(object.meta()).to_owned();
        let Some(manager) = self.manager_of(object, &wanted, &instance_name)? else { return Ok(()) };
        let manager = manager.as_deref();
        self.fetch_log(object, manager, &wanted).await;

        object.note(|status| {
            status.salvage_executed &= wanted.salvage_requested;
            let now = clock::now_text();
            status.conditions.set_condition(CONDITION_INSTANCE_CREATION, ConditionStatus::True, "", "", &now);
        });

        let instances = manager.map(K::listed_in).unwrap_or_default();
        let listed = instances.get(&instance_name);
        match wanted.desire_state {
            InstanceState::Running => self.start(object, manager, listed, &wanted).await?,
            InstanceState::Stopped => self.stop(object, manager, listed).await?,
            ref other => return Err(Error::message(format!("unknown instance desire state: desire {other}"))),
        }
        object.note(|status| observe::note(self.datastore, status, manager, listed, &instance_name, &wanted));
        self.check(object, manager, listed, &wanted).await
    }

    /// The manager of the instance: the one it was created in, else the one it would be created in. The outer none means that nothing
    /// can be done, because the data engine is switched off.
    fn manager_of<K: Managed>(
        &self,
        object: &K,
        wanted: &InstanceSpec,
        instance_name: &str,
    ) -> Result<Option<Option<Arc<InstanceManager>>>> {
        let created_in = object.instance_status().instance_manager_name;
        let mut manager = None;
        if !created_in.is_empty() {
            manager = self.datastore.instance_managers.find(&created_in);
        }
        if manager.is_none() && !wanted.image.is_empty() && !wanted.node_id.is_empty() {
            if !self.datastore.is_data_engine_enabled(&wanted.data_engine)? {
                return Ok(None);
            }
            if !self.datastore.is_node_down_or_deleted(&wanted.node_id)? {
                let found = self.datastore.instance_manager_for(&wanted.node_id, &wanted.data_engine);
                manager =
                    Some(found.context(|| format!("failed to get instance manager for instance {instance_name}"))?);
            }
        }
        Ok(Some(manager))
    }

    async fn fetch_log<K>(&self, object: &mut K, manager: Option<&InstanceManager>, wanted: &InstanceSpec)
    where
        K: Managed,
        D: Driver<K>,
    {
        if !wanted.log_requested {
            return object.note(|status| status.log_fetched = false);
        }
        if object.instance_status().log_fetched {
            return;
        }
        if wanted.data_engine != DataEngine::V2 && manager.is_some() {
            self.print_log(object).await;
        }
        object.note(|status| status.log_fetched = true);
    }

    async fn print_log<K>(&self, object: &K)
    where
        K: Managed,
        D: Driver<K>,
    {
        if let Err(error) = self.driver.print_log(object).await {
            tracing::warn!(%error, "Failed to get requested log for instance {}", name(object.meta()));
        }
    }

    async fn start<K>(
        &self,
        object: &mut K,
        manager: Option<&InstanceManager>,
        listed: Option<&InstanceProcess>,
        wanted: &InstanceSpec,
    ) -> Result<()>
    where
        K: Managed,
        D: Driver<K>,
    {
        if manager.is_none() {
            return Ok(());
        }
        if listed.is_some_and(|instance| instance.status.state == InstanceState::Running) {
            object.note(|status| (status.started, status.starting) = (true, false));
            return Ok(());
        }
        if object.instance_status().current_state != InstanceState::Stopped {
            return Ok(());
        }
        self.create(object, &wanted.data_engine).await?;
        object.note(|status| status.salvage_executed |= wanted.salvage_requested);
        Ok(())
    }

    async fn create<K>(&self, object: &mut K, engine: &DataEngine) -> Result<()>
    where
        K: Managed,
        D: Driver<K>,
    {
        let instance_name = name(object.meta()).to_owned();
        if let Err(error) = self.driver.get(object).await {
            let stopped = *engine == DataEngine::V2 && error.says_is_stopped();
            if !error.says_cannot_find() && !stopped {
                return Err(error).context(|| format!("Failed to get instance process {instance_name}"));
            }
        } else {
            return Ok(());
        }
        tracing::info!("Creating instance {instance_name}");
        match self.driver.create(object).await {
            Ok(()) => {
                self.events.event(object, EventType::Normal, "Start", format!("Starts {instance_name}"));
                Ok(())
            }
            // It was lost from sight, maybe by a conflict.
            Err(error) if error.says_already_exists() => Ok(()),
            Err(error) => {
                let message = format!("Error starting {instance_name}: {error}");
                self.events.event(object, EventType::Warning, "FailedStarting", message);
                Err(error)
            }
        }
    }

    async fn stop<K>(
        &self,
        object: &mut K,
        manager: Option<&InstanceManager>,
        listed: Option<&InstanceProcess>,
    ) -> Result<()>
    where
        K: Managed,
        D: Driver<K>,
    {
        let manager_lives = manager.is_some_and(|manager| manager.metadata.deletion_timestamp.is_none());
        // A stopped replica of v2 is a volume that is not exposed: there is nothing to stop.
        let stops = |instance: &InstanceProcess| {
            instance.spec.data_engine != DataEngine::V2 || instance.status.state != InstanceState::Stopped
        };
        if (manager_lives && listed.is_some_and(stops)) || object.instance_status().starting {
            self.delete(object).await?;
        }
        object.note(|status| (status.started, status.starting) = (false, false));
        Ok(())
    }

    async fn delete<K>(&self, object: &K) -> Result<()>
    where
        K: Managed,
        D: Driver<K>,
    {
        let instance_name = name(object.meta());
        tracing::info!("Deleting instance {instance_name}");
        match self.driver.delete(object).await {
            Ok(()) => {
                self.events.event(object, EventType::Normal, "Stop", format!("Stops {instance_name}"));
                Ok(())
            }
            Err(error) => {
                let message = format!("Error stopping {instance_name}: {error}");
                self.events.event(object, EventType::Warning, "FailedStopping", message);
                Err(error)
            }
        }
    }

    /// What is wrong with the state just noted.
    async fn check<K>(
        &self,
        object: &mut K,
        manager: Option<&InstanceManager>,
        listed: Option<&InstanceProcess>,
        wanted: &InstanceSpec,
    ) -> Result<()>
    where
        K: Managed,
        D: Driver<K>,
    {
        let instance_name = name(object.meta()).to_owned();
        let Some(manager) = manager else { return Ok(()) };
        let state = object.instance_status().current_state;
        if state == InstanceState::Running {
            // A stopping engine has no node any more.
            if wanted.desire_state != InstanceState::Stopped && wanted.node_id != manager.spec.node_id {
                object.note(|status| {
                    status.current_state = InstanceState::Error;
                    status.ip.clear();
                    status.storage_ip.clear();
                });
                let (node, manager_name, other) = (&wanted.node_id, name(&manager.metadata), &manager.spec.node_id);
                return Err(Error::message(format!(
                    "instance {instance_name} NodeID {node} is not the same as the instance manager {manager_name} NodeID {other}"
                )));
            }
        } else if state == InstanceState::Error
            && let Some(instance) = listed
        {
            if wanted.desire_state == InstanceState::Running {
                let (now, message) = (clock::now_text(), &instance.status.error_message);
                let (condition, reason) = (CONDITION_INSTANCE_CREATION, REASON_INSTANCE_CREATION_FAILURE);
                object.note(|status| {
                    status.conditions.set_condition(condition, ConditionStatus::False, reason, message, &now);
                });
            }
            if instance.spec.data_engine != DataEngine::V2 {
                tracing::warn!("Instance {instance_name} crashed on instance manager {}", name(&manager.metadata));
                self.print_log(object).await;
            }
        }
        Ok(())
    }
}

/// Whether a creation is noted in the status before it is asked for, so that it is undone even if its answer is lost.
pub fn notes_starts(datastore: &Datastore) -> bool {
    datastore.release().at_least(longhorn_api::Release::V1_9_2)
}
