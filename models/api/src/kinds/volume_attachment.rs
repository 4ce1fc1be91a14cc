//! VolumeAttachment: who wants a volume attached, and where (v1beta2/volumeattachment.go). Its name is the volume's.
//!
//! Everyone who needs a volume attached keeps a ticket here; the volume-attachment controller decides from all of them where the
//! volume goes, and says for each whether it is satisfied.

use crate::go::{List, Map};
use crate::kinds::Condition;
use crate::resource::{Column, custom_resource};
use crate::schema::record;
use crate::text::words;

words! {
    /// Who holds a ticket.
    pub enum AttacherType {
        CsiAttacher = "csi-attacher",
        LonghornApi = "longhorn-api",
        SnapshotController = "snapshot-controller",
        BackupController = "backup-controller",
        VolumeCloneController = "volume-clone-controller",
        SalvageController = "salvage-controller",
        ShareManagerController = "share-manager-controller",
        VolumeRestoreController = "volume-restore-controller",
        VolumeEvictionController = "volume-eviction-controller",
        VolumeExpansionController = "volume-expansion-controller",
        BackingImageDataSourceController = "bim-ds-controller",
        VolumeRebuildingController = "volume-rebuilding-controller",
    }
}

impl AttacherType {
    /// Whose ticket counts when a detached volume is attached: the highest.
    pub fn priority(&self) -> u32 {
        match self {
            Self::VolumeRestoreController | Self::VolumeExpansionController => 2000,
            Self::LonghornApi => 1000,
            Self::CsiAttacher | Self::SalvageController | Self::ShareManagerController => 900,
            Self::SnapshotController
            | Self::BackupController
            | Self::VolumeCloneController
            | Self::VolumeEvictionController
            | Self::VolumeRebuildingController
            | Self::BackingImageDataSourceController => 800,
            Self::Other(_) => 0,
        }
    }

    /// The id of the ticket that this attacher keeps for `object`: `backup-controller-backup-...`, at most 253 bytes.
    pub fn ticket_id(&self, object: &str) -> String {
        let mut id = format!("{self}-{object}");
        // Names of Kubernetes objects are ASCII; for anything else stay inside a character.
        let end = (0..=id.len().min(253)).rev().find(|end| id.is_char_boundary(*end)).unwrap_or(0);
        id.truncate(end);
        id
    }
}

/// Ticket parameter: whether the volume is to be attached without a frontend (`true`, `false` or [`ANY`]).
pub const DISABLE_FRONTEND: &str = "disableFrontend";
/// Ticket parameter: who attached the volume last, for the user interface.
pub const LAST_ATTACHED_BY: &str = "lastAttachedBy";
/// The value of a ticket parameter that does not care.
pub const ANY: &str = "any";

/// The condition type of a ticket's status.
pub const CONDITION_SATISFIED: &str = "Satisfied";
/// Reason of [`CONDITION_SATISFIED`]: attached where it should be, but not as it should be.
pub const REASON_INCOMPATIBLE_PARAMETERS: &str = "AttachedWithIncompatibleParameters";

record! {
    /// A wish to have the volume attached.
    pub struct AttachmentTicket {
        /// See [`AttacherType::ticket_id`].
        pub id: String = "id",
        /// Who wants it.
        pub attacher_type: AttacherType = "type",
        /// Where.
        pub node_id: String = "nodeID",
        /// How.
        pub parameters: Map<String> = "parameters",
        /// Counted up when the wish changes.
        pub generation: i64 = "generation",
    }
}

record! {
    /// What became of a ticket.
    pub struct AttachmentTicketStatus {
        /// The ticket's.
        pub id: String = "id",
        /// Whether the wish is fulfilled.
        pub satisfied: bool = "satisfied".required(),
        /// [`CONDITION_SATISFIED`] is the only one.
        pub conditions: List<Condition> = "conditions".required().nullable(),
        /// The generation of the ticket this speaks of.
        pub generation: i64 = "generation",
    }
}

record! {
    /// Who wants the volume.
    pub struct VolumeAttachmentSpec {
        /// The tickets, by id.
        pub attachment_tickets: Map<AttachmentTicket> = "attachmentTickets",
        /// The volume.
        pub volume: String = "volume".required(),
    }
}

record! {
    /// Who has the volume.
    pub struct VolumeAttachmentStatus {
        /// What became of the tickets, by id.
        pub attachment_ticket_statuses: Map<AttachmentTicketStatus> = "attachmentTicketStatuses",
    }
}

custom_resource! {
    /// Who wants a volume attached.
    pub struct VolumeAttachment: VolumeAttachmentStatus {
        /// The tickets.
        pub spec: VolumeAttachmentSpec = "spec",
    }
    "VolumeAttachment" ("volumeattachments", "lhva") [
        Column::AGE,
    ]
}

impl VolumeAttachment {
    /// Whether the ticket is there and its present wish is fulfilled.
    pub fn is_satisfied(&self, ticket_id: &str) -> bool {
        let ticket = self.spec.attachment_tickets.get(ticket_id);
        let status = self.status.attachment_ticket_statuses.get(ticket_id);
        matches!((ticket, status), (Some(ticket), Some(status))
            if ticket.generation == status.generation && status.satisfied)
    }
}
