//! **Damage**: managers of the new release never begin their work, so nothing of Longhorn is managed any more; or backups belong to no target, so no
//! controller looks at them.
//! **Promise**: Longhorn's upgrade: each manager waits up to 600 s for those of the other release, then one of them changes the resources, sets
//! `current-longhorn-version`, and all begin (longhorn-manager, upgrade/upgrade.go); from v1.8.0 on every Backup has a target (label and status).
//! **Bound**: the client waits 15 min for the upgrade that it asks for, which are the 600 s, the pods' grace and a margin; then the settle phase.

use corral_world::{Oracle, Stage};
use longhorn_api::{Build, Release};

use super::pods::restarts;

/// A manager's container may be started again once: its process was in the way of a fault.
const RESTARTS_ALLOWED: i64 = 1;

/// The release that the DaemonSet's image says is the one that works.
pub struct UpgradesEnd;

impl Oracle for UpgradesEnd {
    fn name(&self) -> &'static str {
        "upgrades-end"
    }

    fn about(&self) -> &'static str {
        "managers of the new release begin to work, and go on"
    }

    fn judge(&self, stage: &Stage) {
        let Some(wanted) = wanted_release(stage) else { return };
        let version = version(stage);
        if version != wanted.name() {
            let signature = "current-longhorn-version stays behind the managers' release";
            let detail = format!("the managers are of {wanted}, current-longhorn-version is {version}");
            stage.violation_as(self.name(), signature, &detail);
        }
        let store = stage.cluster().store();
        for pod in store.objects("pods").filter(|pod| pod.value["metadata"]["labels"]["app"] == "longhorn-manager") {
            let restarts = restarts(&pod.value);
            if restarts > RESTARTS_ALLOWED {
                let signature = "a manager ends with an error again and again";
                let detail = format!("{} was started again {restarts} times", pod.name());
                stage.violation_as(self.name(), signature, &detail);
            }
        }
    }
}

/// After an upgrade that ended, every Backup says whose it is.
pub struct BackupsBelongToATarget;

impl Oracle for BackupsBelongToATarget {
    fn name(&self) -> &'static str {
        "backups-belong-to-a-target"
    }

    fn about(&self) -> &'static str {
        "after an upgrade every Backup names its target"
    }

    fn judge(&self, stage: &Stage) {
        // An upgrade that did not end is another oracle's matter.
        let Some(release) = wanted_release(stage).filter(|release| version(stage) == release.name()) else { return };
        if !release.at_least(Release::V1_8_0_RC1) {
            return;
        }
        for backup in stage.cluster().store().objects("backups.longhorn.io") {
            let label = &backup.value["metadata"]["labels"]["backup-target"];
            let status = &backup.value["status"]["backupTargetName"];
            for (what, value) in [("label backup-target", label), ("status.backupTargetName", status)] {
                if value.as_str().unwrap_or_default().is_empty() {
                    let detail = format!("Backup {} is without its {what}", backup.name());
                    stage.violation_as(self.name(), &format!("Backup without its {what}"), &detail);
                }
            }
        }
    }
}

/// The release of the managers' image.
fn wanted_release(stage: &Stage) -> Option<Release> {
    let store = stage.cluster().store();
    let set = store.objects("daemonsets.apps").find(|set| set.name() == "longhorn-manager")?;
    let image = set.value["spec"]["template"]["spec"]["containers"][0]["image"].as_str()?;
    let build: Build = Build::parse_tag(image.rsplit(':').next()?).ok()?;
    Some(build.release())
}

/// What `current-longhorn-version` says.
fn version(stage: &Stage) -> String {
    let store = stage.cluster().store();
    let setting = store.objects("settings.longhorn.io").find(|setting| setting.name() == "current-longhorn-version");
    setting.and_then(|setting| setting.value["value"].as_str().map(str::to_owned)).unwrap_or_default()
}
