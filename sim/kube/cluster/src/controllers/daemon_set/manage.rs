//! Creates the pods that nodes lack and deletes those that should not be.

use std::sync::Arc;

use corral_kube_client::params::{DeleteParams, Preconditions};
use corral_kube_client::{Api, Error, EventType, object_key};
use futures_util::future::join_all;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;

use super::nodes::{pod_for, verdict};
use super::{Controller, failure_key, namespace};
use crate::controllers::pods::{is_finished, phase};

/// No more creations, and no more deletions, in one sync. Source: BurstReplicas.
const BURST: usize = 250;

/// What a sync has to do.
#[derive(Default)]
pub(super) struct Work {
    /// Nodes that lack a pod.
    pub create: Vec<String>,
    pub delete: Vec<Arc<Pod>>,
}

impl Controller {
    pub(super) async fn manage(&self, key: &str, set: &DaemonSet, hash: &str) -> Result<(), Error> {
        let mut by_node = self.pods_by_node(set);
        // A pod that has ended and is being deleted no longer counts.
        for pods in by_node.values_mut() {
            pods.retain(|pod| !(is_finished(pod) && pod.metadata.deletion_timestamp.is_some()));
        }
        let mut work = Work::default();
        for node in self.nodes.list() {
            let name = node.metadata.name.clone().unwrap_or_default();
            let pods = by_node.remove(&name).unwrap_or_default();
            let verdict = verdict(set, &node);
            match (verdict.run, verdict.stay) {
                (true, _) if pods.is_empty() => work.create.push(name),
                (_, true) => self.sort_out(key, set, &name, pods, &mut work),
                (_, false) => work.delete.extend(pods),
            }
        }
        // Pods that wait for a node that is no more.
        let strays = by_node.into_values().flatten().filter(|pod| super::super::pods::node_name(pod).is_empty());
        work.delete.extend(strays);
        work.delete.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        self.carry_out(key, set, hash, work).await
    }

    /// Of the pods on a node, the ended ones go, and of the others all but the oldest.
    fn sort_out(&self, key: &str, set: &DaemonSet, node: &str, pods: Vec<Arc<Pod>>, work: &mut Work) {
        let mut running = Vec::new();
        for pod in pods {
            match phase(&pod) {
                _ if pod.metadata.deletion_timestamp.is_some() => {}
                "Failed" => self.replace_failed(key, set, node, pod, work),
                "Succeeded" => work.delete.push(pod),
                _ => running.push(pod),
            }
        }
        running.sort_by_key(|pod| {
            let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (super::super::pods::node_name(pod).is_empty(), created, pod.metadata.name.clone())
        });
        work.delete.extend(running.into_iter().skip(1));
    }

    fn replace_failed(&self, key: &str, set: &DaemonSet, node: &str, pod: Arc<Pod>, work: &mut Work) {
        let message =
            format!("Found failed daemon pod {} on node {node}, will try to kill it", object_key(&pod.metadata));
        self.events.event(set, EventType::Warning, "FailedDaemonPod", message);
        let wait = self.failure_back_off(failure_key(key, node));
        let since_end = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        let age = since_end.map(|start| host::wall_clock::now().duration_since(start.0).unsigned_abs());
        if age.is_some_and(|age| age < wait) {
            self.queue.add_after(key.to_owned(), wait);
        } else {
            work.delete.push(pod);
        }
    }

    pub(super) async fn carry_out(&self, key: &str, set: &DaemonSet, hash: &str, mut work: Work) -> Result<(), Error> {
        work.create.truncate(BURST);
        work.delete.truncate(BURST);
        if work.create.is_empty() && work.delete.is_empty() {
            return Ok(());
        }
        let deletions = work.delete.iter().map(|pod| object_key(&pod.metadata));
        self.expectations.expect(key, work.create.len(), deletions);
        let created = self.create(key, set, hash, &work.create).await;
        let deleted = self.delete(key, set, &work.delete).await;
        created.and(deleted)
    }

    /// In batches that double from one on: if the first fails, so would the others.
    async fn create(&self, key: &str, set: &DaemonSet, hash: &str, nodes: &[String]) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(&self.client, namespace(set));
        let (mut rest, mut batch) = (nodes, 1);
        let mut failure = None;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(batch.min(rest.len()));
            let creations = now.iter().map(|node| self.create_one(&api, key, set, node, hash));
            let failures: Vec<Error> = join_all(creations).await.into_iter().filter_map(Result::err).collect();
            rest = later;
            batch *= 2;
            if let Some(first) = failures.into_iter().next() {
                failure = Some(first);
                break;
            }
        }
        rest.iter().for_each(|_skipped| self.expectations.creation_observed(key));
        failure.map_or(Ok(()), Err)
    }

    async fn create_one(
        &self,
        api: &Api<Pod>,
        key: &str,
        set: &DaemonSet,
        node: &str,
        hash: &str,
    ) -> Result<(), Error> {
        let Some(pod) = pod_for(set, node, hash) else {
            self.expectations.creation_observed(key);
            return Ok(());
        };
        match api.create(&pod).await {
            Ok(created) => {
                let message = format!("Created pod: {}", created.metadata.name.unwrap_or_default());
                self.events.event(set, EventType::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) => {
                self.expectations.creation_observed(key);
                self.events.event(set, EventType::Warning, "FailedCreate", format!("Error creating: {error}"));
                // In a namespace that is going there is nothing to retry.
                if error.has_cause("NamespaceTerminating") { Ok(()) } else { Err(error) }
            }
        }
    }

    async fn delete(&self, key: &str, set: &DaemonSet, pods: &[Arc<Pod>]) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(&self.client, namespace(set));
        let deletions = pods.iter().map(|pod| self.delete_one(&api, key, set, pod));
        join_all(deletions).await.into_iter().collect()
    }

    async fn delete_one(&self, api: &Api<Pod>, key: &str, set: &DaemonSet, pod: &Pod) -> Result<(), Error> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        match api.delete(name, &params).await {
            Ok(_deleted) => {
                self.events.event(set, EventType::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
                Ok(())
            }
            Err(error) => {
                self.expectations.deletion_observed(key, &object_key(&pod.metadata));
                if error.is_not_found() { Ok(()) } else { Err(error) }
            }
        }
    }
}
