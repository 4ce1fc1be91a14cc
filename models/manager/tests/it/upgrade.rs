//! Managers of two releases, one after the other, over the same objects.

use corral_kube_client::{Api, ListParams, Object};
use k8s_openapi::api::core::v1::Pod;
use longhorn_api::{Backup, BackupTarget, BackupVolume, Build, Setting, labels};

use crate::common::{Longhorn, NAMESPACE, Patience, fill, manifest, play};

/// A cluster of v1.7.2 whose store has two backups, and images of the release to come.
async fn before(to: &str, workers: usize) -> Longhorn {
    let longhorn = Longhorn::boot_builds(&["v1.7.2", to], workers).await;
    fill::backups(&longhorn.build, "bv", 2).await;
    longhorn.pull(2).await;
    longhorn
}

/// A backup of a volume that is gone: it fails before anything of it was in the store.
async fn fail_a_backup(longhorn: &Longhorn) {
    let backups: Api<Backup> = longhorn.api();
    let mut backup = Backup::default();
    backup.metadata.name = Some("backup-of-nothing".to_owned());
    backup.spec.snapshot_name = "snap".to_owned();
    labels::set(&mut backup.metadata, labels::BACKUP_VOLUME, "nothing");
    backups.create(&backup).await.expect("it is taken");
    let patience = Patience::new("the backup fails", 60);
    while backups.get("backup-of-nothing").await.expect("it stays").status.state.as_str() != "Error" {
        patience.wait().await;
    }
}

async fn upgrade(longhorn: &Longhorn, to: &str) {
    manifest::upgrade(&longhorn.client, &Build::parse_tag(to).expect("a tag of ours")).await;
}

async fn version(longhorn: &Longhorn) -> String {
    longhorn.api::<Setting>().get("current-longhorn-version").await.expect("it is always there").value
}

async fn wait_for_version(longhorn: &Longhorn, version_now: &str) {
    let patience = Patience::new("the upgrade ends", 300);
    while version(longhorn).await != version_now {
        patience.wait().await;
    }
}

/// How often managers were started again.
async fn restarts(longhorn: &Longhorn) -> i32 {
    let pods: Api<Pod> = Api::namespaced(&longhorn.client, NAMESPACE);
    let managers = pods.list(&ListParams::default().labels("app=longhorn-manager")).await.expect("pods").items;
    let statuses = managers.into_iter().filter_map(|pod| pod.status?.container_statuses);
    statuses.flatten().map(|status| status.restart_count).sum()
}

fn label_of<K: Object>(object: &K, label: &str) -> String {
    labels::get(object.meta(), label).unwrap_or_default().to_owned()
}

#[test]
fn what_belonged_to_the_one_target_says_so() {
    play(1, async {
        let longhorn = before("v1.8.0", 3).await;
        fail_a_backup(&longhorn).await;
        assert_eq!(version(&longhorn).await, "v1.7.2");
        upgrade(&longhorn, "v1.8.0").await;
        wait_for_version(&longhorn, "v1.8.0").await;
        for backup in longhorn.list::<Backup>().await {
            assert_eq!(
                (label_of(&backup, "backup-target").as_str(), backup.status.backup_target_name.as_str()),
                ("default", "default")
            );
        }
        let volumes = longhorn.list::<BackupVolume>().await;
        assert_eq!(
            (volumes[0].spec.backup_target_name.as_str(), volumes[0].spec.volume_name.as_str()),
            ("default", "bv")
        );
        assert_eq!(
            (label_of(&volumes[0], "backup-target").as_str(), label_of(&volumes[0], "backup-volume").as_str()),
            ("default", "bv")
        );
        let settings = longhorn.list::<Setting>().await;
        assert!(
            settings.iter().all(|setting| setting.metadata.name.as_deref() != Some("backup-target")),
            "it is no more"
        );
        let target: BackupTarget = longhorn.api().get("default").await.expect("it stays");
        assert_eq!(target.spec.backup_target_url, crate::common::TARGET);
        assert_eq!(restarts(&longhorn).await, 0, "a manager failed on the way");
    });
}

#[test]
fn a_failed_backup_stops_the_candidate() {
    play(2, async {
        let longhorn = before("v1.8.0-rc2", 1).await;
        fail_a_backup(&longhorn).await;
        upgrade(&longhorn, "v1.8.0-rc2").await;
        let patience = Patience::new("the manager fails twice", 300);
        while restarts(&longhorn).await < 2 {
            patience.wait().await;
        }
        assert_eq!(version(&longhorn).await, "v1.7.2");
        let backups = longhorn.list::<Backup>().await;
        assert!(backups.iter().all(|backup| label_of(backup, "backup-target").is_empty()), "something was written");
    });
}

#[test]
fn without_a_failed_backup_the_candidate_goes_on() {
    play(3, async {
        let longhorn = before("v1.8.0-rc2", 1).await;
        upgrade(&longhorn, "v1.8.0-rc2").await;
        wait_for_version(&longhorn, "v1.8.0-rc2").await;
        assert!(longhorn.list::<Backup>().await.iter().all(|backup| label_of(backup, "backup-target") == "default"));
        assert_eq!(restarts(&longhorn).await, 0, "a manager failed on the way");
    });
}

#[test]
fn the_first_candidate_takes_an_empty_target_for_one() {
    play(4, async {
        let longhorn = before("v1.8.0-rc1", 1).await;
        upgrade(&longhorn, "v1.8.0-rc1").await;
        wait_for_version(&longhorn, "v1.8.0-rc1").await;
        // There is no volume to these backups: then it is the default target. Nobody touches the statuses.
        let backups = longhorn.list::<Backup>().await;
        assert!(backups.iter().all(|backup| label_of(backup, "backup-target") == "default"));
    });
}

#[test]
fn no_manager_goes_back_or_two_releases_ahead() {
    for (from, to) in [("v1.8.0", "v1.7.2"), ("v1.7.2", "v1.9.2")] {
        play(5, async move {
            let longhorn = Longhorn::boot_builds(&[from, to], 1).await;
            assert_eq!(version(&longhorn).await, from, "the first manager notes it");
            upgrade(&longhorn, to).await;
            let patience = Patience::new("the manager refuses", 300);
            while restarts(&longhorn).await < 1 {
                patience.wait().await;
            }
            assert_eq!(version(&longhorn).await, from, "{to}");
        });
    }
}
