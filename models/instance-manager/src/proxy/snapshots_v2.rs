//! Snapshots of engines of the v2 data engine.

use longhorn_rpc::imrpc as wire;
use longhorn_rpc::imrpc::ProxyEngineRequest as Engine;
use longhorn_rpc::{ptypes, spdkrpc};
use tonic::Status;

use super::v2::{client, failed};
use crate::uuid::random_uuid;

fn request(engine: &Engine, snapshot: &str) -> spdkrpc::SnapshotRequest {
    spdkrpc::SnapshotRequest {
        name: engine.engine_name.clone(),
        snapshot_name: snapshot.to_owned(),
        ..spdkrpc::SnapshotRequest::default()
    }
}

pub(super) async fn snapshot(
    engine: &Engine,
    asked: ptypes::VolumeSnapshotRequest,
) -> Result<wire::EngineVolumeSnapshotProxyResponse, Status> {
    let name = match asked.name.as_str() {
        "" => random_uuid(&mut host::random::stream(&format!("snapshot/{}", host::wall_clock::now()))),
        name => name.to_owned(),
    };
    let created = client(engine)?.engine_snapshot_create(request(engine, &name)).await;
    created.map_err(|status| failed(format!("failed to create snapshot {name}"), &status))?;
    Ok(wire::EngineVolumeSnapshotProxyResponse { snapshot: Some(ptypes::VolumeSnapshotReply { name }) })
}

/// The error of a failed revert speaks of a snapshot's creation, as upstream's does.
pub(super) async fn revert(engine: &Engine, name: &str) -> Result<(), Status> {
    let reverted = client(engine)?.engine_snapshot_revert(request(engine, name)).await;
    reverted.map(drop).map_err(|status| failed(format!("failed to create snapshot {name}"), &status))
}
