//! The volume-attachment controller: decides from the tickets of a VolumeAttachment where its volume should be, and says for each ticket
//! whether it is satisfied (`controller/volume_attachment_controller.go`).
//!
//! The owner of the volume works on it. A ticket's wish stands in the attachment's spec, what became of it in the status; the decision is
//! written into the volume's spec, and the volume controller follows that. Migration between two nodes is not here: a migratable volume is
//! attached where its one ticket says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::{Event, EventRecorder, EventType};
use k8s_openapi::api::core::v1::Node as KubernetesNode;
use longhorn_api::go::Map;
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::volume::{AccessMode, ShareManagerState, VolumeRobustness, VolumeState};
use longhorn_api::kinds::volume_attachment::{
    ANY, AttacherType, AttachmentTicket, AttachmentTicketStatus, CONDITION_SATISFIED, DISABLE_FRONTEND,
    LAST_ATTACHED_BY, REASON_INCOMPATIBLE_PARAMETERS,
};
use longhorn_api::{Engine, Release, Volume, VolumeAttachment, labels, settings};

use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Retries, Runner};
use crate::runtime::{Context, Result, clock};

/// The controller.
pub struct VolumeAttachmentController {
    manager: Arc<Manager>,
    events: EventRecorder,
}

/// Starts it: VolumeAttachments, Volumes, Engines and changed Kubernetes nodes, all without resync.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    let datastore = &manager.datastore;
    let attachments = datastore.volume_attachments.informer();
    attachments.add_handler_with_resync(Duration::ZERO, queue.handler::<VolumeAttachment>());
    let (of, to) = (manager.clone(), queue.clone());
    let on_volume = move |event: Event<Volume>| queue_of_volume(&of, &to, name(&event.object().metadata));
    datastore.volumes.informer().add_handler_with_resync(Duration::ZERO, on_volume);
    let (of, to) = (manager.clone(), queue.clone());
    let on_engine = move |event: Event<Engine>| queue_of_volume(&of, &to, &event.object().spec.volume_name);
    datastore.engines.informer().add_handler_with_resync(Duration::ZERO, on_engine);
    let (of, to) = (manager.clone(), queue.clone());
    let on_node = move |event: Event<KubernetesNode>| {
        if matches!(event, Event::Updated { .. }) {
            for attachment in of.datastore.volume_attachments.list() {
                to.add(name(&attachment.metadata));
            }
        }
    };
    datastore.kubernetes_node_informer().add_handler_with_resync(Duration::ZERO, on_node);
    let events = manager.events(VolumeAttachmentController::NAME);
    let controller = VolumeAttachmentController { manager: manager.clone(), events };
    Runner::new(queue, Arc::new(controller)).start();
}

fn queue_of_volume(manager: &Manager, queue: &Queue, volume: &str) {
    for attachment in manager.datastore.volume_attachments.list_labelled(&[(labels::VOLUME, volume)]) {
        queue.add(name(&attachment.metadata));
    }
}

impl Reconcile for VolumeAttachmentController {
    const NAME: &'static str = "longhorn-volume-attachment";
    const RETRIES: Retries = Retries::Forever;

    async fn reconcile(&self, attachment_name: &str) -> Result<()> {
        let result = self.reconcile_attachment(attachment_name).await;
        result.context(|| format!("{}: failed to sync VolumeAttachment {attachment_name}", Self::NAME))
    }
}

impl VolumeAttachmentController {
    async fn reconcile_attachment(&self, attachment_name: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        let Some(attachment) = datastore.volume_attachments.find(attachment_name) else { return Ok(()) };
        let Some(volume) = datastore.volumes.find(&attachment.spec.volume) else {
            if attachment.metadata.deletion_timestamp.is_some() {
                return datastore.volume_attachments.remove_finalizer((*attachment).clone()).await;
            }
            return Ok(());
        };
        if volume.status.owner_id != self.manager.node() {
            return Ok(());
        }
        let (mut changed, mut changed_volume) = ((*attachment).clone(), (*volume).clone());
        self.drop_ticket_of_cordoned_node(&mut changed);
        detach(&changed, &mut changed_volume, datastore.release());
        attach(&changed, &mut changed_volume);
        note_tickets(&mut changed, &changed_volume);

        if changed_volume.spec != volume.spec {
            datastore.update_volume(&changed_volume).await?;
        }
        let spec_changed = changed.spec != attachment.spec;
        if spec_changed {
            datastore.volume_attachments.update(&changed).await?;
        }
        if changed.status != attachment.status {
            datastore.volume_attachments.update_status(&changed).await?;
        }
        Ok(())
    }

    /// A volume that a person attached goes from a cordoned node, if a setting says so; if not, the person is told.
    fn drop_ticket_of_cordoned_node(&self, attachment: &mut VolumeAttachment) {
        let datastore = &self.manager.datastore;
        let Ok(drops) = datastore.setting_flag(settings::DETACH_MANUALLY_ATTACHED_VOLUMES_WHEN_CORDONED) else {
            return;
        };
        let mut tickets = attachment.spec.attachment_tickets.values();
        let Some(ticket) = tickets.find(|ticket| ticket.attacher_type == AttacherType::LonghornApi) else { return };
        let (ticket_id, node) = (ticket.id.clone(), ticket.node_id.clone());
        match datastore.is_kubernetes_node_cordoned(&node) {
            Ok(true) if drops => {
                tracing::info!("Deleting manual attachment ticket {ticket_id} due to node is unschedulable");
                attachment.spec.attachment_tickets.remove(&ticket_id);
            }
            Ok(true) => {
                let setting = settings::DETACH_MANUALLY_ATTACHED_VOLUMES_WHEN_CORDONED;
                let message = format!("Failed to detach manually attached volume due to {setting} is set to false");
                self.events.event(&*attachment, EventType::Warning, "DetachedUnexpectedly", message);
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "Failed to check if node {node} schedulable"),
        }
    }
}

/// Takes the volume from where it should be, if no ticket wants it there as it is.
fn detach(attachment: &VolumeAttachment, volume: &mut Volume, release: Release) {
    if volume.spec.node_id.is_empty() || !should_detach(attachment, volume, release) {
        return;
    }
    tracing::info!("Volume {} is selected to detach from node {}", name(&volume.metadata), volume.spec.node_id);
    volume.spec.node_id.clear();
    set_parameters(&Map::nil(), volume);
}

fn should_detach(attachment: &VolumeAttachment, volume: &Volume, release: Release) -> bool {
    // What is faulted is detached, to be salvaged and attached anew.
    if volume.status.robustness == VolumeRobustness::Faulted {
        return true;
    }
    let tickets = attachment.spec.attachment_tickets.values().filter(|ticket| !is_ticket_of_share(ticket, volume));
    let (here, elsewhere): (Vec<_>, Vec<_>) = tickets.partition(|ticket| ticket.node_id == volume.spec.node_id);
    let fitting: Vec<_> = here.into_iter().filter(|ticket| parameters_fit(&ticket.parameters, volume)).collect();
    if fitting.is_empty() {
        return true;
    }
    let interruptible = |ticket: &&AttachmentTicket| {
        let kind = &ticket.attacher_type;
        matches!(kind, AttacherType::SnapshotController | AttacherType::BackupController)
            || (release.before(Release::V1_9_0_DEV_00886872C) && *kind == AttacherType::VolumeRebuildingController)
    };
    let workload = |ticket: &&AttachmentTicket| {
        let kind = &ticket.attacher_type;
        matches!(kind, AttacherType::CsiAttacher | AttacherType::LonghornApi | AttacherType::ShareManagerController)
    };
    // A snapshot or a backup has to wait when a workload wants the volume elsewhere.
    fitting.iter().all(interruptible) && elsewhere.iter().any(workload)
}

/// Puts a fully detached volume where its most important ticket says; of equal ones, where the first by id says.
fn attach(attachment: &VolumeAttachment, volume: &mut Volume) {
    let (spec, status) = (&volume.spec, &volume.status);
    let detached = spec.node_id.is_empty()
        && spec.migration_node_id.is_empty()
        && status.current_migration_node_id.is_empty()
        && status.state == VolumeState::Detached;
    if !detached || status.robustness == VolumeRobustness::Faulted {
        return;
    }
    let tickets = attachment.spec.attachment_tickets.values().filter(|ticket| !is_ticket_of_share(ticket, volume));
    let mut by_priority: BTreeMap<u32, Vec<&AttachmentTicket>> = BTreeMap::new();
    for ticket in tickets {
        by_priority.entry(ticket.attacher_type.priority()).or_default().push(ticket);
    }
    let Some(candidates) = by_priority.into_values().next_back() else { return };
    let is_csi = candidates[0].attacher_type.priority() == AttacherType::CsiAttacher.priority();
    if volume.spec.migratable && volume.spec.access_mode == AccessMode::ReadWriteMany && is_csi && candidates.len() > 1
    {
        tracing::warn!("Volume migration failed; detach volume {} from extra node to resume", name(&volume.metadata));
        return;
    }
    let Some(ticket) = candidates.into_iter().min_by(|one, other| one.id.cmp(&other.id)) else { return };
    tracing::info!("Volume {} is selected to attach to node {}", name(&volume.metadata), ticket.node_id);
    volume.spec.node_id.clone_from(&ticket.node_id);
    let parameters = ticket.parameters.clone();
    set_parameters(&parameters, volume);
}

/// Says for each ticket whether it is satisfied, and forgets those that are gone.
fn note_tickets(attachment: &mut VolumeAttachment, volume: &Volume) {
    let tickets = &attachment.spec.attachment_tickets;
    let statuses = &mut attachment.status.attachment_ticket_statuses;
    statuses.make();
    statuses.retain(|_, status| tickets.contains_key(&status.id));
    for ticket in tickets.values() {
        let mut status = statuses
            .get(&ticket.id)
            .cloned()
            .unwrap_or_else(|| AttachmentTicketStatus { id: ticket.id.clone(), ..AttachmentTicketStatus::default() });
        note_ticket(&mut status, ticket, volume);
        status.generation = ticket.generation;
        statuses.insert(ticket.id.clone(), status);
    }
}

fn note_ticket(status: &mut AttachmentTicketStatus, ticket: &AttachmentTicket, volume: &Volume) {
    let current = &volume.status.current_node_id;
    let attached = !current.is_empty() && volume.status.state == VolumeState::Attached;
    let (satisfied, reason, message) = if is_ticket_of_share(ticket, volume) {
        let shared =
            volume.status.share_state == ShareManagerState::Running && !volume.status.share_endpoint.is_empty();
        let message =
            if shared { "The attachment ticket is satisfied" } else { "Waiting for volume share to be available" };
        (shared, "", message.to_owned())
    } else if !attached {
        (false, "", String::new())
    } else if ticket.node_id != *current {
        (false, "", format!("the volume is currently attached to different node {current} "))
    } else if !parameters_fit(&ticket.parameters, volume) {
        let volume = name(&volume.metadata);
        let message = format!("volume {volume} has already attached to node {current} with incompatible parameters");
        (false, REASON_INCOMPATIBLE_PARAMETERS, message)
    } else {
        (true, "", String::new())
    };
    status.satisfied = satisfied;
    let holds = if satisfied { ConditionStatus::True } else { ConditionStatus::False };
    status.conditions.set_condition(CONDITION_SATISFIED, holds, reason, &message, &clock::now_text());
}

/// A volume of many nodes is attached for its NFS server alone, which holds a ticket of its own.
fn is_ticket_of_share(ticket: &AttachmentTicket, volume: &Volume) -> bool {
    volume.spec.access_mode == AccessMode::ReadWriteMany
        && !volume.spec.migratable
        && ticket.attacher_type == AttacherType::CsiAttacher
}

/// Whether the volume has the frontend that a ticket asks for, or none if that is asked for.
fn parameters_fit(parameters: &Map<String>, volume: &Volume) -> bool {
    match parameters.text(DISABLE_FRONTEND) {
        "" | "false" => !volume.spec.disable_frontend,
        "true" => volume.spec.disable_frontend,
        _ => true,
    }
}

fn set_parameters(parameters: &Map<String>, volume: &mut Volume) {
    match parameters.text(DISABLE_FRONTEND) {
        "" | "false" => volume.spec.disable_frontend = false,
        "true" => volume.spec.disable_frontend = true,
        _ => {}
    }
    volume.spec.last_attached_by = parameters.text(LAST_ATTACHED_BY).to_owned();
}

/// Keeps a controller's ticket on an attachment: created if it is missing, moved if it is for another node.
pub(crate) fn keep_ticket(
    attachment: &mut VolumeAttachment,
    ticket_id: &str,
    node: &str,
    disable_frontend: &str,
    attacher_type: AttacherType,
) {
    let tickets = attachment.spec.attachment_tickets.make();
    let ticket = tickets.entry(ticket_id.to_owned()).or_insert_with(|| AttachmentTicket {
        id: ticket_id.to_owned(),
        attacher_type,
        node_id: node.to_owned(),
        parameters: Map::from([(DISABLE_FRONTEND, disable_frontend.to_owned())]),
        generation: 0,
    });
    ticket.node_id = node.to_owned();
}

/// The ticket parameter of a controller that does not care for the frontend.
pub(crate) const ANY_FRONTEND: &str = ANY;

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(state: VolumeState) -> Volume {
        let mut volume = Volume::default();
        volume.status.state = state;
        volume
    }

    fn attachment(tickets: &[(&str, AttacherType, &str, &str)]) -> VolumeAttachment {
        let mut attachment = VolumeAttachment::default();
        for (id, kind, node, disable_frontend) in tickets {
            keep_ticket(&mut attachment, id, node, disable_frontend, kind.clone());
        }
        attachment
    }

    #[test]
    fn the_most_important_ticket_decides() {
        let tickets = [
            ("csi-b", AttacherType::CsiAttacher, "n2", "false"),
            ("csi-a", AttacherType::CsiAttacher, "n1", "false"),
            ("snapshot", AttacherType::SnapshotController, "n3", "any"),
        ];
        let mut volume = volume(VolumeState::Detached);
        attach(&attachment(&tickets), &mut volume);
        assert_eq!(volume.spec.node_id, "n1", "the first by id of those that count");
        let restore = [tickets[0].clone(), ("restore", AttacherType::VolumeRestoreController, "n3", "true")];
        volume.spec.node_id.clear();
        attach(&attachment(&restore), &mut volume);
        assert_eq!((volume.spec.node_id.as_str(), volume.spec.disable_frontend), ("n3", true));
    }

    #[test]
    fn nothing_is_attached_before_it_is_fully_detached() {
        let tickets = attachment(&[("", AttacherType::LonghornApi, "n1", "false")]);
        let mut detaching = volume(VolumeState::Detaching);
        attach(&tickets, &mut detaching);
        assert_eq!(detaching.spec.node_id, "");
        let mut faulted = volume(VolumeState::Detached);
        faulted.status.robustness = VolumeRobustness::Faulted;
        attach(&tickets, &mut faulted);
        assert_eq!(faulted.spec.node_id, "");
    }

    #[test]
    fn a_volume_leaves_when_its_last_fitting_ticket_is_gone() {
        let mut volume = volume(VolumeState::Attached);
        volume.spec.node_id = "n1".to_owned();
        let api = ("", AttacherType::LonghornApi, "n1", "true");
        assert!(should_detach(&attachment(std::slice::from_ref(&api)), &volume, Release::V1_9_2), "it has a frontend");
        volume.spec.disable_frontend = true;
        assert!(!should_detach(&attachment(&[api]), &volume, Release::V1_9_2));
        let backup = ("b", AttacherType::BackupController, "n1", "any");
        assert!(!should_detach(&attachment(std::slice::from_ref(&backup)), &volume, Release::V1_9_2));
        let elsewhere = ("", AttacherType::LonghornApi, "n2", "false");
        assert!(should_detach(&attachment(&[backup, elsewhere]), &volume, Release::V1_9_2), "a workload goes first");
    }

    #[test]
    fn tickets_are_satisfied_where_they_want_the_volume_as_they_want_it() {
        let mut volume = volume(VolumeState::Attached);
        volume.status.current_node_id = "n1".to_owned();
        let mut attachment = attachment(&[
            ("a", AttacherType::LonghornApi, "n1", "false"),
            ("b", AttacherType::LonghornApi, "n2", "false"),
            ("c", AttacherType::LonghornApi, "n1", "true"),
        ]);
        note_tickets(&mut attachment, &volume);
        assert!(attachment.is_satisfied("a") && !attachment.is_satisfied("b") && !attachment.is_satisfied("c"));
        attachment.spec.attachment_tickets.remove("a");
        note_tickets(&mut attachment, &volume);
        assert!(!attachment.status.attachment_ticket_statuses.contains_key("a"));
    }
}
