//! The history of a set's template: one ControllerRevision a version, the newest with the highest number.

use std::collections::BTreeSet;
use std::sync::Arc;

use corral_kube_client::params::DeleteParams;
use corral_kube_client::{Api, Error};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};

use super::{Controller, HASH_LABEL, namespace};
use crate::controllers::pods::{controller_reference, is_controlled_by, template_hash};

impl Controller {
    fn history(&self, set: &DaemonSet) -> Vec<Arc<ControllerRevision>> {
        let mut history = self.revisions.namespaced(namespace(set)).list();
        history.retain(|revision| is_controlled_by(&revision.metadata, set.metadata.uid.as_ref()));
        history.sort_by_key(|revision| (number(revision), revision.metadata.name.clone()));
        history
    }

    /// The hash of the template as it is now; its version is stored if it is a new one, and becomes the newest if it is an old one.
    pub(super) async fn current_hash(&self, set: &DaemonSet) -> Result<String, Error> {
        let history = self.history(set);
        let data = version_data(set);
        let newest_number = history.last().map_or(0, |revision| number(revision));
        let known = history.iter().rev().find(|revision| revision.data.0 == data);
        let Some(known) = known else { return self.store_version(set, data, newest_number + 1).await };
        if number(known) < newest_number {
            let api: Api<ControllerRevision> = Api::namespaced(&self.client, namespace(set));
            let mut renumbered = ControllerRevision::clone(known);
            renumbered.revision = Some(newest_number + 1);
            api.update(&renumbered).await?;
        }
        Ok(hash_of(&known.metadata))
    }

    async fn store_version(&self, set: &DaemonSet, data: Value, number: i64) -> Result<String, Error> {
        let template = set.spec.template.clone();
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let hash = template_hash(&template, collisions);
        let name = format!("{}-{hash}", set.metadata.name.as_deref().unwrap_or_default());
        let mut labels = template.metadata.and_then(|metadata| metadata.labels).unwrap_or_default();
        labels.insert(HASH_LABEL.to_owned(), hash.clone());
        let revision = ControllerRevision {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: set.metadata.namespace.clone(),
                labels: Some(labels),
                annotations: set.metadata.annotations.clone(),
                owner_references: Some(vec![controller_reference("apps/v1", "DaemonSet", &set.metadata)]),
                ..ObjectMeta::default()
            },
            data: RawExtension(data.clone()),
            revision: Some(number),
        };
        let api: Api<ControllerRevision> = Api::namespaced(&self.client, namespace(set));
        match api.create(&revision).await {
            Err(error) if error.is_already_exists() => {
                let there = api.get(&name).await?;
                // The cache may only be late.
                if there.data.0 == data { Ok(hash) } else { Err(self.count_collision(set, error).await) }
            }
            created => created.map(|_revision| hash),
        }
    }

    /// Another template has the same hash: the next try mixes a count into it.
    async fn count_collision(&self, set: &DaemonSet, error: Error) -> Error {
        let api: Api<DaemonSet> = Api::namespaced(&self.client, namespace(set));
        let mut counted = set.clone();
        let status = counted.status.get_or_insert_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        match api.update_status(&counted).await {
            Ok(_counted) => error,
            Err(failure) => failure,
        }
    }

    /// Deletes the oldest versions that no pod has, beyond the set's limit.
    pub(super) async fn clean_up_revisions(&self, set: &DaemonSet) -> Result<(), Error> {
        let history = self.history(set);
        let limit = set.spec.revision_history_limit.unwrap_or(10).max(0) as usize;
        let data = version_data(set);
        let live: BTreeSet<String> = self.pods_of(set).iter().map(|pod| hash_of(&pod.metadata)).collect();
        let is_unused = |revision: &&Arc<ControllerRevision>| {
            let is_current = revision.data.0 == data;
            !is_current && !live.contains(&hash_of(&revision.metadata))
        };
        let old = history.len().saturating_sub(1);
        let api: Api<ControllerRevision> = Api::namespaced(&self.client, namespace(set));
        for revision in history.iter().filter(is_unused).take(old.saturating_sub(limit)) {
            let name = revision.metadata.name.as_deref().unwrap_or_default();
            match api.delete(name, &DeleteParams::default()).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _deleted_or_gone => {}
            }
        }
        Ok(())
    }
}

fn number(revision: &ControllerRevision) -> i64 {
    revision.revision.unwrap_or(0)
}

fn hash_of(metadata: &ObjectMeta) -> String {
    metadata.labels.as_ref().and_then(|labels| labels.get(HASH_LABEL)).cloned().unwrap_or_default()
}

/// A version as a patch that restores it.
fn version_data(set: &DaemonSet) -> Value {
    let mut template = serde_json::to_value(&set.spec.template).expect("a template is plain data");
    if let Some(fields) = template.as_object_mut() {
        fields.insert("$patch".to_owned(), "replace".into());
    }
    json!({"spec": {"template": template}})
}
