//! A store that lists nothing for a moment, as a mount that is gone does: longhorn#9530.

use std::time::Duration;

use crate::common::{Longhorn, Patience, fill, play};
use corral_object_store::{Effect, Fault, KeyPattern, OperationKind};
use longhorn_api::{Backup, BackupVolume};

const BACKUPS: usize = 3;

/// Lets one listing of the volumes be empty, and waits until the cluster has followed it. Gives how many backups are left in the store.
async fn list_nothing_once(longhorn: &Longhorn) -> usize {
    let before: Vec<BackupVolume> = longhorn.list().await;
    let uid = &before[0].metadata.uid;
    longhorn.buckets.add_fault(Fault {
        operations: vec![OperationKind::List],
        key: KeyPattern::new("*/volumes/*"),
        at_most: Some(1),
        ..Fault::new(Effect::EmptyList)
    });
    longhorn.request_sync().await;
    let patience = Patience::new("the volume's resource is gone", 60);
    while longhorn.list::<BackupVolume>().await.iter().any(|volume| volume.metadata.uid == *uid) {
        patience.wait().await;
    }
    host::time::sleep(Duration::from_secs(5)).await;
    longhorn.stored_backups()
}

#[test]
fn an_empty_listing_takes_resources_only() {
    for tag in ["v1.7.2", "v1.8.0"] {
        play(1, async move {
            let longhorn = Longhorn::boot(tag).await;
            fill::backups(&longhorn.build, "bv", BACKUPS).await;
            longhorn.pull(BACKUPS).await;
            host::time::sleep(Duration::from_secs(5)).await;
            assert_eq!(list_nothing_once(&longhorn).await, BACKUPS, "{tag}");
            assert!(longhorn.list::<Backup>().await.is_empty(), "{tag}: the backups went with their volume");
            longhorn.request_sync().await;
            let patience = Patience::new("everything is pulled again", 60);
            while !longhorn.has_pulled(BACKUPS).await {
                patience.wait().await;
            }
        });
    }
}

#[test]
fn before_its_cure_an_empty_listing_emptied_the_store() {
    play(1, async {
        let longhorn = Longhorn::boot("v1.7.2-defect.9530").await;
        fill::backups(&longhorn.build, "bv", BACKUPS).await;
        longhorn.pull(BACKUPS).await;
        host::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(list_nothing_once(&longhorn).await, 0);
    });
}
