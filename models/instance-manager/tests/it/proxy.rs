//! The proxy, before an engine of the v1 data engine.

use std::net::SocketAddr;

use host::net::TcpListener;
use longhorn_rpc::imrpc::{EngineReplicaRemoveRequest, ProxyEngineRequest};
use longhorn_rpc::ptypes::controller_service_server::{ControllerService, ControllerServiceServer};
use longhorn_rpc::ptypes::{ControllerReplica, ReplicaAddress, ReplicaListReply, ReplicaMode, Volume};
use longhorn_rpc::{Code, Identity, Request, Response, Router, ServerKind, Status, async_trait, serve};

use crate::support::{Node, newest, simulate};

struct Controller;

#[async_trait]
impl ControllerService for Controller {
    async fn volume_get(&self, _: Request<()>) -> Result<Response<Volume>, Status> {
        Ok(Response::new(Volume { name: "v".into(), size: 5, ..Volume::default() }))
    }

    async fn replica_list(&self, _: Request<()>) -> Result<Response<ReplicaListReply>, Status> {
        let address = ReplicaAddress { address: "tcp://10.0.0.9:1".into(), instance_name: "not passed on".into() };
        let replica = ControllerReplica { address: Some(address), mode: ReplicaMode::Rw.into() };
        Ok(Response::new(ReplicaListReply { replicas: vec![replica] }))
    }

    async fn replica_delete(&self, request: Request<ReplicaAddress>) -> Result<Response<()>, Status> {
        Err(Status::internal(format!("no replica {}", request.get_ref().address)))
    }
}

/// An engine of volume `v`, instance `v-e-0`, at the body's address.
async fn start_controller() -> SocketAddr {
    let listener = TcpListener::bind(SocketAddr::new(host::net::local_ip(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let identity = Identity::new("v", "v-e-0");
    let router = Router::new().add(ControllerServiceServer::new(Controller));
    host::spawn(serve(listener, router.identity(ServerKind::Controller, identity)));
    address
}

fn request(address: SocketAddr, engine: &str) -> ProxyEngineRequest {
    ProxyEngineRequest {
        address: address.to_string(),
        engine_name: engine.into(),
        volume_name: "v".into(),
        ..ProxyEngineRequest::default()
    }
}

#[test]
fn answers_and_errors_are_passed_on() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v1(newest()).await;
        let address = start_controller().await;
        let volume = node.proxy().volume_get(request(address, "v-e-0")).await.unwrap().into_inner().volume.unwrap();
        assert_eq!((volume.name.as_str(), volume.size), ("v", 5));
        let listed = node.proxy().replica_list(request(address, "v-e-0")).await.unwrap().into_inner();
        let replica = listed.replica_list.unwrap().replicas.remove(0);
        assert_eq!(replica.mode(), ReplicaMode::Rw);
        assert_eq!(replica.address.unwrap().instance_name, "");
        let remove = EngineReplicaRemoveRequest {
            proxy_engine_request: Some(request(address, "v-e-0")),
            replica_address: "tcp://10.0.0.9:1".into(),
            replica_name: String::new(),
        };
        let refused = node.proxy().replica_remove(remove).await.unwrap_err();
        let expected = format!(
            "failed to delete replica tcp://10.0.0.9:1 for volume {address}: rpc error: code = Internal desc = no replica tcp://10.0.0.9:1"
        );
        assert_eq!((refused.code(), refused.message()), (Code::Internal, expected.as_str()));
    });
}

#[test]
fn an_engine_that_is_another_refuses() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v1(newest()).await;
        let address = start_controller().await;
        let refused = node.proxy().volume_get(request(address, "w-e-0")).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("incorrect instance name w-e-0; check controller address"));
        let nobody = SocketAddr::new(node.address.into(), 9);
        let refused = node.proxy().volume_get(request(nobody, "v-e-0")).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
    });
}
