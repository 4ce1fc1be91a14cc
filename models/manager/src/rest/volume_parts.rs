//! What a volume is shown with: controllers, replicas, backups, what its replicas are at, and its attachment.

use std::collections::BTreeMap;
use std::sync::Arc;

use longhorn_api::kinds::instance::InstanceState;
use longhorn_api::{Backup, Engine, Replica, Volume, VolumeAttachment};
use serde_json::{Map, Value, json};

use crate::runtime::Datastore;
use crate::runtime::backups::name;

/// The parts of a volume, by name.
#[derive(Debug, Default)]
pub struct Parts {
    /// Its engines.
    pub engines: BTreeMap<String, Arc<Engine>>,
    /// Its replicas.
    pub replicas: BTreeMap<String, Arc<Replica>>,
    backups: Vec<Arc<Backup>>,
    attachment: Option<Arc<VolumeAttachment>>,
}

impl Parts {
    /// The parts that the manager sees.
    pub fn of(datastore: &Datastore, volume: &Volume) -> Self {
        let volume_name = name(&volume.metadata);
        let mut backups = datastore.backups_of_volume(&volume.spec.backup_target_name, volume_name);
        backups.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
        Self {
            engines: datastore.engines_of_volume(volume_name),
            replicas: datastore.replicas_of_volume(volume_name),
            backups,
            attachment: datastore.volume_attachments.find(volume_name),
        }
    }

    /// The name of the replica at an address, or the address if it is no longer there.
    fn replica_at(&self, address: &str) -> String {
        let bare = address.strip_prefix("tcp://").unwrap_or(address);
        let at = |replica: &Replica| format!("{}:{}", replica.status.storage_ip, replica.status.port) == bare;
        let found = self.replicas.iter().find(|(_, replica)| at(replica));
        found.map_or_else(|| address.to_owned(), |(replica_name, _)| replica_name.clone())
    }
}

/// Adds the parts to the fields of `volume`.
pub fn show(fields: &mut Value, volume: &Volume, parts: &Parts) {
    let engines = || parts.engines.values();
    fields["controllers"] = engines().map(|engine| controller(engine)).collect();
    fields["replicas"] = replicas(volume, parts);
    fields["backupStatus"] = parts.backups.iter().map(|backup| backup_status(backup, parts)).collect();
    let restores = engines().flat_map(|engine| engine.status.restore_status.iter());
    fields["restoreStatus"] = restores
        .map(|(address, restore)| {
            let mut shown = json!({"progress": 0, "error": "", "filename": ""});
            extend(&mut shown, &json!(restore));
            shown["replica"] = parts.replica_at(address).into();
            shown.as_object_mut().map(|shown| shown.remove("currentRestoringBackup"));
            shown
        })
        .collect();
    let purges = engines().flat_map(|engine| engine.status.purge_status.iter());
    fields["purgeStatus"] = purges.map(|(address, purge)| of_replica(json!(purge), address, parts)).collect();
    let rebuilds = engines().flat_map(|engine| engine.status.rebuild_status.iter());
    fields["rebuildStatus"] = rebuilds
        .map(|(address, rebuild)| {
            let mut shown = of_replica(json!(rebuild), address, parts);
            shown["fromReplica"] = parts.replica_at(&rebuild.from_replica_address).into();
            shown.as_object_mut().map(|shown| shown.remove("fromReplicaAddress"));
            shown
        })
        .collect();
    fields["volumeAttachment"] = attachment(volume, parts.attachment.as_deref());
}

fn extend(shown: &mut Value, more: &Value) {
    for (field, value) in more.as_object().into_iter().flatten() {
        shown[field] = value.clone();
    }
}

fn of_replica(mut shown: Value, address: &str, parts: &Parts) -> Value {
    shown["replica"] = parts.replica_at(address).into();
    shown
}

fn controller(engine: &Engine) -> Value {
    let (spec, status) = (&engine.spec, &engine.status);
    let actual_size: i64 = status.snapshots.values().filter_map(|snapshot| snapshot.size.parse::<i64>().ok()).sum();
    json!({
        "name": name(&engine.metadata),
        "running": status.current_state == InstanceState::Running,
        "hostId": spec.node_id,
        "address": status.ip,
        "image": spec.image,
        "currentImage": status.current_image,
        "instanceManagerName": status.instance_manager_name,
        "size": status.current_size.0.to_string(),
        "actualSize": actual_size.to_string(),
        "endpoint": status.endpoint,
        "lastRestoredBackup": status.last_restored_backup,
        "requestedBackupRestore": spec.requested_backup_restore,
        "isExpanding": status.is_expanding,
        "lastExpansionError": status.last_expansion_error,
        "lastExpansionFailedAt": status.last_expansion_failed_at,
        "unmapMarkSnapChainRemovedEnabled": status.unmap_mark_snap_chain_removed_enabled,
    })
}

/// The mode of a replica is what the engine on the volume's node says.
fn replicas(volume: &Volume, parts: &Parts) -> Value {
    let here = &volume.status.current_node_id;
    let engine = parts.engines.values().rfind(|engine| engine.spec.node_id == *here);
    let mode = |replica: &str| {
        let mode = engine.and_then(|engine| engine.status.replica_mode_map.get(replica));
        mode.map_or_else(|| json!(""), |mode| json!(mode))
    };
    let shown = parts.replicas.iter().map(|(replica_name, replica)| {
        let (spec, status) = (&replica.spec, &replica.status);
        json!({
            "name": replica_name,
            "running": status.current_state == InstanceState::Running,
            "address": status.ip,
            "hostId": spec.node_id,
            "image": spec.image,
            "currentImage": status.current_image,
            "instanceManagerName": status.instance_manager_name,
            "diskID": spec.disk_id,
            "diskPath": spec.disk_path,
            "dataPath": data_path(&spec.disk_path, &spec.data_directory_name),
            "mode": mode(replica_name),
            "failedAt": spec.failed_at,
            "dataEngine": spec.data_engine,
        })
    });
    shown.collect()
}

fn data_path(disk_path: &str, folder: &str) -> String {
    let joined = [disk_path.trim_end_matches('/'), "replicas", folder];
    joined.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/")
}

fn backup_status(backup: &Backup, parts: &Parts) -> Value {
    let status = &backup.status;
    json!({
        "id": name(&backup.metadata),
        "snapshot": status.snapshot_name,
        "progress": status.progress,
        "backupURL": status.url,
        "error": status.error,
        "state": status.state,
        "replica": parts.replica_at(&status.replica_address),
        "size": status.size,
    })
}

fn attachment(volume: &Volume, attachment: Option<&VolumeAttachment>) -> Value {
    let mut tickets = Map::new();
    for (id, ticket) in attachment.into_iter().flat_map(|attachment| attachment.spec.attachment_tickets.iter()) {
        let mut shown = json!({
            "attachmentID": ticket.id,
            "attachmentType": ticket.attacher_type,
            "nodeID": ticket.node_id,
            "parameters": ticket.parameters,
            "satisfied": false,
            "conditions": null,
        });
        let known = attachment
            .and_then(|attachment| Some((attachment, attachment.status.attachment_ticket_statuses.get(id.as_str())?)));
        if let Some((attachment, status)) = known {
            shown["satisfied"] = attachment.is_satisfied(&ticket.id).into();
            shown["conditions"] = json!(status.conditions);
        }
        tickets.insert(id.clone(), shown);
    }
    json!({"attachments": tickets, "volume": name(&volume.metadata)})
}
