//! The real engine's bytes: its calls reach our services, and its server's answer our client.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use host::net::TcpStream;
use host::time::{sleep, timeout};
use longhorn_rpc::ptypes::controller_service_server::{ControllerService, ControllerServiceServer};
use longhorn_rpc::ptypes::replica_service_client::ReplicaServiceClient;
use longhorn_rpc::ptypes::replica_service_server::{ReplicaService, ReplicaServiceServer};
use longhorn_rpc::ptypes::sync_agent_service_server::{SyncAgentService, SyncAgentServiceServer};
use longhorn_rpc::ptypes::{
    ControllerReplica, ControllerReplicaCreateRequest, FilesSyncRequest, ReplicaListReply, ReplicaSnapshotRequest,
    ReplicaSnapshotResponse, SyncFileInfo, Volume,
};
use longhorn_rpc::{Channel, Request, Response, Router, Status, async_trait, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{in_both_worlds, listen};

/// Writes down what it is asked.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    fn record(&self, method: &str, message: &impl std::fmt::Debug) {
        self.0.lock().expect("not poisoned").push(format!("{method} {message:?}"));
    }
}

#[async_trait]
impl ControllerService for Recorder {
    async fn volume_get(&self, _: Request<()>) -> Result<Response<Volume>, Status> {
        self.record("VolumeGet", &());
        Ok(Response::new(Default::default()))
    }
    async fn controller_replica_create(
        &self,
        request: Request<ControllerReplicaCreateRequest>,
    ) -> Result<Response<ControllerReplica>, Status> {
        self.record("ControllerReplicaCreate", &request.into_inner());
        Ok(Response::new(Default::default()))
    }
    async fn replica_list(&self, _: Request<()>) -> Result<Response<ReplicaListReply>, Status> {
        self.record("ReplicaList", &());
        Ok(Response::new(Default::default()))
    }
}

#[async_trait]
impl ReplicaService for Recorder {
    async fn replica_snapshot(
        &self,
        request: Request<ReplicaSnapshotRequest>,
    ) -> Result<Response<ReplicaSnapshotResponse>, Status> {
        self.record("ReplicaSnapshot", &request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

#[async_trait]
impl SyncAgentService for Recorder {
    async fn files_sync(&self, request: Request<FilesSyncRequest>) -> Result<Response<()>, Status> {
        self.record("FilesSync", &request.into_inner());
        Ok(Response::new(()))
    }
}

async fn replay(bytes: &'static [u8]) -> Vec<String> {
    let (listener, address) = listen().await;
    let recorder = Recorder::default();
    let router = Router::new()
        .add(ControllerServiceServer::new(recorder.clone()))
        .add(ReplicaServiceServer::new(recorder.clone()))
        .add(SyncAgentServiceServer::new(recorder.clone()));
    host::spawn(serve(listener, router));
    let mut stream = TcpStream::connect(address.parse().expect("an address")).await.expect("a connection");
    stream.write_all(bytes).await.expect("room in the buffers");
    let mut answers = Vec::new();
    // Each answer ends with its trailers: read until nothing more comes.
    while timeout(Duration::from_millis(300), stream.read_buf(&mut answers))
        .await
        .is_ok_and(|read| read.is_ok_and(|read| read > 0))
    {}
    assert!(!answers.is_empty(), "the server answers");
    let recorded = recorder.0.lock().expect("not poisoned");
    recorded.clone()
}

#[test]
fn the_real_clients_calls_arrive() {
    in_both_worlds(|| async {
        let snapshot = ReplicaSnapshotRequest {
            name: "w1".to_owned(),
            user_created: true,
            created: "2026-11-20T17:33:17Z".to_owned(),
            labels: Default::default(),
        };
        let bytes = include_bytes!("../golden/replica-snapshot.c2s.bin");
        assert_eq!(replay(bytes).await, [format!("ReplicaSnapshot {snapshot:?}")]);

        let calls = replay(include_bytes!("../golden/controller-add-replica.c2s.bin")).await;
        let create = ControllerReplicaCreateRequest {
            address: "tcp://127.0.0.1:10040".to_owned(),
            snapshot_required: true,
            mode: 0,
        };
        assert!(calls.contains(&format!("ControllerReplicaCreate {create:?}")), "{calls:?}");
        assert!(calls.contains(&"ReplicaList ()".to_owned()), "{calls:?}");

        let calls = replay(include_bytes!("../golden/files-sync.c2s.bin")).await;
        let first = SyncFileInfo {
            from_file_name: "volume-snap-w1.img".to_owned(),
            to_file_name: "volume-snap-w1.img".to_owned(),
            actual_size: 8192,
        };
        assert!(calls.len() == 1 && calls[0].starts_with("FilesSync"), "{calls:?}");
        assert!(
            calls[0].contains(&format!("{first:?}")) && calls[0].contains("file_sync_http_client_timeout: 5"),
            "{calls:?}"
        );
    });
}

#[test]
fn the_real_servers_answer_is_understood() {
    in_both_worlds(|| async {
        let (listener, address) = listen().await;
        host::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let bytes = include_bytes!("../golden/replica-snapshot.s2c.bin");
            // The settings first, and the rest once the call is there.
            let settings = 9 + 6;
            stream.write_all(&bytes[..settings]).await.expect("an open connection");
            let mut heard = [0; 4096];
            let mut length = 0;
            while !heard[..length].windows(2).any(|pair| pair == b"w1") {
                length += stream.read(&mut heard[length..]).await.expect("an open connection");
            }
            stream.write_all(&bytes[settings..]).await.expect("an open connection");
            sleep(Duration::from_secs(5)).await;
        });
        let request = ReplicaSnapshotRequest { name: "w1".to_owned(), ..Default::default() };
        let answer =
            ReplicaServiceClient::new(Channel::new(address)).replica_snapshot(request).await.expect("an answer");
        let replica = answer.into_inner().replica.expect("a replica");
        assert_eq!((replica.head.as_str(), replica.parent.as_str()), ("volume-head-001.img", "volume-snap-w1.img"));
        assert_eq!(replica.chain, ["volume-head-001.img", "volume-snap-w1.img"]);
        assert!(replica.disks["volume-snap-w1.img"].user_created);
    });
}
