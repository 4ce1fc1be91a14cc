//! Hazards: dangerous, but no damage yet.

use corral_kube_client::{Api, Client, DeleteParams, reads};
use corral_scenarios::oracles::{AbsenceIsProved, OutcomesAreStored};
use corral_world::Oracle;
use longhorn_api::{Backup, DEFAULT_NAMESPACE};

use super::{hazards, make_backup};

/// A synchronisation lists the backups of a volume, in so many seconds, and forgets one that it did not see.
async fn synchronise(client: &Client, listing: u64) {
    let backups: Api<Backup> = Api::namespaced(client, DEFAULT_NAMESPACE);
    reads::scope("longhorn-backup-volume vol-1-01234567", async {
        let taken = reads::take();
        let method = "exec longhorn backup ls --volume vol-1";
        reads::record_call(&taken, method, "s3://", "ok", std::time::Duration::from_secs(listing));
        backups.delete("backup-0123456789abcdef", &DeleteParams::default()).await.unwrap();
    })
    .await;
}

#[test]
fn a_deletion_on_the_ground_of_an_older_listing_is_a_hazard() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::<AbsenceIsProved>::default();
    let proved = hazards(oracle, |_stage, client| {
        Box::pin(async move {
            make_backup(&client, "Completed", "").await;
            host::time::sleep(std::time::Duration::from_secs(5)).await;
            synchronise(&client, 1).await;
        })
    });
    assert!(proved.is_empty(), "{proved:?}");
    let old = hazards(oracle, |_stage, client| {
        Box::pin(async move {
            make_backup(&client, "Completed", "").await;
            synchronise(&client, 1).await;
        })
    });
    assert_eq!(old, [("absence-not-proved".to_owned(), 1)]);
}

/// A reconcile deletes something remote and stores that its backup failed, with or without a conflict.
async fn act_and_store(client: &Client, conflict: bool) {
    let backups = make_backup(client, "Completed", "").await;
    reads::scope("longhorn-backup backup-0123456789abcdef", async {
        let mut backup = backups.get("backup-0123456789abcdef").await.unwrap();
        reads::record_call(&reads::take(), "exec longhorn backup rm", "s3://", "ok", std::time::Duration::ZERO);
        if conflict {
            backup.metadata.resource_version = Some("1".to_owned());
        }
        backup.status.state = "Error".into();
        assert_eq!(backups.update_status(&backup).await.is_err(), conflict);
    })
    .await;
}

#[test]
fn an_outcome_that_could_not_be_stored_is_a_hazard() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::<OutcomesAreStored>::default();
    let stored = hazards(oracle, |_stage, client| Box::pin(async move { act_and_store(&client, false).await }));
    assert!(stored.is_empty(), "{stored:?}");
    let lost = hazards(oracle, |_stage, client| Box::pin(async move { act_and_store(&client, true).await }));
    assert_eq!(lost, [("acted-before-stored".to_owned(), 1)]);
}
