//! The play: install Longhorn and a store, then do what the plan says.

use std::sync::Arc;
use std::time::Duration;

use corral_cluster::{ClusterSpec, Image, Images};
use corral_kube_client::{Api, Client, ClientOptions, ListParams};
use corral_object_store::BucketStore;
use corral_world::{Arm, Plan, Stage};
use host::process::program;
use host::time::sleep;
use longhorn_api::{Backup, BackupTarget, Build, ClientBuild, DEFAULT_NAMESPACE};
use longhorn_backupstore::{Backupstore, Behaviour, Context, Credentials};
use serde_json::json;

use super::plan::{Action, ClusterTable, duration_of, read};
use super::teardown::{Failed, Teardown};
use crate::catalogue::selection;
use crate::clients::LonghornClient;
use crate::install::{create, install, repository};
use crate::{oracles, store};

/// Longest time until an installed Longhorn answers, and until what the store holds has its resources.
const READY_LIMIT: Duration = Duration::from_secs(600);

fn builds(arm: &Arm) -> (Build, ClientBuild) {
    let selection = selection(arm).expect("checked before the run");
    (selection.longhorn().expect("checked"), selection.client().expect("checked"))
}

/// The cluster that the plan asks for, with the images of Longhorn and of the store.
pub fn cluster(plan: &Plan, arm: &Arm) -> ClusterSpec {
    let (table, _) = read(plan).expect("checked before the run");
    let zero = |key: &str| duration_of(arm, key).ok().flatten().is_some();
    let lock_wait = duration_of(arm, "lock-wait").ok().flatten();
    todo_cluster(&table, lock_wait, zero("collector-delay"), zero("client-delay"))
}
