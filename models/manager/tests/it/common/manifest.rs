//! The objects of Longhorn's manifest that a manager needs.

use corral_kube_client::{Client, DynamicApi, DynamicObject, ResourceDescriptor};
use longhorn_api::{Build, crds};
use serde_json::{Value, json};

use super::NAMESPACE;

/// The engine image of a build.
pub fn engine_image(build: &Build) -> String {
    format!("longhornio/longhorn-engine:{}", build.image_tag())
}

/// Creates everything, the DaemonSet last.
pub async fn install(client: &Client, build: &Build) {
    for object in objects(build) {
        let (api, kind) = (api_of(client, &object), object["kind"].clone());
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        api.create(&object).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
}

/// Does what `kubectl apply` of another release's manifest does: replaces what is there, creates what is not.
pub async fn upgrade(client: &Client, build: &Build) {
    for mut object in objects(build) {
        let api = api_of(client, &object);
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        match api.get_opt(&name).await.expect("an answer") {
            None => drop(api.create(&serde_json::from_value(object).expect("an object")).await.expect("created")),
            // What no release changes, and the API server has filled in.
            Some(_)
                if matches!(object["kind"].as_str(), Some("Namespace" | "Service" | "Secret" | "ServiceAccount")) => {}
            Some(existing) => {
                object["metadata"]["resourceVersion"] = existing.metadata.resource_version.into();
                let object: DynamicObject = serde_json::from_value(object).expect("an object");
                api.update(&object).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }
}

fn api_of(client: &Client, object: &Value) -> DynamicApi {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let resource = ResourceDescriptor::new(group, version, &kind, &format!("{}s", kind.to_lowercase()));
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => DynamicApi::namespaced_of(client, namespace, &resource),
        None => DynamicApi::all_of(client, &resource),
    }
}

fn objects(build: &Build) -> Vec<Value> {
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        namespaced("v1", "ServiceAccount", "longhorn-service-account", json!({})),
        namespaced("v1", "ConfigMap", "longhorn-default-setting", json!({"data": {"default-setting.yaml": ""}})),
        namespaced("v1", "ConfigMap", "longhorn-default-resource", json!({"data": {"default-resource.yaml": ""}})),
        namespaced(
            "v1",
            "Secret",
            "s3-secret",
            json!({"type": "Opaque", "stringData": {
                "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINTS": super::endpoint(),
            }}),
        ),
    ];
    objects.extend(crds::all(build.release()).into_iter().map(|crd| serde_json::to_value(crd).expect("JSON")));
    objects.extend([
        service("longhorn-backend", json!({"app": "longhorn-manager"}), 9500),
        service(
            "longhorn-conversion-webhook",
            json!({"longhorn.io/conversion-webhook": "longhorn-conversion-webhook"}),
            9501,
        ),
        service(
            "longhorn-admission-webhook",
            json!({"longhorn.io/admission-webhook": "longhorn-admission-webhook"}),
            9502,
        ),
        daemon_set(build),
    ]);
    objects
}

fn namespaced(api_version: &str, kind: &str, name: &str, mut object: Value) -> Value {
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    object["metadata"] = json!({"name": name, "namespace": NAMESPACE});
    object
}

fn service(name: &str, selector: Value, port: u16) -> Value {
    let ports = json!([{"name": "port", "port": port, "targetPort": port}]);
    namespaced("v1", "Service", name, json!({"spec": {"selector": selector, "ports": ports}}))
}

fn daemon_set(build: &Build) -> Value {
    let image = |repository: &str| format!("longhornio/{repository}:{}", build.image_tag());
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let manager = json!({
        "name": "longhorn-manager",
        "image": image("longhorn-manager"),
        "command": [
            "longhorn-manager", "-d", "daemon", "--engine-image", engine_image(build),
            "--instance-manager-image", image("longhorn-instance-manager"), "--share-manager-image", image("longhorn-share-manager"),
            "--backing-image-manager-image", image("backing-image-manager"), "--support-bundle-manager-image", "x:v0.0.49",
            "--manager-image", image("longhorn-manager"), "--service-account", "longhorn-service-account",
            "--upgrade-version-check",
        ],
        "readinessProbe": {"httpGet": {"path": "/v1/healthz", "port": 9501}},
        "volumeMounts": [{"name": "longhorn", "mountPath": "/var/lib/longhorn/", "mountPropagation": "Bidirectional"}],
        "env": [
            field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace"),
            field("POD_IP", "status.podIP"), field("NODE_NAME", "spec.nodeName"),
        ],
    });
    namespaced(
        "apps/v1",
        "DaemonSet",
        "longhorn-manager",
        json!({"spec": {
            "selector": {"matchLabels": {"app": "longhorn-manager"}},
            "updateStrategy": {"rollingUpdate": {"maxUnavailable": "100%"}},
            "template": {
                "metadata": {"labels": {"app": "longhorn-manager"}},
                "spec": {
                    "serviceAccountName": "longhorn-service-account",
                    "containers": [manager],
                    "volumes": [{"name": "longhorn", "hostPath": {"path": "/var/lib/longhorn/"}}],
                },
            },
        }}),
    )
}
