//! The collector and the namespace controller beside an API server in the real world: loopback sockets, real time.

use std::time::Duration;

use corral_apiserver::{HistoryOptions, Server, Store};
use corral_cluster::garbage_collector::{self, GarbageCollectorOptions};
use corral_cluster::namespace::{self, NamespaceControllerOptions};
use corral_kube_client::params::DeleteParams;
use corral_kube_client::{Api, Client, ClientOptions, Stop};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use serde_json::json;

use crate::common::*;

#[test]
fn garbage_and_namespaces_are_collected_on_real_sockets_too() {
    host::real::block_on(async {
        let listener = host::net::TcpListener::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let server = Server::new(Store::new(HistoryOptions::default()), corral_apiserver::Options::default());
        host::spawn(async move { server.serve(listener).await });
        let stop = Stop::new();
        let (at, until_stopped) = (address.clone(), stop.clone());
        host::spawn(async move {
            let options = GarbageCollectorOptions::default();
            garbage_collector::run(&at, options, until_stopped).await.expect("an address");
        });
        let (at, until_stopped) = (address.clone(), stop.clone());
        host::spawn(async move {
            let options =
                NamespaceControllerOptions { deletion_delay: Duration::from_millis(200), ..Default::default() };
            namespace::run(&at, options, until_stopped).await.expect("an address");
        });
        let client = Client::new(&address, ClientOptions::unlimited("test")).expect("an address");
        let spaces: Api<Namespace> = Api::all(&client);
        spaces.create(&object(json!({"metadata": {"name": "busy"}}))).await.expect("created");
        let maps: Api<ConfigMap> = Api::namespaced(&client, "busy");
        let owner = maps.create(&object(json!({"metadata": {"name": "owner"}}))).await.expect("created");
        let reference = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid}]);
        let owned = object(json!({"metadata": {"name": "owned", "ownerReferences": reference}}));
        maps.create(&owned).await.expect("created");
        maps.delete("owner", &DeleteParams::background()).await.expect("deleted");
        until_gone(&maps, "owned", 20).await;
        maps.create(&object(json!({"metadata": {"name": "left"}}))).await.expect("created");
        spaces.delete("busy", &DeleteParams::default()).await.expect("deleted");
        until_gone(&spaces, "busy", 20).await;
        stop.stop();
    });
}
