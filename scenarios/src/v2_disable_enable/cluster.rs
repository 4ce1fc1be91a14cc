//! The ground of `v2-disable-enable`: machines with huge pages, latencies, images.

use std::time::Duration;

use corral_cluster::{ClusterSpec, WorkerSpec};
use corral_core::{Latency, world};
use corral_net::{LinkProfile, Net};
use corral_world::{Arm, Ground, Plan};

use super::plan::read;
use crate::clients::pod::{self, ClientWork};
use crate::images;

/// Memory in huge pages that Longhorn's setting asks for, in MiB.
const HUGE_PAGES_MIB: u32 = 2048;
/// One way between two machines of one rack.
const BETWEEN_MACHINES: Latency = Latency::heavy(Duration::from_micros(200), Duration::from_micros(80));

/// Everything that the plan plays on.
pub fn ground(plan: &Plan, _arm: &Arm) -> Ground {
    let (table, _) = read(plan).expect("checked before the run");
    let world = world();
    Net::of(&world).set_default_link(LinkProfile::of(BETWEEN_MACHINES.scaled(table.network_percent, 100)));
    let work = world.extension(ClientWork::default);
    let mut spec = ClusterSpec::workers(0).images(images::longhorn(&world, None).with(pod::REPOSITORY, work.image()));
    spec.workers = table.workers().iter().map(|name| WorkerSpec::named(name).huge_pages(HUGE_PAGES_MIB)).collect();
    spec.api_server.webhook_scheme = corral_apiserver::WebhookScheme::Http;
    spec.storage = spec.storage.scaled(table.api_percent);
    Ground { cluster: spec, stores: Vec::new() }
}
