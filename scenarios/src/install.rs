//! Installs Longhorn into a cluster: the objects of its manifest (deploy/longhorn.yaml of longhorn/longhorn at the release's tag), made anew here.
//!
//! Left out, because nothing here looks at them: roles and bindings (no authorization in the simulation), the user interface, the CSI deployer,
//! the support bundle's account. Probes speak plain HTTP: there is no TLS in the simulation.

use corral_kube_client::{Client, DynamicApi, DynamicObject, Error, PostParams, ResourceDescriptor};
use longhorn_api::{Build, DEFAULT_NAMESPACE, crds};
use serde_json::{Value, json};

/// The images of a build.
#[derive(Clone, Debug)]
pub struct ImageNames {
    /// longhorn-manager.
    pub manager: String,
    /// longhorn-engine.
    pub engine: String,
    /// longhorn-instance-manager.
    pub instance_manager: String,
    /// longhorn-share-manager.
    pub share_manager: String,
    /// backing-image-manager.
    pub backing_image_manager: String,
    /// support-bundle-kit.
    pub support_bundle: String,
}

/// Repositories of Longhorn's images.
pub mod repository {
    /// longhorn-manager.
    pub const MANAGER: &str = "longhornio/longhorn-manager";
    /// longhorn-engine.
    pub const ENGINE: &str = "longhornio/longhorn-engine";
    /// longhorn-instance-manager.
    pub const INSTANCE_MANAGER: &str = "longhornio/longhorn-instance-manager";
    /// longhorn-share-manager.
    pub const SHARE_MANAGER: &str = "longhornio/longhorn-share-manager";
    /// backing-image-manager.
    pub const BACKING_IMAGE_MANAGER: &str = "longhornio/backing-image-manager";
    /// support-bundle-kit.
    pub const SUPPORT_BUNDLE: &str = "longhornio/support-bundle-kit";
}

impl ImageNames {
    /// The images of this build; the tag of each carries it.
    pub fn of(build: &Build) -> ImageNames {
        let tagged = |repository: &str| format!("{repository}:{}", build.image_tag());
        ImageNames {
            manager: tagged(repository::MANAGER),
            engine: tagged(repository::ENGINE),
            instance_manager: tagged(repository::INSTANCE_MANAGER),
            share_manager: tagged(repository::SHARE_MANAGER),
            backing_image_manager: tagged(repository::BACKING_IMAGE_MANAGER),
            support_bundle: format!("{}:v0.0.49", repository::SUPPORT_BUNDLE),
        }
    }
}

/// Creates everything; the DaemonSet last, as the manifest's order has it.
///
/// # Errors
/// The API server refused an object.
pub async fn install(client: &Client, build: &Build) -> Result<(), Error> {
    for object in manifest(build) {
        create(client, object).await?;
    }
    Ok(())
}

/// Does what `kubectl apply` of another release's manifest does: what is there becomes as the manifest says, what is not is created.
///
/// Namespace, services, account and priority class are the same in every release, and the API server has filled them in: they stay.
///
/// # Errors
/// The API server refused an object.
pub async fn apply(client: &Client, build: &Build) -> Result<(), Error> {
    const SAME_IN_ALL: [&str; 4] = ["Namespace", "Service", "ServiceAccount", "PriorityClass"];
    for object in manifest(build) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let api = api_of(client, &object);
        loop {
            let Some(existing) = api.get_opt(&name).await? else {
                create(client, object.clone()).await?;
                break;
            };
            if SAME_IN_ALL.contains(&object["kind"].as_str().unwrap_or_default()) {
                break;
            }
            let mut wanted: DynamicObject = serde_json::from_value(object.clone()).expect("a manifest of ours");
            wanted.metadata.resource_version = existing.metadata.resource_version;
            match api.update(&wanted).await {
                // Its status was written in between.
                Err(error) if error.is_conflict() => {}
                answer => break drop(answer?),
            }
        }
    }
    Ok(())
}

/// Creates one object given as its manifest.
///
/// # Errors
/// The API server refused it.
pub async fn create(client: &Client, object: Value) -> Result<(), Error> {
    let api = api_of(client, &object);
    let object: DynamicObject = serde_json::from_value(object).expect("a manifest of ours");
    api.create_with(&PostParams::default(), &object).await?;
    Ok(())
}

fn api_of(client: &Client, object: &Value) -> DynamicApi {
    let resource = resource_of(object);
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => DynamicApi::namespaced_of(client, namespace, &resource),
        None => DynamicApi::all_of(client, &resource),
    }
}

/// The objects of the manifest, in order.
pub fn manifest(build: &Build) -> Vec<Value> {
    let images = ImageNames::of(build);
    let mut objects = vec![
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": DEFAULT_NAMESPACE } }),
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": { "name": "longhorn-critical" },
            "description": "Ensure Longhorn pods have the highest priority to prevent any unexpected eviction by the Kubernetes scheduler under node pressure",
            "globalDefault": false, "preemptionPolicy": "PreemptLowerPriority", "value": 1_000_000_000
        }),
        namespaced("v1", "ServiceAccount", "longhorn-service-account", json!({})),
        namespaced("v1", "ConfigMap", "longhorn-default-resource", json!({ "data": { "default-resource.yaml": "" } })),
        namespaced(
            "v1",
            "ConfigMap",
            "longhorn-default-setting",
            json!({
                "data": { "default-setting.yaml": "priority-class: longhorn-critical\ndisable-revision-counter: true\n" }
            }),
        ),
    ];
    let definitions = crds::all(build.release()).into_iter();
    objects.extend(definitions.map(|definition| serde_json::to_value(definition).expect("a definition of ours")));
    objects.extend([
        service("longhorn-backend", ("app", "longhorn-manager"), ("manager", 9500)),
        service(
            "longhorn-conversion-webhook",
            ("longhorn.io/conversion-webhook", "longhorn-conversion-webhook"),
            ("conversion-wh", 9501),
        ),
        service(
            "longhorn-admission-webhook",
            ("longhorn.io/admission-webhook", "longhorn-admission-webhook"),
            ("admission-wh", 9502),
        ),
        service(
            "longhorn-recovery-backend",
            ("longhorn.io/recovery-backend", "longhorn-recovery-backend"),
            ("recov-backend", 9503),
        ),
        manager_daemon_set(&images),
    ]);
    objects
}

fn namespaced(api_version: &str, kind: &str, name: &str, body: Value) -> Value {
    let mut object = body;
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    object["metadata"] = json!({
        "name": name, "namespace": DEFAULT_NAMESPACE,
        "labels": { "app.kubernetes.io/name": "longhorn", "app.kubernetes.io/instance": "longhorn" }
    });
    object
}

fn service(name: &str, selector: (&str, &str), port: (&str, u16)) -> Value {
    namespaced(
        "v1",
        "Service",
        name,
        json!({ "spec": {
            "type": "ClusterIP",
            "selector": { selector.0: selector.1 },
            "ports": [{ "name": port.0, "port": port.1, "targetPort": port.0 }]
        } }),
    )
}

fn manager_daemon_set(images: &ImageNames) -> Value {
    let from_field =
        |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let port = |name: &str, number: u16| json!({ "name": name, "containerPort": number });
    let manager = json!({
        "name": "longhorn-manager",
        "image": images.manager,
        "imagePullPolicy": "IfNotPresent",
        "command": [
            "longhorn-manager", "-d", "daemon",
            "--engine-image", images.engine,
            "--instance-manager-image", images.instance_manager,
            "--share-manager-image", images.share_manager,
            "--backing-image-manager-image", images.backing_image_manager,
            "--support-bundle-manager-image", images.support_bundle,
            "--manager-image", images.manager,
            "--service-account", "longhorn-service-account",
            "--upgrade-version-check"
        ],
        "ports": [port("manager", 9500), port("conversion-wh", 9501), port("admission-wh", 9502), port("recov-backend", 9503)],
        "readinessProbe": { "httpGet": { "path": "/v1/healthz", "port": 9501, "scheme": "HTTP" } },
        "volumeMounts": [{ "name": "longhorn", "mountPath": "/var/lib/longhorn/", "mountPropagation": "Bidirectional" }],
        "env": [
            from_field("POD_NAME", "metadata.name"),
            from_field("POD_NAMESPACE", "metadata.namespace"),
            from_field("POD_IP", "status.podIP"),
            from_field("NODE_NAME", "spec.nodeName")
        ]
    });
    let pre_pull = json!({
        "name": "pre-pull-share-manager-image",
        "image": images.share_manager,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "echo share-manager image pulled && sleep infinity"]
    });
    namespaced(
        "apps/v1",
        "DaemonSet",
        "longhorn-manager",
        json!({ "spec": {
            "selector": { "matchLabels": { "app": "longhorn-manager" } },
            "template": {
                "metadata": { "labels": { "app": "longhorn-manager", "app.kubernetes.io/name": "longhorn", "app.kubernetes.io/instance": "longhorn" } },
                "spec": {
                    "containers": [manager, pre_pull],
                    "volumes": [{ "name": "longhorn", "hostPath": { "path": "/var/lib/longhorn/" } }],
                    "priorityClassName": "longhorn-critical",
                    "serviceAccountName": "longhorn-service-account"
                }
            },
            "updateStrategy": { "rollingUpdate": { "maxUnavailable": "100%" } }
        } }),
    )
}

/// The resource of a manifest's kind.
fn resource_of(object: &Value) -> ResourceDescriptor {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    let kind = text("kind");
    let lower = kind.to_lowercase();
    let plural = if lower.ends_with("ss") { format!("{lower}es") } else { format!("{lower}s") };
    ResourceDescriptor::new(group, version, kind, &plural)
}
