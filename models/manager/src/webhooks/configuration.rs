//! How the API server is told of the admission webhooks: two configurations, the same from every manager (`webhook/server/server.go`).
//!
//! Upstream's managers share a certificate, and whoever sees it in its Secret writes the configurations with it. There is no TLS in the
//! simulation, so every manager writes them when it starts: created if absent, replaced if different. In both, the last manager of a
//! rolling upgrade decides what is asked.

use corral_kube_client::{Api, Client, Object, Result};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use longhorn_api::{GROUP, Release, VERSION, names};
use serde_json::{Value, json};

use super::{MUTATION_PATH, Resource, VALIDATION_PATH, mutators, validators};

/// Names of the two configurations.
pub const MUTATING: &str = "longhorn-webhook-mutator";
/// See [`MUTATING`].
pub const VALIDATING: &str = "longhorn-webhook-validator";

/// Registers the webhooks of a release for the service in `namespace`.
pub async fn register(client: &Client, namespace: &str, release: Release) -> Result<()> {
    let validating: ValidatingWebhookConfiguration = from_json(json!({
        "metadata": {"name": VALIDATING},
        "webhooks": [webhook("validator.longhorn.io", namespace, VALIDATION_PATH, &validators::resources(release))],
    }));
    apply(client, VALIDATING, validating, |kept, wanted| kept.webhooks == wanted.webhooks).await?;
    let mutating: MutatingWebhookConfiguration = from_json(json!({
        "metadata": {"name": MUTATING},
        "webhooks": [webhook("mutator.longhorn.io", namespace, MUTATION_PATH, &mutators::resources(release))],
    }));
    apply(client, MUTATING, mutating, |kept, wanted| kept.webhooks == wanted.webhooks).await
}

fn from_json<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("a configuration of ours")
}

/// With the defaults that the API server fills in, so that an unchanged configuration is seen to be.
fn webhook(name: &str, namespace: &str, path: &str, resources: &[Resource]) -> Value {
    let rules: Vec<Value> = resources
        .iter()
        .map(|resource| {
            json!({
                "operations": resource.operations.iter().map(|operation| operation.as_str()).collect::<Vec<_>>(),
                "apiGroups": [GROUP], "apiVersions": [VERSION], "resources": [resource.name], "scope": "Namespaced",
            })
        })
        .collect();
    let service = json!({
        "namespace": namespace, "name": names::ADMISSION_WEBHOOK_SERVICE, "path": path, "port": names::ADMISSION_WEBHOOK_PORT,
    });
    let mut webhook = json!({
        "name": name,
        "clientConfig": {"service": service},
        "rules": rules,
        "failurePolicy": "Fail",
        "matchPolicy": "Exact",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "namespaceSelector": {}, "objectSelector": {}, "timeoutSeconds": 10,
    });
    if path == MUTATION_PATH {
        webhook["reinvocationPolicy"] = "Never".into();
    }
    webhook
}

/// Creates or replaces, until no other manager is in between.
async fn apply<K: Object<DynamicType = ()>>(
    client: &Client,
    name: &str,
    wanted: K,
    is_same: impl Fn(&K, &K) -> bool,
) -> Result<()> {
    let api: Api<K> = Api::all(client);
    loop {
        let result = match api.get_opt(name).await? {
            None => api.create(&wanted).await,
            Some(kept) if is_same(&kept, &wanted) => return Ok(()),
            Some(kept) => {
                let mut changed = wanted.clone();
                changed.meta_mut().resource_version.clone_from(&kept.meta().resource_version);
                api.update(&changed).await
            }
        };
        match result {
            Err(error) if error.is_already_exists() || error.is_conflict() || error.is_not_found() => {}
            other => return other.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backup_targets_are_asked_about_since_there_are_several() {
        let resources = |release| -> Vec<String> {
            let webhook =
                webhook("validator.longhorn.io", "longhorn-system", VALIDATION_PATH, &validators::resources(release));
            let rules = webhook["rules"].as_array().unwrap().iter();
            rules.map(|rule| rule["resources"][0].as_str().unwrap().to_owned()).collect()
        };
        let few = [
            "nodes",
            "settings",
            "backingimages",
            "systemrestores",
            "volumes",
            "snapshots",
            "systembackups",
            "volumeattachments",
            "engines",
            "replicas",
            "orphans",
            "instancemanagers",
        ];
        assert_eq!(resources(Release::V1_7_2), few);
        let added = ["nodes", "settings", "backupbackingimages", "backups", "backuptargets"];
        let many: Vec<&str> = added.iter().chain(&few[2..]).copied().collect();
        assert_eq!(resources(Release::V1_8_0), many);
    }
}
