//! The volume-restore controller: keeps a ticket on the attachment of a volume that is to be restored, so that it is attached, without a
//! frontend, on its owner's node (`controller/volume_restore_controller.go`). The volume-expansion controller does the same for a volume
//! that grows (`controller/volume_expansion_controller.go`).

use std::sync::Arc;
use std::time::Duration;

use longhorn_api::Volume;
use longhorn_api::kinds::volume_attachment::AttacherType;

use super::volume_attachment::keep_ticket;
use crate::manager::Manager;
use crate::runtime::Result;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Retries, Runner};

/// When a volume without an attachment is looked at again (`constant.LonghornVolumeAttachmentNotFoundRetryPeriod`).
const ATTACHMENT_RETRY: Duration = Duration::from_secs(2);

/// Holds tickets for volumes out of backups.
pub struct VolumeRestoreController(TicketHolder);

/// Holds tickets for volumes that grow.
pub struct VolumeExpansionController(TicketHolder);

/// What both share.
struct TicketHolder {
    manager: Arc<Manager>,
    queue: Queue,
}

/// Starts both: Volumes with resync.
pub fn start(manager: &Arc<Manager>) {
    let holder = || {
        let queue = Queue::new(&manager.datastore.namespace);
        manager.datastore.volumes.informer().add_handler(queue.handler::<Volume>());
        TicketHolder { manager: manager.clone(), queue }
    };
    let restore = holder();
    Runner::new(restore.queue.clone(), Arc::new(VolumeRestoreController(restore))).start();
    let expansion = holder();
    Runner::new(expansion.queue.clone(), Arc::new(VolumeExpansionController(expansion))).start();
}

impl Reconcile for VolumeRestoreController {
    const NAME: &'static str = "longhorn-volume-restore";
    const RETRIES: Retries = Retries::Forever;

    async fn reconcile(&self, volume: &str) -> Result<()> {
        let wanted = |volume: &Volume| volume.status.restore_required;
        self.0.keep(volume, AttacherType::VolumeRestoreController, "true", wanted).await
    }
}

impl Reconcile for VolumeExpansionController {
    const NAME: &'static str = "longhorn-volume-expansion";
    const RETRIES: Retries = Retries::Forever;

    async fn reconcile(&self, volume: &str) -> Result<()> {
        let wanted = |volume: &Volume| volume.status.expansion_required;
        self.0.keep(volume, AttacherType::VolumeExpansionController, "false", wanted).await
    }
}

impl TicketHolder {
    /// Keeps the ticket while it is wanted, and takes it back afterwards.
    async fn keep(
        &self,
        volume_name: &str,
        attacher_type: AttacherType,
        disable_frontend: &str,
        wanted: impl Fn(&Volume) -> bool,
    ) -> Result<()> {
        let datastore = &self.manager.datastore;
        let Some(volume) = datastore.volumes.find(volume_name) else { return Ok(()) };
        if volume.status.owner_id != self.manager.node() {
            return Ok(());
        }
        let Some(attachment) = datastore.volume_attachments.find(volume_name) else {
            self.queue.add_after(name(&volume.metadata), ATTACHMENT_RETRY);
            return Ok(());
        };
        let mut changed = (*attachment).clone();
        let ticket = attacher_type.ticket_id(volume_name);
        if wanted(&volume) {
            keep_ticket(&mut changed, &ticket, &volume.status.owner_id, disable_frontend, attacher_type);
        } else {
            changed.spec.attachment_tickets.remove(&ticket);
        }
        if changed.spec != attachment.spec {
            datastore.volume_attachments.update(&changed).await?;
        }
        Ok(())
    }
}
