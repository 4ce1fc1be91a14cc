//! Counts what is where, and writes it into the set's status.

use corral_kube_client::{Api, Error};
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};

use super::nodes::verdict;
use super::{Controller, is_of_version, minimum_ready_seconds, namespace};
use crate::controllers::pods::{is_available, is_ready};

/// Tries of one status update. Source: StatusUpdateRetries.
const TRIES: u32 = 2;

impl Controller {
    pub(super) async fn update_status(
        &self,
        key: &str,
        set: &DaemonSet,
        hash: &str,
        observed: bool,
    ) -> Result<(), Error> {
        let status = self.count(set, hash, observed);
        let unavailable = status.number_unavailable.unwrap_or(0);
        if set.status.as_ref() != Some(&status) {
            self.write_status(set, status).await?;
        }
        // A pod that is ready becomes available by time alone.
        let minimum = minimum_ready_seconds(set);
        if minimum > 0 && unavailable > 0 {
            self.queue.add_after(key.to_owned(), std::time::Duration::from_secs(minimum as u64));
        }
        Ok(())
    }

    fn count(&self, set: &DaemonSet, hash: &str, observed: bool) -> DaemonSetStatus {
        let by_node = self.pods_by_node(set);
        let now = host::wall_clock::now();
        let mut status = set.status.clone().unwrap_or_default();
        let (mut desired, mut current, mut misplaced) = (0, 0, 0);
        let (mut ready, mut available, mut updated) = (0, 0, 0);
        for node in self.nodes.list() {
            let pods = by_node.get(node.metadata.name.as_deref().unwrap_or_default()).map_or(&[][..], Vec::as_slice);
            let wanted = verdict(set, &node).run;
            desired += i32::from(wanted);
            if !wanted {
                misplaced += i32::from(!pods.is_empty());
                continue;
            }
            let oldest = pods.iter().min_by_key(|pod| {
                (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.metadata.name.clone())
            });
            let Some(pod) = oldest else { continue };
            current += 1;
            ready += i32::from(is_ready(pod));
            available += i32::from(is_available(pod, minimum_ready_seconds(set), now));
            updated += i32::from(is_of_version(pod, hash));
        }
        status.desired_number_scheduled = desired;
        status.current_number_scheduled = current;
        status.number_misscheduled = misplaced;
        status.number_ready = ready;
        status.number_available = (available > 0).then_some(available);
        status.number_unavailable = (desired > available).then_some(desired - available);
        status.updated_number_scheduled = (updated > 0).then_some(updated);
        if observed {
            status.observed_generation = set.metadata.generation;
        }
        status
    }

    async fn write_status(&self, set: &DaemonSet, status: DaemonSetStatus) -> Result<(), Error> {
        let api: Api<DaemonSet> = Api::namespaced(&self.client, namespace(set));
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let mut newest = set.clone();
        let mut tries = 0;
        loop {
            newest.status = Some(status.clone());
            tries += 1;
            match api.update_status(&newest).await {
                Err(error) if tries < TRIES && !error.is_not_found() => newest = api.get(name).await?,
                done => return done.map(|_updated| ()),
            }
        }
    }
}
