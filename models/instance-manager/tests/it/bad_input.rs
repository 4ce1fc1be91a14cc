//! Garbage at every port, requests that say nothing, and foreign or damaged disks: a clear error, and the pod lives on.

use std::net::SocketAddr;

use corral_core::world;
use host::net::TcpStream;
use longhorn_rpc::Code;
use longhorn_rpc::imrpc::{
    EngineVolumeExpandRequest, InstanceCreateRequest, InstanceDeleteRequest, InstanceSpec, ProxyEngineRequest,
};
use longhorn_rpc::process_manager::{ProcessCreateRequest, ProcessSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::block_disks::create_disk;
use crate::support::{BINARY, Node, kill, newest, simulate};

#[test]
fn garbage_at_every_port_is_survived() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        let pod = node.boot_v2(newest()).await;
        for port in 8500..=8504 {
            for garbage in
                [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\xff\xff"]
            {
                let mut stream = TcpStream::connect(SocketAddr::new(node.address.into(), port)).await.unwrap();
                stream.write_all(garbage).await.unwrap();
                // Whatever it answers, if it answers.
                let _ = host::time::timeout(std::time::Duration::from_secs(1), stream.read(&mut [0; 64])).await;
            }
        }
        assert!(pod.is_alive());
        node.instances().instance_list(()).await.unwrap();
    });
}

#[test]
fn requests_that_say_too_little_are_refused() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v2(newest()).await;
        let empty = node.instances().instance_create(InstanceCreateRequest::default()).await.unwrap_err();
        assert_eq!(empty.code(), Code::InvalidArgument);
        let unknown = InstanceSpec { data_engine: 7, ..InstanceSpec::default() };
        let unknown = node.instances().instance_create(InstanceCreateRequest { spec: Some(unknown) }).await;
        assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);
        let kind = InstanceDeleteRequest { data_engine: 1, r#type: "share".into(), ..InstanceDeleteRequest::default() };
        let kind = node.instances().instance_delete(kind).await.unwrap_err();
        assert_eq!((kind.code(), kind.message()), (Code::InvalidArgument, "unknown instance type share"));
        let nobody = node.proxy().volume_expand(EngineVolumeExpandRequest::default()).await.unwrap_err();
        assert_eq!(nobody.code(), Code::InvalidArgument);
        let no_port =
            ProxyEngineRequest { address: "10.0.0.1".into(), data_engine: 1, ..ProxyEngineRequest::default() };
        assert_eq!(node.proxy().volume_get(no_port).await.unwrap_err().code(), Code::Internal);
    });
}

#[test]
fn ports_that_cannot_be_had_are_refused() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.boot_v1(newest()).await;
        let create = async |count: i32, arguments: usize| {
            let spec = ProcessSpec {
                name: format!("v-r-{count}"),
                binary: BINARY.into(),
                port_count: count,
                port_args: vec!["--listen,0.0.0.0:".into(); arguments],
                ..ProcessSpec::default()
            };
            node.processes().process_create(ProcessCreateRequest { spec: Some(spec) }).await.unwrap_err()
        };
        assert!(create(-1, 0).await.message().contains("invalid port count -1"));
        assert!(create(20_000, 1).await.message().contains("cannot find an empty port range"));
        assert!(create(1, 2).await.message().contains("too many port args"));
        assert!(node.processes().process_list(longhorn_rpc::process_manager::ProcessListRequest {}).await.is_ok());
    });
}

#[test]
fn a_damaged_disk_is_not_taken_for_an_empty_one_while_a_copy_is_whole() {
    simulate(|| async {
        let node = Node::new("node-1", [10, 0, 0, 1]);
        node.add_device("/dev/sdb", 64 << 20).await;
        let pod = node.boot_v2(newest()).await;
        let made = create_disk(&node, "block", "", "/dev/sdb").await.unwrap();
        kill(&pod);
        // The first copy of its metadata, torn.
        let mut content = node.disk.contents("/dev/sdb").unwrap();
        content[100..120].fill(0xaa);
        node.disk.put("/dev/sdb", &content).unwrap();
        let pod = node.boot_v2(newest()).await;
        assert_eq!(create_disk(&node, "block", &made.uuid, "/dev/sdb").await.unwrap().uuid, made.uuid);
        kill(&pod);
        // Both copies: with the UUID that it must have, it is not made anew.
        content[(1 << 20)..(1 << 20) + 200].fill(0x55);
        node.disk.put("/dev/sdb", &content).unwrap();
        node.boot_v2(newest()).await;
        let lost = create_disk(&node, "block", &made.uuid, "/dev/sdb").await.unwrap_err();
        assert!(lost.message().contains("cannot find lvstore with UUID"), "{}", lost.message());
        assert!(!world().processes_at(node.address).is_empty());
    });
}
