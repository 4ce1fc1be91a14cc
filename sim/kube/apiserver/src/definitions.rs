//! The life of CustomResourceDefinitions inside the server: names are accepted, resources appear, change, and go with their instances.
//!
//! The real server does this with controllers of its own process; so does this one. What the measured server shows around it in time
//! (facts/kubernetes.md section 1, last item of "Lists and watches") is in [`DefinitionTiming`](crate::DefinitionTiming).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host::time::{Instant, sleep};
use serde_json::{Map, Value, json};

use crate::crd::CLEANUP;
use crate::error::ApiError;
use crate::events::EVENTS;
use crate::meta;
use crate::registry::has_condition;
use crate::resource::Resource;
use crate::server::Inner;
use crate::store::{Close, Commit, Object, Write, key_of};

const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
const NAMESPACES: &str = "namespaces";

/// What is true of one custom resource for a while.
#[derive(Clone, Copy, Debug)]
struct Phase {
    /// Watches from before this revision are gone.
    floor: u64,
    established: Option<Instant>,
    reinitializing_until: Option<Instant>,
}

/// From which versions watches may start, and what is not ready yet.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// The revision at which this server began.
    pub floor: u64,
    phases: BTreeMap<Arc<str>, Phase>,
}

impl Inner {
    fn readiness(&self) -> MutexGuard<'_, Readiness> {
        lock(&self.readiness)
    }

    /// The oldest version from which a watch of this resource may start.
    pub fn watch_floor(&self, resource: &Resource) -> u64 {
        let readiness = self.readiness();
        readiness.phases.get(&resource.key).map_or(0, |phase| phase.floor).max(readiness.floor)
    }

    /// Lists and watches wait while the storage of a changed definition is made anew.
    pub fn check_ready(&self, resource: &Resource) -> Result<(), ApiError> {
        let until = self.readiness().phases.get(&resource.key).and_then(|phase| phase.reinitializing_until);
        match until {
            Some(until) if until > Instant::now() => Err(ApiError::too_many_requests("storage is (re)initializing", 1)),
            _ => Ok(()),
        }
    }

    /// Creates of a young custom resource take their time; those of a dying one fail.
    pub async fn hold_young(&self, resource: &Resource) -> Result<(), ApiError> {
        if resource.custom().is_none() {
            return Ok(());
        }
        let established = self.readiness().phases.get(&resource.key).and_then(|phase| phase.established);
        let timing = &self.options.definitions;
        if established.is_some_and(|since| since.elapsed() < timing.young) {
            sleep(timing.young_create).await;
        }
        match self.registry().definition(&resource.key) {
            Some(definition) if definition.terminating => {
                let why = "create not allowed while custom resource definition is terminating";
                Err(ApiError::new(405, "MethodNotAllowed", why))
            }
            _ => Ok(()),
        }
    }

    /// Reads definitions and webhook configurations that are stored already.
    pub fn load(&self) {
        self.update_registry(|registry| {
            for definition in self.store.objects(DEFINITIONS) {
                registry.define(definition.name(), Some(&definition));
            }
        });
        self.load_hooks();
        self.load_events();
    }

    /// Takes up what an earlier server process had left undone.
    pub fn resume_definitions(self: &Arc<Inner>) {
        for definition in self.store.objects(DEFINITIONS) {
            self.attend(&definition);
        }
    }

    /// Follows what is committed, by whomever.
    pub fn follow(self: &Arc<Inner>, commit: &Commit) {
        match commit.resource.as_ref() {
            "mutatingwebhookconfigurations.admissionregistration.k8s.io"
            | "validatingwebhookconfigurations.admissionregistration.k8s.io" => self.load_hooks(),
            DEFINITIONS => self.follow_definition(commit),
            EVENTS => self.expiry.note(commit),
            _ => {}
        }
    }

    fn follow_definition(self: &Arc<Inner>, commit: &Commit) {
        let name = commit.object().name().to_owned();
        let (before, after, stored) = self.update_registry(|registry| {
            let before = registry.definition(&name).cloned();
            let stored = self.store.object(DEFINITIONS, "", &name);
            registry.define(&name, stored.as_deref());
            (before, registry.definition(&name).cloned(), stored)
        });
        let key: Arc<str> = Arc::from(name.as_str());
        match (before.filter(|definition| definition.established), after.filter(|definition| definition.established)) {
            (None, Some(_)) => {
                let phase =
                    Phase { floor: commit.revision, established: Some(Instant::now()), reinitializing_until: None };
                self.readiness().phases.insert(key, phase);
            }
            (Some(before), Some(after)) if before.generation != after.generation && !commit.object().is_deleting() => {
                self.change(&key, commit.revision)
            }
            (Some(_), None) => {
                self.readiness().phases.remove(&key);
                self.store.close_watches(&key, &Close::Cleanly);
            }
            _ => {}
        }
        if let Some(stored) = stored {
            self.attend(&stored);
        }
    }

    /// A definition's spec has changed: its storage is made anew.
    fn change(self: &Arc<Inner>, key: &Arc<str>, revision: u64) {
        let timing = self.options.definitions;
        if let Some(phase) = self.readiness().phases.get_mut(key) {
            phase.floor = revision;
            phase.reinitializing_until = Some(Instant::now() + timing.reinitializing);
        }
        let (inner, key) = (Arc::downgrade(self), key.clone());
        let old = self.store.watches(&key);
        host::spawn(async move {
            sleep(timing.watches_end).await;
            if inner.upgrade().is_some() {
                old.iter().for_each(|watcher| watcher.close(Close::Cleanly));
            }
        });
    }

    /// Does what a definition waits for.
    fn attend(self: &Arc<Inner>, definition: &Object) {
        let inner = self.clone();
        let (name, uid) = (definition.name().to_owned(), definition.uid().to_owned());
        if definition.is_deleting() {
            if finalizers(definition).iter().any(|one| one == CLEANUP)
                && !has_condition(&definition.value, "Terminating")
            {
                host::spawn(async move { inner.finalize(&name, &uid).await });
            }
        } else if !has_condition(&definition.value, "Established") {
            host::spawn(async move {
                sleep(inner.options.definitions.establish).await;
                inner.update_definition(&name, &uid, |definition| accept(definition, &inner.now()));
            });
        }
    }

    /// Changes a definition as the server itself, if it is still the same one.
    fn update_definition(&self, name: &str, uid: &str, change: impl Fn(&mut Map<String, Value>)) {
        let (resource, key) = (Arc::from(DEFINITIONS), key_of("", name));
        while let Some(current) = self.store.at_key(&resource, &key).filter(|current| current.uid() == uid) {
            let mut definition = current.value.as_object().cloned().expect("stored objects are JSON objects");
            change(&mut definition);
            let gone = current.is_deleting() && meta::finalizers(&definition).is_empty();
            let definition = Value::Object(definition);
            if definition == current.value && !gone {
                return;
            }
            let write = if gone { Write::Delete } else { Write::Put(definition) };
            if self.commit_own(&resource, &key, Some(current.revision()), write).is_ok() {
                return;
            }
        }
    }

    /// Deletes all instances, and then lets the definition go.
    async fn finalize(self: &Arc<Inner>, name: &str, uid: &str) {
        let now = self.now();
        let condition = |reason: &str, message: &str| json!({"type": "Terminating", "status": "True", "lastTransitionTime": now, "reason": reason, "message": message});
        self.update_definition(name, uid, |definition| {
            set_condition(
                definition,
                condition("InstanceDeletionInProgress", "CustomResource deletion is in progress"),
            );
        });
        let resource: Arc<str> = Arc::from(name);
        loop {
            let instances: Vec<_> = self.store.objects(&resource).collect();
            if instances.is_empty() {
                break;
            }
            instances.iter().for_each(|instance| self.remove_instance(&resource, instance));
            if self.store.objects(&resource).next().is_some() {
                // Somebody's finalizer holds an instance; the real controller looks again every five seconds.
                sleep(std::time::Duration::from_secs(5)).await;
            }
        }
        self.update_definition(name, uid, |definition| {
            let kept =
                meta::finalizers(definition).into_iter().filter(|one| *one != CLEANUP).map(str::to_owned).collect();
            meta::set_finalizers(definition, kept);
        });
    }

    fn remove_instance(&self, resource: &Arc<str>, instance: &Object) {
        let key = key_of(instance.namespace(), instance.name());
        let write = if finalizers(instance).is_empty() {
            Write::Delete
        } else if instance.is_deleting() {
            return;
        } else {
            let mut object = instance.value.clone();
            object["metadata"]["deletionTimestamp"] = self.now().into();
            object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
            if let Some(generation) = object["metadata"]["generation"].as_i64() {
                object["metadata"]["generation"] = (generation + 1).into();
            }
            Write::Put(object)
        };
        // A race means that somebody else has changed it: the next round sees it.
        let _ = self.commit_own(resource, &key, Some(instance.revision()), write);
    }

    /// What a new cluster has before anybody asks.
    pub fn bootstrap(&self) {
        if self.store.objects(NAMESPACES).next().is_some() {
            return;
        }
        let now = self.now();
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            let metadata = json!({"name": name, "uid": self.new_uid(), "creationTimestamp": now, "labels": {"kubernetes.io/metadata.name": name}});
            let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": metadata,
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
            self.put_first(NAMESPACES, name, namespace);
        }
        for (name, value) in [("system-cluster-critical", 2_000_000_000_u64), ("system-node-critical", 2_000_001_000)] {
            let metadata = json!({"name": name, "uid": self.new_uid(), "creationTimestamp": now, "generation": 1});
            let class = json!({"kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "metadata": metadata, "value": value,
                "preemptionPolicy": "PreemptLowerPriority"});
            self.put_first("priorityclasses.scheduling.k8s.io", name, class);
        }
        let [first, second] = self.options.service_network;
        let metadata = json!({"name": "kubernetes", "namespace": "default", "uid": self.new_uid(), "creationTimestamp": now,
            "labels": {"component": "apiserver", "provider": "kubernetes"}});
        let address = format!("{first}.{second}.0.1");
        let service = json!({"kind": "Service", "apiVersion": "v1", "metadata": metadata, "status": {"loadBalancer": {}},
            "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]}});
        self.put_first("services", "default/kubernetes", service);
    }

    fn put_first(&self, resource: &str, key: &str, object: Value) {
        let written = self.commit_own(&Arc::from(resource), &Arc::from(key), None, Write::Put(object));
        debug_assert!(written.is_ok(), "a fresh store has no {key}");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn finalizers(object: &Object) -> Vec<String> {
    object
        .value
        .as_object()
        .map(|map| meta::finalizers(map).into_iter().map(str::to_owned).collect())
        .unwrap_or_default()
}

fn set_condition(definition: &mut Map<String, Value>, condition: Value) {
    let status = definition.entry("status").or_insert_with(|| json!({}));
    let conditions = status.as_object_mut().map(|status| status.entry("conditions").or_insert_with(|| json!([])));
    if let Some(list) = conditions.and_then(Value::as_array_mut) {
        list.retain(|one| one.get("type") != condition.get("type"));
        list.push(condition);
    }
}

/// The names are accepted and the resource is established.
fn accept(definition: &mut Map<String, Value>, now: &str) {
    let names = definition.get("spec").and_then(|spec| spec.get("names")).cloned().unwrap_or_default();
    if let Some(status) = definition.entry("status").or_insert_with(|| json!({})).as_object_mut() {
        status.insert("acceptedNames".into(), names);
    }
    for (kind, reason, message) in [
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ] {
        let condition =
            json!({"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message});
        set_condition(definition, condition);
    }
}
