//! What the client does with backups of volumes and of the system.

use std::time::Duration;

use corral_kube_client::{DeleteParams, ListParams};
use host::time::sleep;
use longhorn_api::kinds::backup::BackupState;
use longhorn_api::kinds::system_backup::SystemBackupState;
use longhorn_api::kinds::system_restore::SystemRestoreState;
use longhorn_api::{Backup, BackupVolume, DEFAULT_NAMESPACE, Snapshot, SystemBackup, SystemRestore, labels};
use serde_json::json;

use super::teardown::{Interpreter, Teardown};
use super::{Failed, LOOK_INTERVAL, User};
use crate::clients::LonghornClient;
use crate::store;

/// Longest time until a system backup is ready: the parts of it take seconds, and a minute more while the store is slow.
const SYSTEM_BACKUP_LIMIT: Duration = Duration::from_secs(300);

impl User {
    pub(super) async fn set_backup_target(&self, poll: Duration) -> Result<(), Failed> {
        let set = || async { store::set_backup_target(&self.client, self.build.release(), poll).await.is_ok() };
        self.wait_until("the backup target is set", set).await
    }

    /// Points Longhorn at the store as a user of this release does, and asks for synchronisations until everything has its resource.
    pub(super) async fn pull_backups(&self) -> Result<(), Failed> {
        self.set_backup_target(store::POLL_INTERVAL).await?;
        let wanted = store::contents(&self.stage.stores()[0]);
        let (backups, volumes) = (self.api::<Backup>(), self.api::<BackupVolume>());
        let pulled = || async {
            let _ = store::synchronise(&self.client).await;
            let pulled = backups.list(&ListParams::default()).await.map_or(0, |list| {
                list.items.iter().filter(|backup| backup.status.state.as_str() == "Completed").count()
            });
            let known = volumes.list(&ListParams::default()).await.map_or(0, |list| list.items.len());
            pulled == wanted.backups && known == wanted.volumes
        };
        self.wait_until("all backups are pulled", pulled).await
    }

    pub(super) async fn await_backups(&self, count: usize) -> Result<(), Failed> {
        let backups = self.api::<Backup>();
        let look = || async { backups.list(&ListParams::default()).await.is_ok_and(|list| list.items.len() >= count) };
        self.wait_until(&format!("{count} Backups are there"), look).await
    }

    /// Takes a snapshot and backs it up. That the backup fails is an answer too: faults may deserve it.
    pub(super) async fn back_up_volume(&mut self, name: &str) -> Result<(), Failed> {
        let known = self.volume(name);
        known.asked_backups += 1;
        let (contents, number) = (known.contents.clone(), known.asked_backups);
        let mut random = self.stage.stream(&format!("backup/{name}/{number}"));
        let snapshot_name = format!("snapshot-{}", random.hex(16));
        let backup_name = longhorn_api::names::backup(&random.hex(16));
        let mut snapshot = Snapshot::default();
        snapshot.metadata.name = Some(snapshot_name.clone());
        snapshot.spec.volume = name.to_owned();
        snapshot.spec.create_snapshot = true;
        let snapshots = self.api::<Snapshot>();
        let made = || async {
            let found = match snapshots.create(&snapshot).await {
                Ok(made) => Some(made),
                Err(_) => snapshots.get(&snapshot_name).await.ok(),
            };
            found.is_some_and(|found| found.status.ready_to_use)
        };
        self.wait_until(&format!("snapshot {snapshot_name} of {name} can be used"), made).await?;
        let mut backup = Backup::default();
        backup.metadata.name = Some(backup_name.clone());
        backup.metadata.labels = Some([(labels::BACKUP_VOLUME.to_owned(), name.to_owned())].into());
        backup.spec.snapshot_name = snapshot_name;
        let backups = self.api::<Backup>();
        let ended = || async {
            let found = match backups.create(&backup).await {
                Ok(made) => Some(made),
                Err(_) => backups.get(&backup_name).await.ok(),
            };
            let state = found?.status.state;
            matches!(state, BackupState::Completed | BackupState::Error).then_some(state)
        };
        let state = self.wait_for(&format!("backup {backup_name} of {name} has ended"), ended).await?;
        self.stage.step(&format!("backup {backup_name} of {name}"), state.as_str());
        if state == BackupState::Completed {
            self.volume(name).backups.push((backup_name, contents));
        }
        Ok(())
    }

    /// Deletes all backups but the last, in a while and beside what comes next.
    pub(super) fn prune_backups(&mut self, name: &str, after: Duration) {
        let known = &mut self.volume(name).backups;
        let old: Vec<String> = known.drain(..known.len().saturating_sub(1)).map(|(backup, _)| backup).collect();
        let (stage, backups) = (self.stage.clone(), self.api::<Backup>());
        host::spawn(async move {
            sleep(after).await;
            for backup in old {
                // Tried again until it is accepted: what the store is to lose must be clear.
                while let Err(error) = backups.delete(&backup, &DeleteParams::default()).await {
                    stage.step(&format!("backup {backup} is to be deleted"), &error.to_string());
                    if error.is_not_found() {
                        break;
                    }
                    sleep(LOOK_INTERVAL).await;
                }
            }
        });
    }

    /// Makes a volume of the last completed backup of another one, if there is any.
    pub(super) async fn restore_volume(&mut self, name: &str, from: &str) -> Result<(), Failed> {
        let Some((backup_name, contents)) = self.volume(from).backups.last().cloned() else {
            self.stage.step(&format!("restore {name}"), &format!("{from} has no completed backup"));
            return Ok(());
        };
        let backups = self.api::<Backup>();
        let url = || async {
            let url = backups.get(&backup_name).await.ok()?.status.url;
            (!url.is_empty()).then_some(url)
        };
        let url = self.wait_for(&format!("backup {backup_name} has its URL"), url).await?;
        self.create_volume_of(name, json!({ "numberOfReplicas": 1, "fromBackup": url })).await?;
        let volume = self.volume(name);
        volume.contents = contents;
        volume.is_another = true;
        self.check_volume(name).await
    }

    pub(super) fn teardown(&self) -> Teardown {
        Teardown {
            stage: self.stage.clone(),
            longhorn: LonghornClient::new(&format!("longhorn-backend.{DEFAULT_NAMESPACE}.svc:9500")),
            backups: self.api(),
            build: self.own.clone(),
            interpreter: Interpreter::new(self.stage.stream("client"), self.is_instant),
        }
    }

    pub(super) async fn back_up_system(&self, name: &str) -> Result<(), Failed> {
        let backups = self.api::<SystemBackup>();
        let mut wanted = SystemBackup::default();
        wanted.metadata.name = Some(name.to_owned());
        let created = || async { backups.create(&wanted).await.is_ok() || backups.get(name).await.is_ok() };
        self.wait_until(&format!("system backup {name} is asked for"), created).await?;
        let done = || async {
            let backup = backups.get(name).await.ok();
            backup.filter(|backup| backup.status.state == SystemBackupState::Ready).map(drop)
        };
        self.wait_within(SYSTEM_BACKUP_LIMIT, &format!("system backup {name} is ready"), done).await
    }

    pub(super) async fn restore_system(&self, name: &str) -> Result<(), Failed> {
        let restores = self.api::<SystemRestore>();
        let restore = format!("restore-{name}");
        let mut wanted = SystemRestore::default();
        wanted.metadata.name = Some(restore.clone());
        wanted.spec.system_backup = name.to_owned();
        let created = || async { restores.create(&wanted).await.is_ok() || restores.get(&restore).await.is_ok() };
        self.wait_until(&format!("system restore of {name} is asked for"), created).await?;
        let done = || async {
            restores.get(&restore).await.is_ok_and(|restore| restore.status.state == SystemRestoreState::Completed)
        };
        self.wait_until(&format!("system restore of {name} is completed"), done).await
    }
}
