//! Snapshots of a replica: made, deleted, reverted to, purged (`SnapshotCreate` and its like in `pkg/spdk/replica.go`).

use std::collections::BTreeMap;
use std::sync::Arc;

use tonic::Status;

use super::replica::{Replica, SNAPSHOT_TIMESTAMP, USER_CREATED, qualified_name, snapshot_lvol};
use super::target::Target;
use crate::process::state;
use crate::status::plain;

impl Replica {
    fn must_be_usable(&self, what: &str) -> Result<(), Status> {
        match self.state {
            state::STOPPED | state::RUNNING => Ok(()),
            other => Err(plain(format!("invalid state {other} for replica {} snapshot {what}", self.name))),
        }
    }

    /// Reads again what the target has of it; a failure puts it in error.
    async fn refresh(&mut self, target: &Target, result: Result<(), String>) -> Result<(), Status> {
        let result = match result {
            Ok(()) => self.reload(target).await,
            Err(error) => Err(error),
        };
        result.map_err(|error| {
            self.state = state::ERROR;
            self.error.clone_from(&error);
            plain(error)
        })
    }

    /// Makes a snapshot of what is there now.
    pub async fn create_snapshot(
        &mut self,
        target: &Target,
        name: &str,
        user_created: bool,
        timestamp: String,
    ) -> Result<(), Status> {
        self.must_be_usable("creation")?;
        let lvol = snapshot_lvol(&self.name, name);
        if self.snapshots.contains_key(&lvol) {
            return Err(plain(format!("snapshot {name}({lvol}) already exists in replica {}", self.name)));
        }
        let attributes = BTreeMap::from([
            (USER_CREATED.to_owned(), user_created.to_string()),
            (SNAPSHOT_TIMESTAMP.to_owned(), timestamp),
        ]);
        let made = match &self.head {
            None => Err("nil head for replica snapshot creation".to_owned()),
            Some(head) => {
                let made = target.snapshot_lvol(&head.uuid, &lvol, attributes).await;
                made.map_err(|error| error.to_string())
            }
        };
        self.refresh(target, made).await
    }

    /// Deletes a snapshot; one that is not there is deleted already.
    pub async fn delete_snapshot(&mut self, target: &Target, name: &str) -> Result<(), Status> {
        self.must_be_usable("deletion")?;
        let lvol = snapshot_lvol(&self.name, name);
        let Some(snapshot) = self.snapshots.get(&lvol) else { return Ok(()) };
        if snapshot.clones.len() > 1 {
            let count = snapshot.clones.len();
            return Err(plain(format!("cannot delete snapshot {name}({lvol}) since it has {count} children")));
        }
        let deleted = target.delete_lvol(&snapshot.uuid).await.map_err(|error| error.to_string());
        self.refresh(target, deleted).await
    }

    /// Throws away what was written since a snapshot. An exposed volume is exposed anew.
    pub async fn revert(&mut self, target: &Arc<Target>, name: &str) -> Result<(), Status> {
        self.must_be_usable("revert")?;
        let lvol = snapshot_lvol(&self.name, name);
        let Some(snapshot) = self.snapshots.get(&lvol) else {
            return Err(plain(format!("cannot revert to a non-existing snapshot {name}({lvol})")));
        };
        let snapshot = snapshot.uuid.clone();
        let reverted = async {
            target.stop_exposing(&qualified_name(&self.name)).await;
            if let Ok(head) = target.lvol(&self.lvs_uuid, &self.name).await {
                target.delete_lvol(&head.uuid).await?;
            }
            target.clone_lvol(&snapshot, &self.name).await
        };
        let reverted = reverted.await.map_err(|error| error.to_string());
        self.refresh(target, reverted).await?;
        if let (true, Some(head)) = (self.is_exposed(), self.head.clone()) {
            let exposed = self.expose(target, &head, host::net::local_ip()).await;
            self.refresh(target, exposed).await?;
        }
        Ok(())
    }

    /// Deletes the snapshots that no user made, but not the one behind the newest data, and none with several children.
    pub async fn purge(&mut self, target: &Target) -> Result<(), Status> {
        let purged = async {
            loop {
                self.reload(target).await?;
                let superfluous = self.snapshots.values().find(|snapshot| {
                    let by_user = snapshot.attributes.get(USER_CREATED).is_some_and(|by_user| by_user == "true");
                    !by_user && snapshot.clones.len() <= 1 && !snapshot.clones.contains(&self.name)
                });
                let Some(superfluous) = superfluous else { return Ok(()) };
                target.delete_lvol(&superfluous.uuid).await.map_err(|error| error.to_string())?;
            }
        };
        let purged: Result<(), String> = purged.await;
        self.refresh(target, purged).await
    }
}
