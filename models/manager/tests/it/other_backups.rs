//! Backups of backing images and system backups: pulled from the store, shown and deleted by the Longhorn API.

use crate::common::{BUCKET, Longhorn, Patience, TARGET, play};
use corral_kube_client::Object;
use http::Method;
use longhorn_api::{BackupBackingImage, BackupTarget, CustomResource, SystemBackup};
use longhorn_backupstore::config::{BackingImageConfig, SystemBackupConfig};
use longhorn_backupstore::layout;
use serde_json::{Value, json};

/// Puts a backup of an image and a system backup into the store, as another installation would have.
fn fill(longhorn: &Longhorn) {
    let image = BackingImageConfig {
        name: "image".into(),
        size: 1 << 20,
        checksum: "a".repeat(128),
        compression_method: "lz4".into(),
        created_time: longhorn_backupstore::now(),
        complete_time: longhorn_backupstore::now(),
        ..BackingImageConfig::default()
    };
    let system = SystemBackupConfig {
        name: "system".into(),
        longhorn_version: "v1.7.1".into(),
        longhorn_git_commit: "c".into(),
        backup_target_url: TARGET.into(),
        manager_image: "longhornio/longhorn-manager:v1.7.1".into(),
        engine_image: "longhornio/longhorn-engine:v1.7.1".into(),
        created_at: host::wall_clock::now(),
        checksum: "a".repeat(64),
    };
    let put = |key: String, bytes: Vec<u8>| longhorn.buckets.insert(BUCKET, key.trim_start_matches('/'), bytes);
    put(layout::backing_image_config("image"), serde_json::to_vec(&image).expect("JSON"));
    put(layout::system_backup_config("system", "v1.7.1"), serde_json::to_vec(&system).expect("JSON"));
    put(layout::system_backup_archive("system", "v1.7.1"), b"archive".to_vec());
}

async fn wait_for<K>(longhorn: &Longhorn, what: &'static str, count: usize, wanted: impl Fn(&K) -> bool)
where
    K: CustomResource + Object<DynamicType = ()>,
{
    let patience = Patience::new(what, 120);
    loop {
        let objects: Vec<K> = longhorn.list().await;
        if objects.len() == count && objects.iter().all(&wanted) {
            return;
        }
        patience.wait().await;
    }
}

#[test]
fn what_the_store_has_is_pulled_shown_and_deleted() {
    for tag in ["v1.7.2", "v1.8.0"] {
        play(1, async move {
            let longhorn = Longhorn::boot(tag).await;
            fill(&longhorn);
            longhorn.set_target().await;
            wait_for::<BackupTarget>(&longhorn, "the target is available", 1, |target| target.status.available).await;
            let complete = |backup: &BackupBackingImage| backup.status.state.as_str() == "Completed";
            wait_for(&longhorn, "the image's backup is read", 1, complete).await;
            wait_for::<SystemBackup>(&longhorn, "the system backup is read", 1, |b| b.status.state.as_str() == "Ready")
                .await;

            let (_, images) = longhorn.request(Method::GET, "/v1/backupbackingimages", Value::Null).await;
            let (_, systems) = longhorn.request(Method::GET, "/v1/systembackups", Value::Null).await;
            let system = &systems["data"][0];
            assert_eq!((&system["name"], &system["version"]), (&json!("system"), &json!("v1.7.1")), "{systems}");
            for item in [&images["data"][0], system] {
                let link = item["links"]["self"].as_str().unwrap_or_else(|| panic!("no link: {item}"));
                let path = &link[link.find("/v1/").expect("a path")..];
                let (status, answer) = longhorn.request(Method::DELETE, path, Value::Null).await;
                assert_eq!(status, 200, "{answer}");
            }
            wait_for::<BackupBackingImage>(&longhorn, "the image's backup is gone", 0, |_| true).await;
            wait_for::<SystemBackup>(&longhorn, "the system backup is gone", 0, |_| true).await;
            let left: Vec<String> = longhorn.buckets.objects(BUCKET, "").into_iter().map(|object| object.key).collect();
            assert!(left.is_empty(), "{tag}: {left:?}");
        });
    }
}

/// Before, a system backup of a target that nobody had reached yet was taken, and failed.
#[test]
fn a_system_backup_is_refused_until_its_target_is_available() {
    let (refused, accepted) = play(1, async {
        let longhorn = Longhorn::boot("v1.9.2").await;
        let system_backups = longhorn.api::<SystemBackup>();
        let mut wanted = SystemBackup::default();
        wanted.metadata.name = Some("system-backup-1".to_owned());
        let refused = system_backups.create(&wanted).await.map(drop).map_err(|error| error.to_string());
        longhorn.set_target().await;
        let patience = Patience::new("the target is available", 60);
        while !longhorn.list::<BackupTarget>().await.iter().any(|target| target.status.available) {
            patience.wait().await;
        }
        (refused, system_backups.create(&wanted).await.map(drop).map_err(|error| error.to_string()))
    })
    .0;
    let message = refused.expect_err("nobody reached the target");
    assert!(message.contains("backup target default is not available"), "{message}");
    assert_eq!(accepted, Ok(()));
}
