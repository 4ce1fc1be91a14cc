//! corral-kube-client and this server together: every verb in both worlds, and caches that end up right whatever befalls server and connections.
#![cfg(madsim)]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corral_apiserver::{
    AnswerFate, ClientIdentity, Delivery, HistoryOptions, Options, Refusal, RequestFate, RequestPolicy, RequestView,
    Server, Store,
};
use corral_core::{Attachments, Process, ProcessSpec, Signal, world};
use corral_kube_client::discovery::discover;
use corral_kube_client::election::Ended;
use corral_kube_client::informer::wait_for_cache_sync;
use corral_kube_client::{
    Api, Client, ClientOptions, DEFAULT_RETRY, DeleteParams, Deleted, DynamicApi, DynamicObject, Election,
    ElectionConfig, Event, EventRecorder, EventSource, EventType, InformerOptions, ListParams, MetadataObject, Patch,
    PatchParams, ResourceDescriptor, SharedInformer, Stop, retry_on_conflict,
};
use host::net::TcpListener;
use host::random::Stream;
use host::time::sleep;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event as CoreEvent};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

fn in_both_worlds<F>(body: fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    corral_core::run(corral_core::Options::new(1), body()).unwrap();
    host::real::block_on(body());
}

async fn serve() -> (Client, Arc<Store>) {
    let store = Store::new(HistoryOptions::default());
    let server = Server::new(store.clone(), Options::default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    host::spawn(async move { server.serve(listener).await });
    (Client::new(&address.to_string(), ClientOptions::unlimited("test")).unwrap(), store)
}

fn map(name: &str) -> ConfigMap {
    let metadata = ObjectMeta { name: Some(name.into()), namespace: Some("default".into()), ..ObjectMeta::default() };
    ConfigMap { metadata, ..ConfigMap::default() }
}

#[test]
fn writes_conflict_and_finalizers_hold_in_both_worlds() {
    in_both_worlds(|| async {
        let (client, _) = serve().await;
        let api: Api<ConfigMap> = Api::namespaced(&client, "default");
        let created = api.create(&map("a")).await.unwrap();
        assert!(api.create(&map("a")).await.unwrap_err().is_already_exists());
        let mut changed = created.clone();
        changed.data = Some([("k".to_owned(), "v".to_owned())].into());
        api.update(&changed).await.unwrap();
        assert!(api.update(&changed).await.unwrap_err().is_conflict());
        let merge = Patch::Merge(json!({"metadata": {"labels": {"x": "y"}, "finalizers": ["example.com/f"]}}));
        let patched = api.patch("a", &PatchParams::default(), &merge).await.unwrap();
        assert_eq!(patched.data, changed.data);
        assert_eq!(api.list(&ListParams::default().labels("x=y")).await.unwrap().items.len(), 1);
        assert!(api.list(&ListParams::default().labels("x=z")).await.unwrap().items.is_empty());
        let deleted = api.delete("a", &DeleteParams::default()).await.unwrap();
        assert!(matches!(deleted, Deleted::Object(map) if map.metadata.deletion_timestamp.is_some()));
        let json = Patch::Json(json!([{"op": "remove", "path": "/metadata/finalizers"}]));
        api.patch("a", &PatchParams::default(), &json).await.unwrap();
        assert!(api.get("a").await.unwrap_err().is_not_found());
        assert!(api.delete("a", &DeleteParams::default()).await.unwrap_err().is_not_found());
    });
}

#[test]
fn pages_collections_and_kinds_known_at_run_time_in_both_worlds() {
    in_both_worlds(|| async {
        let (client, _) = serve().await;
        let api: Api<ConfigMap> = Api::namespaced(&client, "default");
        for number in 0..12 {
            api.create(&map(&format!("m{number}"))).await.unwrap();
        }
        let first = api.list(&ListParams::default().limit(10)).await.unwrap();
        let token = first.continue_token().unwrap();
        let second = api.list(&ListParams::default().limit(10).continue_token(token)).await.unwrap();
        assert_eq!((first.items.len(), second.items.len()), (10, 2));
        assert!(second.continue_token().is_none());

        let discovered = discover(&client).await.unwrap();
        assert!(discovered.failed.is_empty());
        let maps = discovered.resources.iter().find(|found| &*found.resource.kind == "ConfigMap").unwrap();
        assert!(maps.namespaced && maps.supports(&["list", "watch", "delete"]));
        let metadata: Api<MetadataObject> = Api::all_of(&client, &maps.resource);
        assert_eq!(metadata.list(&ListParams::default()).await.unwrap().items.len(), 12);
        let dynamic: DynamicApi = Api::namespaced_of(&client, "default", &maps.resource);
        let mut object = DynamicObject::new(&maps.resource, map("dynamic").metadata);
        object.fields.insert("data".into(), json!({"a": "b"}));
        assert_eq!(dynamic.create(&object).await.unwrap().fields["data"], json!({"a": "b"}));
        let unknown: DynamicApi = Api::all_of(&client, &ResourceDescriptor::new("none.io", "v1", "None", "nones"));
        assert!(unknown.list(&ListParams::default()).await.unwrap_err().is_not_found());

        api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
        assert!(api.list(&ListParams::default()).await.unwrap().items.is_empty());
    });
}

#[test]
fn leases_and_events_are_as_the_server_wants_them_in_both_worlds() {
    in_both_worlds(|| async {
        let (client, _) = serve().await;
        let stop = Stop::new();
        let config = ElectionConfig { release_on_cancel: true, ..ElectionConfig::new("default", "lock", "me") };
        let election = Election::new(&client, config);
        let leads = stop.clone();
        let ended = election.run(&stop, |lost: Stop| async move {
            // Not at once: a renewal that is under way when the stop comes makes the giving back a conflict, as in client-go.
            sleep(Duration::from_secs(1)).await;
            leads.stop();
            lost.stopped().await;
        });
        assert_eq!(ended.await, Ended::Stopped);
        let lease = Api::<Lease>::namespaced(&client, "default").get("lock").await.unwrap().spec.unwrap();
        assert_eq!(lease.holder_identity.as_deref(), Some(""));
        assert_eq!(lease.lease_duration_seconds, Some(1));

        let recorder = EventRecorder::new(&client, EventSource { component: "test".into(), host: "node".into() });
        for _ in 0..3 {
            recorder.event(&map("a"), EventType::Normal, "Reason", "message");
        }
        let events: Api<CoreEvent> = Api::namespaced(&client, "default");
        loop {
            let found = events.list(&ListParams::default()).await.unwrap().items;
            if found.len() == 1 && found[0].count == Some(3) {
                assert_eq!(found[0].involved_object.name.as_deref(), Some("a"));
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    });
}

/// Strikes requests and deliveries at random while it is switched on.
struct Weather {
    on: AtomicBool,
    random: Mutex<Stream>,
}

impl RequestPolicy for Weather {
    fn request(&self, request: &RequestView<'_>) -> RequestFate {
        let mut random = self.random.lock().unwrap();
        if !self.on.load(Ordering::SeqCst) || !random.chance(1, 4) {
            return RequestFate::default();
        }
        let refusal = |code, retry_after_seconds| {
            let message = "bad weather".to_owned();
            RequestFate { refusal: Some(Refusal { code, retry_after_seconds, message }), ..RequestFate::default() }
        };
        match random.below(6) {
            0 => refusal(500, None),
            1 => refusal(503, Some(1)),
            2 => refusal(429, Some(1)),
            3 if request.verb == "update" => refusal(409, None),
            4 => RequestFate { answer: AnswerFate::Lost, ..RequestFate::default() },
            _ => RequestFate { delay: Duration::from_millis(random.below(3000)), ..RequestFate::default() },
        }
    }

    fn delivery(&self, _client: &ClientIdentity, _resource: &str) -> Delivery {
        let mut random = self.random.lock().unwrap();
        if !self.on.load(Ordering::SeqCst) {
            return Delivery::Prompt;
        }
        match random.below(20) {
            0 => Delivery::Drop,
            1..4 => Delivery::After(Duration::from_millis(random.below(5000))),
            _ => Delivery::Prompt,
        }
    }
}

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 6443);

/// A server process over the store, on a machine of its own.
fn start_server(store: &Arc<Store>, weather: &Arc<Weather>) -> Arc<Process> {
    let world = world();
    let machine = world.machine_named("control-plane").unwrap_or_else(|| world.add_machine("control-plane")).id;
    let spec = ProcessSpec {
        name: "kube-apiserver".into(),
        machine,
        address: Ipv4Addr::new(10, 0, 0, 1),
        hostname: "kube-apiserver".into(),
        arguments: Vec::new(),
        environment: BTreeMap::new(),
        attachments: Attachments::default(),
    };
    let options = Options { policy: weather.clone(), ..Options::default() };
    let store = store.clone();
    let main = async move {
        let server = Server::new(store, options);
        server.serve(TcpListener::bind(SERVER).await.unwrap()).await;
        0
    };
    world.spawn_process(spec, Box::pin(main))
}

type Versions = BTreeMap<String, u64>;

fn version(object: &ConfigMap) -> (String, u64) {
    let metadata = &object.metadata;
    (metadata.name.clone().unwrap(), metadata.resource_version.as_ref().unwrap().parse().unwrap())
}

/// A client with an informer, and the books that a handler of it keeps.
fn watcher(name: &str) -> (SharedInformer<ConfigMap>, Arc<Mutex<Versions>>) {
    let client = Client::new(&SERVER.to_string(), ClientOptions::unlimited(name)).unwrap();
    let informer = SharedInformer::new(Api::namespaced(&client, "default"), InformerOptions::default());
    let books = Arc::new(Mutex::new(Versions::new()));
    let kept = books.clone();
    informer.add_handler(move |event: Event<ConfigMap>| {
        let (name, version) = version(event.object());
        let mut books = kept.lock().unwrap();
        match event {
            Event::Deleted { .. } => books.remove(&name),
            _ => books.insert(name, version),
        };
    });
    informer.start(&Stop::new());
    (informer, books)
}

/// Creates, changes and deletes a few objects at random, whatever comes of it; counts what succeeded.
async fn write_at_random(random: &mut Stream, api: &Api<ConfigMap>) -> usize {
    let name = format!("m{}", random.below(6));
    let done = match random.below(4) {
        0 => api.create(&map(&name)).await.is_ok(),
        1 => api.delete(&name, &DeleteParams::default()).await.is_ok(),
        _ => {
            let value = random.hex(8);
            let attempt = || async {
                let mut object = api.get(&name).await?;
                object.data = Some([("k".to_owned(), value.clone())].into());
                api.update(&object).await
            };
            retry_on_conflict(api.client(), DEFAULT_RETRY, attempt).await.is_ok()
        }
    };
    sleep(Duration::from_millis(random.below(4000))).await;
    usize::from(done)
}

async fn storm() -> (usize, usize) {
    let mut random = host::random::stream("storm");
    let store = Store::new(HistoryOptions {
        compaction_interval: Duration::from_secs(20),
        watch_window: 5,
        max_bytes: 1 << 20,
    });
    let weather = Arc::new(Weather { on: AtomicBool::new(true), random: Mutex::new(host::random::stream("weather")) });
    let mut server = start_server(&store, &weather);
    let watchers: Vec<_> = ["one", "two", "three"].map(watcher).into();
    let client = Client::new(&SERVER.to_string(), ClientOptions::unlimited("writer")).unwrap();
    let api: Api<ConfigMap> = Api::namespaced(&client, "default");
    let (mut written, mut restarts) = (0, 0);
    for _ in 0..60 {
        written += write_at_random(&mut random, &api).await;
        if random.chance(1, 12) {
            restarts += 1;
            world().signal(&server, Signal::Kill);
            sleep(Duration::from_millis(random.below(8000))).await;
            server = start_server(&store, &weather);
        }
    }
    weather.on.store(false, Ordering::SeqCst);
    // Long enough for every back-off and every held event to end.
    sleep(Duration::from_secs(120)).await;
    let truth: Versions = store
        .objects("configmaps")
        .filter(|object| object.namespace() == "default")
        .map(|object| (object.name().to_owned(), object.revision()))
        .collect();
    for (informer, books) in &watchers {
        wait_for_cache_sync(&[informer]).await;
        let cache: Versions = informer.lister().list().iter().map(|object| version(object)).collect();
        assert_eq!(cache, truth);
        assert_eq!(*books.lock().unwrap(), truth);
    }
    (written, restarts)
}

#[test]
fn every_cache_ends_up_as_the_store_is() {
    let (mut written, mut restarts) = (0, 0);
    for seed in 0..25 {
        let (writes, kills) = corral_core::run(corral_core::Options::new(seed), storm()).unwrap();
        written += writes;
        restarts += kills;
    }
    assert!(written > 500, "only {written} writes came through");
    assert!(restarts > 50, "only {restarts} restarts");
}
