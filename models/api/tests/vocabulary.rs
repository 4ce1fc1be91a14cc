//! Names and settings, against values the real manager produced.

use std::collections::BTreeMap;

use longhorn_api::kinds::instance::InstanceType;
use longhorn_api::releases::ReleaseLine;
use longhorn_api::settings::{self, Value};
use longhorn_api::{Release, labels, names};

/// Name and value of every Setting that a fresh installation of v1.9.2 created.
const INSTALLED: &str = include_str!("data/settings-v1.9.2.txt");

#[test]
fn settings_are_those_of_a_fresh_installation() {
    let installed: BTreeMap<_, _> = INSTALLED
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once('\t').expect("a name, a tab and a value"))
        .collect();
    let ours: BTreeMap<_, _> = settings::of(Release::V1_9_2).map(|row| (row.name, row.default)).collect();
    assert_eq!(ours.keys().collect::<Vec<_>>(), installed.keys().collect::<Vec<_>>());
    let filled_in_at_start = [
        settings::CRD_API_VERSION,
        settings::CURRENT_LONGHORN_VERSION,
        settings::DEFAULT_BACKING_IMAGE_MANAGER_IMAGE,
        settings::DEFAULT_ENGINE_IMAGE,
        settings::DEFAULT_INSTANCE_MANAGER_IMAGE,
        settings::PRIORITY_CLASS,
        settings::SUPPORT_BUNDLE_MANAGER_IMAGE,
    ];
    let differing: Vec<_> = ours.keys().copied().filter(|name| ours[name] != installed[name]).collect();
    assert_eq!(differing, filled_in_at_start);
    assert!(filled_in_at_start.iter().all(|name| ours[name].is_empty()));
}

#[test]
fn every_release_has_its_settings() {
    let counts: Vec<_> = Release::ALL.iter().map(|release| settings::of(*release).count()).collect();
    assert_eq!(counts, [88, 90, 87, 88, 89, 89, 93, 94]);
    assert!(settings::TABLE.is_sorted_by(|a, b| a.name < b.name));
    for row in settings::TABLE {
        assert_eq!(settings::definition(row.name), Some(row));
        assert!(row.takes(row.default), "{}", row.name);
    }
    assert_eq!(settings::definition("no-such-setting"), None);
    let in_release = |name, release| settings::definition(name).is_some_and(|row| row.is_in(release));
    assert!(in_release(settings::BACKUP_TARGET, Release::V1_8_0_RC1));
    assert!(!in_release(settings::BACKUP_TARGET, Release::V1_8_0_RC2));
    assert!(!in_release(settings::BACKUP_EXECUTION_TIMEOUT, Release::V1_7_2));
}

#[test]
fn a_setting_takes_values_of_its_type() {
    let takes = |name, text| settings::definition(name).expect("a setting").takes(text);
    assert!(takes(settings::AUTO_SALVAGE, "false") && !takes(settings::AUTO_SALVAGE, "no"));
    assert!(takes(settings::DEFAULT_REPLICA_COUNT, "20") && !takes(settings::DEFAULT_REPLICA_COUNT, "21"));
    assert!(!takes(settings::DEFAULT_REPLICA_COUNT, "") && !takes(settings::FAILED_BACKUP_TTL, "-1"));
    assert!(takes(settings::TAINT_TOLERATION, ""));
    assert_eq!(
        settings::definition(settings::ENGINE_REPLICA_TIMEOUT).map(|row| row.value),
        Some(Value::Integer(8, 30))
    );
}

#[test]
fn an_engine_image_is_named_after_its_checksum() {
    assert_eq!(names::engine_image("longhornio/longhorn-engine:v1.9.2"), "ei-27581b25");
    assert_eq!(names::engine_image_daemon_set("ei-27581b25"), "engine-image-ei-27581b25");
    assert_eq!(names::image_folder("longhornio/longhorn-engine:v1.9.2"), "longhornio-longhorn-engine-v1.9.2");
    let labels = labels::of_engine_image("ei-27581b25");
    assert_eq!(labels["longhorn.io/engine-image"], "ei-27581b25");
    assert_eq!(labels["longhorn.io/component"], "engine-image");
    assert_eq!(labels["longhorn.io/managed-by"], "longhorn-manager");
}

#[test]
fn backup_volumes_are_named_by_release() {
    let name = |release| names::backup_volume(release, "vol", "default", "0123abcd");
    assert_eq!(name(Release::V1_7_2), "vol");
    for release in Release::ALL[1..7].iter() {
        assert_eq!(name(*release), "vol-0123abcd");
    }
    // sha256("vol-default") begins with these.
    assert_eq!(name(Release::V1_9_2), "vol-c4eb6c05");
    assert_eq!(names::backup_backing_image(Release::V1_7_2, "bi", "0123abcd"), "bi");
    assert_eq!(names::backup_backing_image(Release::V1_9_2, "bi", "0123abcd"), "bi-0123abcd");
}

#[test]
fn other_names() {
    assert_eq!(names::engine("vol", None), "vol-e-0");
    assert_eq!(names::engine("vol", Some("vol-e-9")), "vol-e-10");
    assert_eq!(names::engine("vol", Some("vol-e-x")), "vol-e-1");
    assert_eq!(names::replica("vol", "0123abcd"), "vol-r-0123abcd");
    assert_eq!(names::backup("0123456789abcdef"), "backup-0123456789abcdef");
    assert_eq!(names::snapshot("0123456789abcdef"), "snap-0123456789abcdef");
    assert_eq!(names::system_backup_volume_backup("0123456789abcdef"), "system-backup-0123456789abcdef");
    // sha512("n1image:1v1") begins with these.
    assert_eq!(names::instance_manager("n1", "image:1", "v1"), "instance-manager-3efaa2cbf4f08840f6874796eda56c2b");
    assert_eq!(names::instance_manager_image("a/b:1"), "imi-2bfe0c0c");
    assert_eq!(names::backing_image_manager(Release::V1_8_0, "image:1", "abcdef"), "backing-image-manager-4cd4-abcd");
    let new = names::backing_image_manager(Release::V1_9_2, "image:1", "abcdef");
    assert_eq!(new, "bim-26b8a2f0c28230b625c6414589e0e76463e01a26476cf084204283b0918942d1");
    let orphan = names::orphaned_replica("n1", "d", "/p", "u", "f");
    assert_eq!(orphan, "orphan-e0dd66687013a5c388e2cb953bf2fa324df7a2439276e2da93d684d5e3e5b8bb");
    // sha256 of "vol-r-1-n1-v2" and of "vol-r-1-u-im-v2".
    let orphan = |release| names::orphaned_instance(release, "vol-r-1", "u", "im", "n1", "v2");
    assert_eq!(
        orphan(Release::V1_9_0_DEV_00886872C),
        "orphan-7eedd4b52a567101d7d35c8cfeac1aeb51d9016f03bcc22623c0289b1c55e257"
    );
    assert_eq!(orphan(Release::V1_9_2), "orphan-3711228606e7745bab5e77d660a47221adc98eb8d06440c19e534f9750b155e0");
    assert_eq!(labels::recurring_job("nightly"), "recurring-job.longhorn.io/nightly");
    assert_eq!(
        labels::recurring_job_group(labels::DEFAULT_RECURRING_JOB_GROUP),
        "recurring-job-group.longhorn.io/default"
    );
}

#[test]
fn what_belongs_to_a_node_says_so_in_its_labels() {
    let text = |labels: BTreeMap<String, String>| {
        let pairs: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(" ")
    };
    assert_eq!(
        text(labels::of_instance_manager("n1", "a/b:1", "v2")),
        "longhorn.io/component=instance-manager longhorn.io/data-engine=v2 longhorn.io/instance-manager-image=imi-2bfe0c0c \
         longhorn.io/instance-manager-type=aio longhorn.io/managed-by=longhorn-manager longhorn.io/node=n1"
    );
    assert_eq!(
        text(labels::of_orphaned_data("n1")),
        "longhorn.io/component=orphan longhorn.io/managed-by=longhorn-manager longhorn.io/orphan-type=replica longhornnode=n1"
    );
    let orphan = |release| text(labels::of_orphaned_instance(release, &InstanceType::Engine, "n1", "im", "vol-e-0"));
    assert_eq!(
        orphan(Release::V1_9_0_DEV_00886872C),
        "longhorn.io/component=orphan longhorn.io/managed-by=longhorn-manager longhorn.io/orphan-type=engine-instance \
         longhornengine=vol-e-0 longhornnode=n1"
    );
    assert!(orphan(Release::V1_9_2).contains(" longhorninstancemanager=im "));
}
