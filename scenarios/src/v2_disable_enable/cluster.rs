//! The ground of `v2-disable-enable`: machines with huge pages, latencies, images.

use corral_cluster::WorkerSpec;
use corral_core::world;
use corral_world::{Arm, Ground, Plan};

use super::plan::read;
use crate::clients::pod::{self, ClientWork};
use crate::images;

/// Memory in huge pages that Longhorn's setting asks for, in MiB.
const HUGE_PAGES_MIB: u32 = 2048;

/// Everything that the plan plays on.
pub fn ground(plan: &Plan, _arm: &Arm) -> Ground {
    let (table, _) = read(plan).expect("checked before the run");
    let world = world();
    let work = world.extension(ClientWork::default);
    let mut spec = table.spec(images::longhorn(&world, None).with(pod::REPOSITORY, work.image()));
    spec.workers = table.workers().iter().map(|name| WorkerSpec::named(name).huge_pages(HUGE_PAGES_MIB)).collect();
    Ground { cluster: spec, stores: Vec::new() }
}
