//! kube-rs against our server, in the real world: its client, its watcher, its reflector.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use corral_apiserver::{HistoryOptions, Options, Server, Store};
use futures_util::{StreamExt, TryStreamExt};
use host::net::TcpListener;
use host::time::{sleep, timeout};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, Config};
use serde_json::json;

/// A client of a fresh server.
async fn client() -> Client {
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::new(Store::new(HistoryOptions::default()), Options::default());
    host::spawn(async move { server.serve(listener).await });
    Client::try_from(Config::new(url.parse().unwrap())).unwrap()
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.into()),
            labels: Some(BTreeMap::from([("a".into(), "b".into())])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("key".to_owned(), value.to_owned())])),
        ..ConfigMap::default()
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.expect("within 20 s")
}

#[test]
fn the_client_speaks_every_verb() {
    host::real::block_on(async {
        let client = client().await;
        assert!(!client.apiserver_version().await.unwrap().git_version.is_empty());
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
        let created = maps.create(&PostParams::default(), &config_map("one", "1")).await.unwrap();
        let taken = maps.create(&PostParams::default(), &config_map("one", "1")).await.unwrap_err();
        assert!(
            matches!(taken, kube::Error::Api(ref status) if status.code == 409 && status.reason == "AlreadyExists"),
            "{taken}"
        );
        let mut changed = created.clone();
        changed.data = config_map("one", "2").data;
        maps.replace("one", &PostParams::default(), &changed).await.unwrap();
        let stale = maps.replace("one", &PostParams::default(), &changed).await.unwrap_err();
        assert!(matches!(stale, kube::Error::Api(ref status) if status.reason == "Conflict"), "{stale}");
        let patch = Patch::Merge(json!({ "metadata": { "labels": { "c": "d" } } }));
        let patched = maps.patch("one", &PatchParams::default(), &patch).await.unwrap();
        assert_eq!(patched.metadata.labels.unwrap().len(), 2);
        assert_eq!(maps.list(&ListParams::default().labels("a=b,c=d")).await.unwrap().items.len(), 1);
        assert_eq!(maps.list_metadata(&ListParams::default()).await.unwrap().items.len(), 1);
        assert!(maps.get_opt("two").await.unwrap().is_none());
        maps.delete("one", &DeleteParams::default()).await.unwrap();
        assert!(maps.get_opt("one").await.unwrap().is_none());
        let namespaces: Api<Namespace> = Api::all(client);
        assert!(
            namespaces.list(&ListParams::default()).await.unwrap().items.iter().any(|namespace| namespace
                .metadata
                .name
                .as_deref()
                == Some("default"))
        );
    });
}

#[test]
fn a_raw_watch_shows_each_change() {
    host::real::block_on(async {
        let maps: Api<ConfigMap> = Api::namespaced(client().await, "default");
        let from = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
        maps.create(&PostParams::default(), &config_map("one", "1")).await.unwrap();
        maps.patch("one", &PatchParams::default(), &Patch::Merge(json!({ "data": { "key": "2" } }))).await.unwrap();
        maps.delete("one", &DeleteParams::default()).await.unwrap();
        let mut events = pin!(maps.watch(&WatchParams::default().timeout(10), &from).await.unwrap());
        let mut kinds = Vec::new();
        while kinds.len() < 3 {
            kinds.push(match in_time(events.try_next()).await.unwrap().expect("the watch goes on") {
                WatchEvent::Added(_) => "added",
                WatchEvent::Modified(_) => "modified",
                WatchEvent::Deleted(_) => "deleted",
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) => panic!("{status:?}"),
            });
        }
        assert_eq!(kinds, ["added", "modified", "deleted"]);
    });
}

#[test]
fn the_reflector_mirrors_custom_resources() {
    host::real::block_on(async {
        let client = client().await;
        let definitions: Api<DynamicObject> = Api::all_with(
            client.clone(),
            &ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition")),
        );
        let definition: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": "gadgets.kube.example" },
            "spec": {
                "group": "kube.example", "scope": "Namespaced",
                "names": { "plural": "gadgets", "singular": "gadget", "kind": "Gadget" },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": { "type": "object", "properties": { "size": { "type": "integer" } } } } } }
                }]
            }
        }))
        .unwrap();
        definitions.create(&PostParams::default(), &definition).await.unwrap();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("kube.example", "v1", "Gadget"));
        let gadgets: Api<DynamicObject> = Api::namespaced_with(client, "default", &resource);
        let gadget = |size: u32| {
            let object = json!({ "apiVersion": "kube.example/v1", "kind": "Gadget", "metadata": { "name": "g" }, "spec": { "size": size } });
            serde_json::from_value::<DynamicObject>(object).unwrap()
        };
        for attempt in 0.. {
            match gadgets.create(&PostParams::default(), &gadget(1)).await {
                Ok(_) => break,
                // The definition needs a moment to be served.
                Err(_) if attempt < 100 => sleep(Duration::from_millis(50)).await,
                Err(error) => panic!("{error}"),
            }
        }
        let writer = reflector::store::Writer::new(resource);
        let mirror = writer.as_reader();
        let stream = watcher(gadgets.clone(), watcher::Config::default()).default_backoff().reflect(writer);
        host::spawn(stream.for_each(|_| std::future::ready(())));
        in_time(mirror.wait_until_ready()).await.unwrap();
        assert_eq!(mirror.state().len(), 1);
        gadgets.patch("g", &PatchParams::default(), &Patch::Merge(json!({ "spec": { "size": 2 } }))).await.unwrap();
        in_time(async {
            while mirror.state()[0].data["spec"]["size"] != 2 {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        gadgets.delete("g", &DeleteParams::default()).await.unwrap();
        in_time(async {
            while !mirror.state().is_empty() {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    });
}
