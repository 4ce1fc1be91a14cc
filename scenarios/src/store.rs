//! The backup store of a scenario: an S3-like server on a pod of its own, its service, its secret, and how Longhorn is pointed at it.

use std::sync::Arc;
use std::time::Duration;

use corral_cluster::Image;
use corral_kube_client::{Api, Client, Error, Patch, PatchParams};
use corral_object_store::{BucketStore, Effect, Fault};
use host::process::program;
use longhorn_api::{BackupTarget, DEFAULT_NAMESPACE, Release, Setting, go};
use longhorn_backupstore::Credentials;
use serde_json::{Value, json};

use crate::server_pod::ServerPod;

/// The bucket.
pub const BUCKET: &str = "backupbucket";
/// The backup target's address.
pub const TARGET: &str = "s3://backupbucket@us-east-1/";
/// How often Longhorn polls a backup target about which nobody says otherwise.
pub const POLL_INTERVAL: Duration = Duration::from_secs(300);
/// Repository of the server's image.
pub const REPOSITORY: &str = "corral/object-store";

const SECRET: &str = "s3-secret";
const POD: ServerPod = ServerPod {
    namespace: "backupstore",
    name: "s3",
    container: "object-store",
    repository: REPOSITORY,
    port: (PORT, "api"),
};
const PORT: u16 = 9000;

/// The image of the server, which serves this store.
pub fn image(store: Arc<BucketStore>) -> Image {
    Image::new("/usr/bin/object-store", move |_tag| {
        let store = store.clone();
        program(move || {
            let store = store.clone();
            async move {
                let address = (std::net::Ipv4Addr::UNSPECIFIED, PORT).into();
                match corral_object_store::serve(store, address).await {
                    Ok(()) => 0,
                    Err(error) => {
                        host::process::print_error(&format!("cannot listen: {error}\n"));
                        1
                    }
                }
            }
        })
    })
}

/// Makes each operation take this long.
pub fn set_latency(store: &BucketStore, per_operation: Duration) {
    store.add_fault(Fault::new(Effect::Slow { per_operation, bytes_per_second: None }));
}

/// Namespace, pod, service, and the secret by which Longhorn finds them.
pub fn manifests() -> Vec<Value> {
    POD.manifests()
}

/// The secret that names endpoint and keys, in Longhorn's namespace.
pub fn secret() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": SECRET, "namespace": DEFAULT_NAMESPACE },
        "stringData": { "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINTS": POD.url() }
    })
}

/// What a process outside needs to reach the store.
pub fn credentials() -> Credentials {
    [
        ("AWS_ACCESS_KEY_ID", "key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ("AWS_ENDPOINTS", POD.url()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Points Longhorn at the store: by settings up to v1.7.2, by the default BackupTarget from v1.8.0 on.
///
/// # Errors
/// The API server refused, or Longhorn's webhook did.
pub async fn set_backup_target(client: &Client, release: Release, poll: Duration) -> Result<(), Error> {
    let seconds = poll.as_secs();
    if release.at_least(Release::V1_8_0_RC1) {
        let poll = go::Duration::from_seconds(seconds as i64);
        let spec = json!({ "spec": { "backupTargetURL": TARGET, "credentialSecret": SECRET, "pollInterval": poll.to_string() } });
        let targets: Api<BackupTarget> = Api::namespaced(client, DEFAULT_NAMESPACE);
        targets.patch("default", &PatchParams::default(), &Patch::Merge(spec)).await?;
        return Ok(());
    }
    let settings: Api<Setting> = Api::namespaced(client, DEFAULT_NAMESPACE);
    let interval = seconds.to_string();
    // What is the default already is not set.
    let interval = (poll != POLL_INTERVAL).then_some(("backupstore-poll-interval", interval.as_str()));
    let target = [("backup-target-credential-secret", SECRET), ("backup-target", TARGET)];
    for (name, value) in interval.into_iter().chain(target) {
        settings.patch(name, &PatchParams::default(), &Patch::Merge(json!({ "value": value }))).await?;
    }
    Ok(())
}

/// Asks for a synchronisation of the default backup target, as the user interface does.
///
/// # Errors
/// The API server refused, or Longhorn's webhook did.
pub async fn synchronise(client: &Client) -> Result<(), Error> {
    let now = host::wall_clock::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let targets: Api<BackupTarget> = Api::namespaced(client, DEFAULT_NAMESPACE);
    let spec = json!({ "spec": { "syncRequestedAt": now } });
    targets.patch("default", &PatchParams::default(), &Patch::Merge(spec)).await.map(|_| ())
}

/// What lies in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Volumes with a configuration.
    pub volumes: usize,
    /// Backups with a configuration.
    pub backups: usize,
}

/// Counts what lies in a store.
pub fn contents(store: &BucketStore) -> Contents {
    let objects = store.objects(BUCKET, "");
    let count = |of: fn(&str) -> bool| objects.iter().filter(|object| of(&object.key)).count();
    Contents {
        volumes: count(|key| key.ends_with("/volume.cfg")),
        backups: count(|key| key.rsplit('/').next().is_some_and(|file| file.starts_with("backup_"))),
    }
}
