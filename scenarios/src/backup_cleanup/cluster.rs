//! The ground of `backup-cleanup`: machines, latencies, images, the store.

use std::time::Duration;

use corral_cluster::garbage_collector::GarbageCollectorOptions;
use corral_cluster::{ClusterSpec, WorkerSpec};
use corral_core::{Latency, world};
use corral_net::{LinkProfile, Net};
use corral_object_store::BucketStore;
use corral_world::{Arm, Ground, Plan};

use super::plan::{duration_of, read};
use crate::clients::pod::{self, ClientWork};
use crate::{images, store};

/// The control plane of the golden API traces, in percent of the idle one that the cluster's defaults were measured on: it shared two cores with
/// Longhorn, and answered a status update in 7.7 ms (median of the flow `backup5`) where the idle one takes 3.
const TRACED_PERCENT: u32 = 250;
/// One way between two machines of one rack.
const BETWEEN_MACHINES: Latency = Latency::heavy(Duration::from_micros(200), Duration::from_micros(80));

/// Everything that the plan plays on. The client's work is found again by the play as an extension of the run's world.
pub fn ground(plan: &Plan, arm: &Arm) -> Ground {
    let (table, _) = read(plan).expect("checked before the run");
    let set = |key: &str| duration_of(arm, key).expect("checked before the run");
    let world = world();
    let net = Net::of(&world);
    net.set_default_link(LinkProfile::of(BETWEEN_MACHINES.scaled(table.network_percent, 100)));
    let buckets = BucketStore::new();
    buckets.create_bucket(store::BUCKET);
    let work = world.extension(ClientWork::default);
    let images = images::longhorn(&world, set("lock-wait"))
        .with(store::REPOSITORY, store::image(buckets.clone()))
        .with(pod::REPOSITORY, work.image());
    let mut spec = ClusterSpec::workers(0).images(images);
    spec.workers = table.workers().iter().map(|name| WorkerSpec::named(name)).collect();
    spec.api_server.webhook_scheme = corral_apiserver::WebhookScheme::Http;
    spec.storage = spec.storage.scaled(TRACED_PERCENT).scaled(table.api_percent);
    if set("collector-delay").is_some() {
        spec.controller_manager.garbage_collector =
            GarbageCollectorOptions { queries_per_second: 1e6, burst: 1_000_000, ..GarbageCollectorOptions::default() };
    }
    Ground { cluster: spec, stores: vec![buckets] }
}
