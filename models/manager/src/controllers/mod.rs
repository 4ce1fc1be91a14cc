//! The controllers, one file each (two where one has two halves), and what starts them (`controller/controller_manager.go`).
//!
//! Each hears of its kind through the informers of the shared datastore: with the resync of 30 s unless it says otherwise.
//! [`start`] is where a further controller is added.

mod backing_image;
mod backing_image_backup_monitor;
mod backing_image_data_source;
mod backing_image_manager;
mod backup;
mod backup_backing_image;
mod backup_creation;
mod backup_deletion;
mod backup_monitor;
mod backup_target;
mod backup_target_sync;
mod backup_volume;
mod engine;
mod engine_image;
mod engine_image_daemon_set;
mod instance;
mod instance_manager;
mod kubernetes_node;
mod news_ticker;
mod node;
mod orphan;
mod replica;
mod setting;
mod snapshot;
mod store_timer;
mod system_backup;
mod system_backup_archive;
mod system_backup_parts;
mod system_pod;
mod system_restore;
mod volume;
mod volume_attachment;
mod volume_restore;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use engine::connect as connect_engine;
pub use engine_image::deploy as deploy_engine_image;
pub use node::create_own_node;
pub(crate) use snapshot::freezes;

use corral_kube_client::Event;
use longhorn_api::{Defect, EngineImage};

use crate::manager::Manager;
use crate::runtime::Datastore;
use crate::runtime::controller::Queue;

/// Without defect c2: what nobody could take for want of an engine binary is looked at again when an engine image changes.
fn again_on_engine_images(
    manager: &Arc<Manager>,
    queue: &Queue,
    new: impl Fn(&Datastore) -> Vec<String> + Send + Sync + 'static,
) {
    if manager.datastore.build.has(Defect::FoundWithoutBinary) {
        return;
    }
    let (of, to) = (manager.clone(), queue.clone());
    let on_image = move |_event: Event<EngineImage>| new(&of.datastore).iter().for_each(|name| to.add(name));
    manager.datastore.engine_images.informer().add_handler_with_resync(Duration::ZERO, on_image);
}

/// Starts every controller. Their work begins with what the informers have.
pub fn start(manager: &Arc<Manager>) {
    engine_image::start(manager);
    node::start(manager);
    instance_manager::start(manager);
    orphan::start(manager);
    volume::start(manager);
    engine::start(manager);
    replica::start(manager);
    snapshot::start(manager);
    volume_attachment::start(manager);
    volume_restore::start(manager);
    setting::start(manager);
    backing_image::start(manager);
    backing_image_manager::start(manager);
    backing_image_data_source::start(manager);
    backup_target::start(manager);
    backup_volume::start(manager);
    backup::start(manager);
    backup_backing_image::start(manager);
    system_backup::start(manager);
    system_restore::start(manager);
    kubernetes_node::start(manager);
}

/// What is in `these` and not in `those`.
fn difference(these: &BTreeSet<String>, those: &BTreeSet<String>) -> Vec<String> {
    these.difference(those).cloned().collect()
}

/// As messages of events begin.
pub(crate) fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// `count` things of some kind that `what` says, if there are any.
fn report_count(count: usize, what: &str) {
    if count > 0 {
        tracing::info!("Found {count} {what}");
    }
}
