//! The ground of `backup-cleanup`: machines, latencies, images, the store.

use std::sync::Arc;
use std::time::Duration;

use corral_cluster::garbage_collector::GarbageCollectorOptions;
use corral_cluster::{ClusterSpec, Image, Images, WorkerSpec};
use corral_core::{Latency, World, world};
use corral_net::{LinkProfile, Net};
use corral_object_store::BucketStore;
use corral_world::{Arm, Ground, Plan};
use host::process::{Executables, executable_file, program};
use longhorn_api::Build;
use longhorn_engine::Engine;

use super::plan::{duration_of, read};
use crate::clients::pod::{self, ClientWork};
use crate::install::repository;
use crate::{shell, store};

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
    let mut spec = ClusterSpec::workers(0).images(images(&world, &buckets, &work, set("lock-wait")));
    spec.workers = table.workers().iter().map(|name| WorkerSpec::named(name)).collect();
    spec.api_server.webhook_scheme = corral_apiserver::WebhookScheme::Http;
    spec.storage = spec.storage.scaled(TRACED_PERCENT).scaled(table.api_percent);
    if set("collector-delay").is_some() {
        spec.controller_manager.garbage_collector =
            GarbageCollectorOptions { queries_per_second: 1e6, burst: 1_000_000, ..GarbageCollectorOptions::default() };
    }
    Ground { cluster: spec, stores: vec![buckets] }
}

/// Where an engine image has its binary.
const ENGINE_BINARY: &str = "/usr/local/bin/longhorn";

/// Longhorn's images, the store's, the client's.
fn images(world: &World, buckets: &Arc<BucketStore>, work: &ClientWork, lock_wait: Option<Duration>) -> Images {
    let executables = Executables::of(world);
    let engine = move |tag: &str| {
        let mut engine = Engine::of(build_of(tag));
        if let Some(lock_wait) = lock_wait {
            engine.behaviour.lock_wait = lock_wait;
        }
        let main = program(move || longhorn_engine::main(engine.clone()));
        // Where the binary is copied to, it runs by what its file says.
        executables.insert(&engine_name(tag), main.clone());
        main
    };
    let shell = |_: &str| program(shell::main);
    // The layer with the binary is unpacked before the container's first process runs.
    let unpacked = |tag: &str| {
        let name = engine_name(tag);
        program(move || {
            let content = executable_file(&name);
            async move {
                let unpacked = host::fs::create_dir_all("/usr/local/bin").await.is_ok()
                    && host::fs::write(ENGINE_BINARY, &content).await.is_ok();
                if unpacked { shell::main().await } else { 1 }
            }
        })
    };
    Images::new()
        .with(store::REPOSITORY, store::image(buckets.clone()))
        .with(pod::REPOSITORY, work.image())
        .with(repository::MANAGER, Image::new("/usr/local/sbin/longhorn-manager", |_| program(longhorn_manager::main)))
        .with(
            repository::ENGINE,
            Image::new(ENGINE_BINARY, engine).program("/bin/bash", unpacked).program("/bin/sh", shell),
        )
        .with(repository::SHARE_MANAGER, Image::new("/longhorn-share-manager", shell).program("/bin/sh", shell))
}

fn engine_name(tag: &str) -> String {
    format!("{}:{tag}{ENGINE_BINARY}", repository::ENGINE)
}

/// The build that an image's tag names. Only our own manifests name images here.
fn build_of(tag: &str) -> Build {
    Build::parse_tag(tag).unwrap_or_else(|error| panic!("image tag {tag}: {error}"))
}
