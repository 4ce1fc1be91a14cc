//! What handlers and readers of an informer see while all goes well: lists, watches, resyncs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use corral_kube_client::informer::{ResyncPhase, wait_for_cache_sync};
use corral_kube_client::{Api, Client, Event, InformerFactory, InformerOptions, SharedInformer, Stop, Synced};
use host::time::{Instant, sleep};
use k8s_openapi::api::core::v1::ConfigMap;

use crate::fake::{self, Reply, Script, config_map, line, list};
use crate::simulate;

/// What a handler was told, in order.
pub type Told = Arc<Mutex<Vec<String>>>;

pub fn handler() -> (Told, impl FnMut(Event<ConfigMap>) + Send + 'static) {
    let told = Told::default();
    let log = told.clone();
    (told, move |event| log.lock().unwrap().push(describe(&event)))
}

fn describe(event: &Event<ConfigMap>) -> String {
    let of = |object: &ConfigMap| {
        let version = object.metadata.resource_version.as_deref().unwrap();
        format!("{}@{version}", object.metadata.name.as_deref().unwrap())
    };
    match event {
        Event::Added { object, in_initial_list: true } => format!("initial {}", of(object)),
        Event::Added { object, .. } => format!("added {}", of(object)),
        Event::Updated { old, new } => format!("updated {} to {}", of(old), of(new)),
        Event::Deleted { object, final_state_known: true } => format!("deleted {}", of(object)),
        Event::Deleted { object, .. } => format!("vanished {}", of(object)),
    }
}

pub fn take(told: &Told) -> Vec<String> {
    let mut told = std::mem::take(&mut *told.lock().unwrap());
    // The order of a list is nobody's promise.
    told.sort();
    told
}

pub fn informer(client: &Client, resync_seconds: u64) -> SharedInformer<ConfigMap> {
    let options = InformerOptions {
        phase: ResyncPhase::AfterList,
        ..InformerOptions::resync(Duration::from_secs(resync_seconds))
    };
    SharedInformer::new(Api::namespaced(client, "ns"), options)
}

#[test]
fn a_list_and_a_watch_reach_cache_and_handlers_in_order() {
    simulate(1, async {
        let script = Script::default();
        script.list(Reply::Json(200, list(10, vec![config_map("a", 3), config_map("b", 4)])));
        let watch = script.open_watch();
        let (address, requests) = script.serve().await;
        let informer = informer(&fake::client(address), 0);
        let (told, handle) = handler();
        let registration = informer.add_handler(handle);
        assert!(!informer.has_synced());
        informer.start(&Stop::new());
        wait_for_cache_sync(&[&informer, &registration]).await;
        assert_eq!(take(&told), ["initial a@3", "initial b@4"]);

        for event in [
            line("MODIFIED", config_map("a", 11)),
            line("ADDED", config_map("c", 12)),
            line("DELETED", config_map("b", 13)),
            line("BOOKMARK", config_map("", 14)),
        ] {
            watch.send(event).await.unwrap();
        }
        sleep(Duration::from_millis(50)).await;
        assert_eq!(*told.lock().unwrap(), ["updated a@3 to a@11", "added c@12", "deleted b@13"]);
        let lister = informer.lister();
        assert_eq!(lister.len(), 2);
        assert!(lister.get("ns/b").is_none());
        let error = lister.namespaced("ns").require("b").unwrap_err();
        assert!(error.is_not_found());
        assert_eq!(error.to_string(), r#"configmaps "b" not found"#);
        assert_eq!(lister.get("ns/a").unwrap().metadata.resource_version.as_deref(), Some("11"));
        assert_eq!(informer.lag().resource_version, "14");
        sleep(Duration::from_secs(7)).await;
        assert_eq!(informer.lag().silence.unwrap().as_secs(), 7);

        let requests = requests.lock().unwrap();
        assert_eq!(requests[0].query, "limit=500&resourceVersion=0");
        assert_eq!(requests[1].parameter("resourceVersion"), Some("10"));
        assert_eq!(requests[1].parameter("allowWatchBookmarks"), Some("true"));
        let timeout: u64 = requests[1].parameter("timeoutSeconds").unwrap().parse().unwrap();
        assert!((300..=600).contains(&timeout), "{timeout}");
    });
}

#[test]
fn a_watch_that_ends_is_opened_again_at_once_from_its_last_bookmark() {
    simulate(2, async {
        let script = Script::default();
        script.list(Reply::Json(200, list(10, vec![])));
        let first = script.open_watch();
        let second = script.open_watch();
        let (address, requests) = script.serve().await;
        let informer = informer(&fake::client(address), 0);
        informer.start(&Stop::new());
        sleep(Duration::from_secs(2)).await;
        first.send(line("BOOKMARK", config_map("", 77))).await.unwrap();
        drop(first);
        sleep(Duration::from_millis(100)).await;
        let requests = requests.lock().unwrap().clone();
        assert_eq!(requests.len(), 3);
        assert_eq!(requests[2].parameter("resourceVersion"), Some("77"));
        second.send(line("ADDED", config_map("a", 78))).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        assert_eq!(informer.lister().len(), 1);
    });
}

#[test]
fn only_handlers_that_asked_for_it_are_resynced_each_with_its_own_period() {
    simulate(3, async {
        let script = Script::default();
        script.list(Reply::Json(200, list(10, vec![config_map("a", 3)])));
        let _watch = script.open_watch();
        let (address, _) = script.serve().await;
        let informer = informer(&fake::client(address), 30);
        let (default, handle) = handler();
        informer.add_handler(handle);
        let (never, handle) = handler();
        informer.add_handler_with_resync(Duration::ZERO, handle);
        let (slow, handle) = handler();
        informer.add_handler_with_resync(Duration::from_secs(75), handle);
        informer.start(&Stop::new());
        sleep(Duration::from_secs(301)).await;
        let resyncs = |told: &Told| take(told).iter().filter(|event| *event == "updated a@3 to a@3").count();
        assert_eq!(resyncs(&default), 10);
        assert_eq!(resyncs(&never), 0);
        // Due at 75 s, but the informer looks each 30 s: at 90, 180 and 270 s.
        assert_eq!(resyncs(&slow), 3);
    });
}

#[test]
fn a_factory_draws_one_phase_for_all_its_informers() {
    let phases: Vec<Duration> = (0..20)
        .map(|seed| {
            simulate(seed, async {
                let script = Script::default();
                script.list(Reply::Json(200, list(10, vec![config_map("a", 3)])));
                let _watch = script.open_watch();
                let (address, _) = script.serve().await;
                let factory = InformerFactory::namespaced(&fake::client(address), "ns", Duration::from_secs(30));
                let informer = factory.informer::<ConfigMap>();
                let first = Arc::new(Mutex::new(None));
                let begun = Instant::now();
                informer.add_handler({
                    let first = first.clone();
                    move |event| {
                        if matches!(event, Event::Updated { .. }) {
                            first.lock().unwrap().get_or_insert(begun.elapsed());
                        }
                    }
                });
                factory.start(&Stop::new());
                factory.wait_for_cache_sync().await;
                sleep(Duration::from_secs(31)).await;
                first.lock().unwrap().unwrap()
            })
        })
        .collect();
    assert!(phases.iter().any(|phase| *phase < Duration::from_secs(10)), "{phases:?}");
    assert!(phases.iter().any(|phase| *phase > Duration::from_secs(20)), "{phases:?}");
    assert!(phases.iter().all(|phase| *phase < Duration::from_secs(31)), "{phases:?}");
}

#[test]
fn a_late_handler_is_told_of_everything_that_is_there() {
    simulate(4, async {
        let script = Script::default();
        script.list(Reply::Json(200, list(10, vec![config_map("a", 3)])));
        let watch = script.open_watch();
        let (address, _) = script.serve().await;
        let informer = informer(&fake::client(address), 0);
        informer.start(&Stop::new());
        wait_for_cache_sync(&[&informer]).await;
        let (told, handle) = handler();
        let registration = informer.add_handler(handle);
        assert!(!registration.has_synced());
        sleep(Duration::from_millis(1)).await;
        assert!(registration.has_synced());
        registration.remove();
        watch.send(line("ADDED", config_map("b", 11))).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        assert_eq!(*told.lock().unwrap(), ["initial a@3"], "a removed handler hears nothing more");
        assert_eq!(informer.lister().len(), 2);
    });
}

#[test]
fn indices_follow_their_objects() {
    simulate(5, async {
        let script = Script::default();
        script.list(Reply::Json(200, list(10, vec![config_map("a", 3), config_map("b", 4)])));
        let watch = script.open_watch();
        let (address, _) = script.serve().await;
        let informer = informer(&fake::client(address), 0);
        informer.add_label_index("by-app", "app");
        informer.start(&Stop::new());
        wait_for_cache_sync(&[&informer]).await;
        let names = |value: &str| -> Vec<String> {
            let found = informer.lister().by_index("by-app", value);
            found.iter().map(|object| object.metadata.name.clone().unwrap()).collect()
        };
        assert_eq!(names("a"), ["a"]);
        let mut moved = config_map("a", 11);
        moved["metadata"]["labels"]["app"] = "b".into();
        watch.send(line("MODIFIED", moved)).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        assert!(names("a").is_empty());
        assert_eq!(names("b").len(), 2);
        assert_eq!(informer.lister().index_values("by-app"), ["b"]);
        watch.send(line("DELETED", config_map("b", 12))).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        assert_eq!(names("b"), ["a"]);
    });
}

#[test]
fn a_stopped_informer_ends_its_watch_and_its_handlers() {
    simulate(6, async {
        let script = Script::default();
        script.list(Reply::Json(200, list(10, vec![config_map("a", 3)])));
        let watch = script.open_watch();
        let (address, _) = script.serve().await;
        let informer = informer(&fake::client(address), 1);
        let (told, handle) = handler();
        informer.add_handler(handle);
        let stop = Stop::new();
        informer.start(&stop);
        wait_for_cache_sync(&[&informer]).await;
        stop.stop();
        watch.closed().await;
        sleep(Duration::from_secs(10)).await;
        assert!(informer.is_stopped());
        assert_eq!(*told.lock().unwrap(), ["initial a@3"], "no resync after the stop");
    });
}
