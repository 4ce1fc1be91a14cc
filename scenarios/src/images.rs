//! Longhorn's images: its programs at the paths where its manifests, and its managers' pods, look for them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use corral_cluster::{Image, Images};
use corral_core::World;
use host::process::{Executables, executable_file, program};
use longhorn_api::{Build, Defect};
use longhorn_backing_image_manager::BackingImageManager;
use longhorn_engine::Engine;
use longhorn_manager::LonghornManager;

use crate::install::repository;
use crate::shell;

/// Where an engine image has its binary.
const ENGINE_BINARY: &str = "/usr/local/bin/longhorn";

/// The images of every build, without the silenced defects. If it is said, engines and backing image managers wait so long for others' locks in a backup store, and managers look
/// at every object again so often.
pub fn longhorn(
    world: &World,
    silenced: &BTreeSet<Defect>,
    lock_wait: Option<Duration>,
    resync: Option<Duration>,
) -> Images {
    let silenced = Arc::new(silenced.clone());
    let build_of = move |tag: &str| build_of(tag).silencing(&silenced);
    let executables = Executables::of(world);
    let build = build_of.clone();
    let engine = move |tag: &str| {
        let mut engine = Engine::of(build(tag));
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
    let build = build_of.clone();
    let manager = move |tag: &str| {
        let mut own = LonghornManager::of(build(tag));
        own.resync = resync.unwrap_or(own.resync);
        program(move || longhorn_manager::main(own.clone()))
    };
    let build = build_of.clone();
    let instance_manager = move |tag: &str| {
        let build = build(tag);
        program(move || longhorn_instance_manager::main(build.clone()))
    };
    let backing_image_manager = move |tag: &str| {
        let mut own = BackingImageManager::of(build_of(tag));
        if let Some(lock_wait) = lock_wait {
            own.behaviour.lock_wait = lock_wait;
        }
        program(move || longhorn_backing_image_manager::main(own.clone()))
    };
    Images::new()
        .with(repository::MANAGER, Image::new("/usr/local/sbin/longhorn-manager", manager))
        .with(
            repository::ENGINE,
            Image::new(ENGINE_BINARY, engine).program("/bin/bash", unpacked).program("/bin/sh", shell),
        )
        .with(
            repository::INSTANCE_MANAGER,
            Image::new("/tini", instance_manager)
                .program("/bin/sh", shell)
                // It disconnects initiators of the second data engine from their targets; here they end with their pod.
                .program("/usr/local/bin/instance-manager-v2-prestop", |_| program(|| std::future::ready(0))),
        )
        .with(
            repository::BACKING_IMAGE_MANAGER,
            Image::new("/usr/local/bin/backing-image-manager", backing_image_manager),
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
