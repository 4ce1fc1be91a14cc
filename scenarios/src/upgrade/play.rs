//! The play: install one release and a store, then do what the plan says.

use std::sync::Arc;

use corral_kube_client::ListParams;
use corral_world::Stage;
use host::time::sleep;
use longhorn_api::{Backup, Build, Setting};

use super::UNREAD;
use super::plan::{Action, builds, read};
use crate::clients::pod;
use crate::fill::fill_store;
use crate::install::{apply, create, install};
use crate::player::{self, NotInTime, Player, outside};
use crate::store;

/// The play: everything is installed from outside, the rest is the client's, in a pod of its own.
pub async fn play(stage: Arc<Stage>) {
    let (from, to) = builds(&stage.arm).expect("checked before the run");
    let (table, actions) = read(&stage.plan).expect("checked before the run");
    let outside = outside(&stage);
    for object in store::manifests() {
        create(&outside, object).await.expect("the store's objects are accepted");
    }
    install(&outside, &from).await.expect("Longhorn's objects are accepted");
    create(&outside, store::secret()).await.expect("the store's secret is accepted");
    player::play(stage, pod::manifest("tolerant"), move |player| async move {
        player.wait_until_ready(&table.workers()).await;
        let user = User { player, from, to };
        let mut actions = actions.into_iter().peekable();
        while let Some(Action::FillStore { volume, backups }) =
            actions.next_if(|action| matches!(action, Action::FillStore { .. }))
        {
            fill_store(&user.player.stage, &volume, backups, 1).await;
        }
        user.player.stage.begin_workload();
        for action in actions {
            if user.act(action).await.is_err() {
                break;
            }
        }
    })
    .await;
}

struct User {
    player: Player,
    from: Build,
    to: Build,
}

impl User {
    async fn act(&self, action: Action) -> Result<(), NotInTime> {
        match action {
            Action::FillStore { .. } => unreachable!("checked before the run: it comes first"),
            Action::SetBackupTarget {} => {
                let release = self.from.release();
                let set = || async { store::set_backup_target(&self.player.client, release).await.is_ok() };
                self.player.wait_until("the backup target is set", set).await
            }
            Action::AwaitBackups { count } => {
                let look = || async { self.backups().await.is_some_and(|backups| backups.len() >= count) };
                self.player.wait_until(&format!("{count} Backups are there"), look).await
            }
            Action::Upgrade {} => self.upgrade().await,
            Action::Wait { lasts } => {
                sleep(lasts).await;
                Ok(())
            }
        }
    }

    async fn backups(&self) -> Option<Vec<Backup>> {
        self.player.api::<Backup>().list(&ListParams::default()).await.ok().map(|list| list.items)
    }

    async fn upgrade(&self) -> Result<(), NotInTime> {
        let (player, to) = (&self.player, self.to.release());
        let backups = self.backups().await.unwrap_or_default();
        let unread = backups.iter().filter(|backup| backup.status.volume_name.is_empty()).count();
        player.stage.step(UNREAD, &unread.to_string());
        let applied = || async { apply(&player.client, &self.to).await.is_ok() };
        player.wait_until(&format!("the manifest of {to} is applied"), applied).await?;
        let settings = player.api::<Setting>();
        let ended =
            || async { settings.get("current-longhorn-version").await.is_ok_and(|setting| setting.value == to.name()) };
        player.wait_until("the upgrade has ended", ended).await
    }
}
