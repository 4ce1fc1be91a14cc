//! Each oracle fires when its damage is really there: a deliberately broken stand-in does it, in a cluster without Longhorn.

mod backups;
mod clients;
mod cluster;
mod hazards;
mod replicas;

use std::sync::Arc;

use corral_cluster::ClusterSpec;
use corral_kube_client::{Api, Client, ClientOptions};
use corral_object_store::BucketStore;
use corral_scenarios::install::{create, manifest};
use corral_world::{Arm, Ground, Oracle, Plan, Play, RunOptions, Scenario, Stage, Violation, run};
use longhorn_api::{Backup, Build, DEFAULT_NAMESPACE, Release, Setting, crds};
use serde_json::json;

/// A scenario that does one broken thing.
struct Canary {
    oracle: fn() -> Box<dyn Oracle>,
    play: fn(Arc<Stage>, Client) -> Play,
}

impl Scenario for Canary {
    fn name(&self) -> &'static str {
        "canary"
    }
    fn about(&self) -> &'static str {
        "does one broken thing"
    }
    fn expand(&self, _seed: u64, _arm: &Arm) -> Result<Plan, String> {
        Ok(Plan::default())
    }
    fn check(&self, _plan: &Plan) -> Result<(), String> {
        Ok(())
    }
    fn ground(&self, _plan: &Plan, _arm: &Arm) -> Ground {
        Ground { cluster: ClusterSpec::workers(0), stores: vec![BucketStore::new()] }
    }
    fn oracles(&self) -> Vec<Box<dyn Oracle>> {
        vec![(self.oracle)()]
    }
    fn play(&self, stage: Arc<Stage>) -> Play {
        let play = self.play;
        Box::pin(async move {
            let client = Client::new(&stage.cluster().api_address(), ClientOptions::unlimited("canary")).unwrap();
            create(
                &client,
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": DEFAULT_NAMESPACE } }),
            )
            .await
            .unwrap();
            for definition in crds::all(Release::V1_8_0) {
                create(&client, serde_json::to_value(definition).unwrap()).await.unwrap();
            }
            host::time::sleep(std::time::Duration::from_secs(5)).await;
            play(stage, client).await;
        })
    }
}

fn violations(oracle: fn() -> Box<dyn Oracle>, play: fn(Arc<Stage>, Client) -> Play) -> Vec<Violation> {
    run(Arc::new(Canary { oracle, play }), &Arm::default(), 1, None, RunOptions::default()).unwrap().violations
}

/// The signatures of what the oracle found, where nothing else is found.
fn found(oracle: fn() -> Box<dyn Oracle>, play: fn(Arc<Stage>, Client) -> Play) -> Vec<String> {
    let (name, found) = (oracle().name(), violations(oracle, play));
    assert!(found.iter().all(|violation| violation.oracle == name), "{found:?}");
    found.into_iter().map(|violation| violation.signature).collect()
}

fn nothing(_stage: Arc<Stage>, _client: Client) -> Play {
    Box::pin(async {})
}

async fn make_backup(client: &Client, state: &str, snapshot: &str) -> Api<Backup> {
    let backups: Api<Backup> = Api::namespaced(client, DEFAULT_NAMESPACE);
    let mut backup = Backup::default();
    backup.metadata.name = Some("backup-0123456789abcdef".into());
    backup.metadata.finalizers = Some(vec!["longhorn.io".into()]);
    backup.metadata.labels = Some([("backup-volume".to_owned(), "vol-1".to_owned())].into());
    backup.spec.snapshot_name = snapshot.into();
    let mut made = backups.create(&backup).await.unwrap();
    made.status.state = state.into();
    backups.update_status(&made).await.unwrap();
    backups
}

/// How often each hazard was seen.
fn hazards(oracle: fn() -> Box<dyn Oracle>, play: fn(Arc<Stage>, Client) -> Play) -> Vec<(String, u64)> {
    let canary = Arc::new(Canary { oracle, play });
    let hazards = run(canary, &Arm::default(), 1, None, RunOptions::default()).unwrap().hazards;
    hazards.into_iter().collect()
}

/// Managers of v1.8.0 are to run, and Longhorn says that it is of this version.
async fn make_upgrade(client: &Client, version: &str) {
    let set = manifest(&Build::published(Release::V1_8_0)).pop().expect("the managers come last");
    create(client, set).await.unwrap();
    let mut setting = Setting { value: version.to_owned(), ..Setting::default() };
    setting.metadata.name = Some("current-longhorn-version".into());
    Api::namespaced(client, DEFAULT_NAMESPACE).create(&setting).await.unwrap();
}
