//! The ground of `upgrade`: machines, latencies, images of every release, the store.

use std::time::Duration;

use corral_cluster::{ClusterSpec, WorkerSpec};
use corral_core::{Latency, world};
use corral_net::{LinkProfile, Net};
use corral_object_store::BucketStore;
use corral_world::{Ground, Plan};

use super::plan::read;
use crate::clients::pod::{self, ClientWork};
use crate::{images, store};

/// One way between two machines of one rack.
const BETWEEN_MACHINES: Latency = Latency::heavy(Duration::from_micros(200), Duration::from_micros(80));

/// Everything that the plan plays on.
pub fn ground(plan: &Plan) -> Ground {
    let (table, _) = read(plan).expect("checked before the run");
    let world = world();
    Net::of(&world).set_default_link(LinkProfile::of(BETWEEN_MACHINES.scaled(table.network_percent, 100)));
    let buckets = BucketStore::new();
    buckets.create_bucket(store::BUCKET);
    let work = world.extension(ClientWork::default);
    let images = images::longhorn(&world, None)
        .with(store::REPOSITORY, store::image(buckets.clone()))
        .with(pod::REPOSITORY, work.image());
    let mut spec = ClusterSpec::workers(0).images(images);
    spec.workers = table.workers().iter().map(|name| WorkerSpec::named(name)).collect();
    spec.api_server.webhook_scheme = corral_apiserver::WebhookScheme::Http;
    spec.storage = spec.storage.scaled(table.api_percent);
    Ground { cluster: spec, stores: vec![buckets] }
}
