//! What a plan plays on: machines, latencies, images, and a store if there is something to keep.

use std::time::Duration;

use corral_cluster::garbage_collector::GarbageCollectorOptions;
use corral_cluster::{ClusterSpec, WorkerSpec};
use corral_core::{Latency, world};
use corral_net::{LinkProfile, Net};
use corral_object_store::BucketStore;
use corral_world::{Arm, Ground};

use crate::catalogue::selection;
use crate::clients::pod::{self, ClientWork};
use crate::steps::Action;
use crate::tables::{ClusterTable, LOCK_WAIT, RESYNC, is_instant, length};
use crate::{file_server, images, store};

/// The control plane of the golden API traces, in percent of the idle one that the cluster's defaults were measured on: it shared two cores with
/// Longhorn, and answered a status update in 7.7 ms (median of the flow `backup5`) where the idle one takes 3.
const TRACED_PERCENT: u32 = 250;
/// One way between two machines of one rack.
const BETWEEN_MACHINES: Latency = Latency::heavy(Duration::from_micros(200), Duration::from_micros(80));
/// Memory in huge pages that the second data engine's setting asks for, in MiB.
const HUGE_PAGES_MIB: u32 = 2048;

/// Everything that the plan plays on. The client's work is found again by the play as an extension of the run's world.
pub fn ground(cluster: &ClusterTable, actions: &[Action], arm: &Arm) -> Ground {
    let world = world();
    Net::of(&world).set_default_link(LinkProfile::of(BETWEEN_MACHINES.scaled(cluster.network_percent, 100)));
    let said = |key| length(arm, key).expect("checked before the run");
    let silenced = selection(arm).expect("checked before the run").silenced;
    let work = world.extension(ClientWork::default);
    let mut images =
        images::longhorn(&world, &silenced, said(LOCK_WAIT.key), said(RESYNC.key)).with(pod::REPOSITORY, work.image());
    let mut stores = Vec::new();
    if actions.iter().any(Action::needs_store) {
        let buckets = BucketStore::new();
        buckets.create_bucket(store::BUCKET);
        images = images.with(store::REPOSITORY, store::image(buckets.clone()));
        stores.push(buckets);
    }
    if actions.iter().any(Action::needs_files) {
        images = images.with(file_server::REPOSITORY, file_server::image());
    }
    let mut spec = ClusterSpec::workers(0).images(images);
    let has_block_disks = actions.contains(&Action::AddBlockDisks {});
    let huge_pages = if has_block_disks { HUGE_PAGES_MIB } else { 0 };
    spec.workers = cluster.workers().iter().map(|name| WorkerSpec::named(name).huge_pages(huge_pages)).collect();
    spec.api_server.webhook_scheme = corral_apiserver::WebhookScheme::Http;
    spec.storage = spec.storage.scaled(TRACED_PERCENT).scaled(cluster.api_percent as u32);
    if is_instant(arm, "collector-delay").expect("checked before the run") {
        spec.controller_manager.garbage_collector =
            GarbageCollectorOptions { queries_per_second: 1e6, burst: 1_000_000, ..GarbageCollectorOptions::default() };
    }
    Ground { cluster: spec, stores }
}
