//! What an informer does when lists and watches fail: back off, resume, or list again.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use corral_kube_client::informer::wait_for_cache_sync;
use corral_kube_client::{Stop, Synced};
use host::time::{Instant, sleep};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fake::{self, Reply, Requests, Script, config_map, line, list, status};
use crate::informer::{handler, informer, take};
use crate::simulate;

fn queries(requests: &Requests) -> Vec<String> {
    let requests = requests.lock().unwrap();
    let describe = |seen: &fake::Seen| {
        let kind = if seen.is_watch() { "watch" } else { "list" };
        let limit = seen.parameter("limit").map_or(String::new(), |limit| format!(" limit {limit}"));
        let token = seen.parameter("continue").map_or(String::new(), |token| format!(" continue {token}"));
        format!("{kind}{limit}{token} from {}", seen.parameter("resourceVersion").unwrap_or("newest"))
    };
    requests.iter().map(describe).collect()
}

fn expired() -> Value {
    status(410, "Expired", "too old resource version: 10 (99)")
}

#[test]
fn after_a_410_everything_is_listed_again_and_what_vanished_is_reported() {
    simulate(1, async {
        let script = Script::default();
        script.list(Reply::Json(200, list(10, vec![config_map("a", 3), config_map("b", 4), config_map("c", 5)])));
        let watch = script.open_watch();
        script.list(Reply::Json(200, list(99, vec![config_map("a", 3), config_map("b", 50), config_map("d", 51)])));
        let _second = script.open_watch();
        let (address, requests) = script.serve().await;
        let informer = informer(&fake::client(address), 600);
        let (told, handle) = handler();
        informer.add_handler(handle);
        let (without_resync, handle) = handler();
        informer.add_handler_with_resync(Duration::ZERO, handle);
        informer.start(&Stop::new());
        wait_for_cache_sync(&[&informer]).await;
        take(&told);
        take(&without_resync);

        let begun = Instant::now();
        watch.send(line("ERROR", expired())).await.unwrap();
        while take(&told).is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
        let waited = begun.elapsed();
        assert!((800..1700).contains(&waited.as_millis()), "{waited:?}");
        assert_eq!(
            take(&without_resync),
            // No resync check has run yet: an unchanged object still goes to every handler, as in client-go.
            ["added d@51", "updated a@3 to a@3", "updated b@4 to b@50", "vanished c@5"]
        );
        assert_eq!(
            queries(&requests),
            ["list limit 500 from 0", "watch from 10", "list from 10", "watch from 99"],
            "a relist asks for what was seen, in one page"
        );
    });
}

#[test]
fn unchanged_objects_of_a_relist_go_to_those_who_are_resynced() {
    simulate(2, async {
        let script = Script::default();
        script.list(Reply::Json(200, list(10, vec![config_map("a", 3)])));
        let watch = script.open_watch();
        script.list(Reply::Json(200, list(99, vec![config_map("a", 3)])));
        let _second = script.open_watch();
        let (address, _) = script.serve().await;
        let informer = informer(&fake::client(address), 20);
        let (resynced, handle) = handler();
        informer.add_handler(handle);
        let (other, handle) = handler();
        informer.add_handler_with_resync(Duration::ZERO, handle);
        informer.start(&Stop::new());
        sleep(Duration::from_secs(21)).await;
        assert_eq!(take(&resynced), ["initial a@3", "updated a@3 to a@3"]);
        assert_eq!(take(&other), ["initial a@3"]);
        watch.send(line("ERROR", expired())).await.unwrap();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(take(&resynced), ["updated a@3 to a@3"]);
        assert!(take(&other).is_empty());
    });
}

#[test]
fn a_list_from_a_version_that_is_gone_is_repeated_from_the_newest() {
    simulate(3, async {
        let script = Script::default();
        script.list(Reply::Json(200, list(10, vec![])));
        script.watch(Reply::Json(410, expired()));
        script.list(Reply::Json(410, expired()));
        script.list(Reply::Json(200, list(120, vec![config_map("a", 100)])));
        let _watch = script.open_watch();
        let (address, requests) = script.serve().await;
        let informer = informer(&fake::client(address), 0);
        informer.start(&Stop::new());
        sleep(Duration::from_secs(5)).await;
        assert_eq!(informer.lister().len(), 1);
        assert_eq!(
            queries(&requests),
            ["list limit 500 from 0", "watch from 10", "list from 10", "list limit 500 from newest", "watch from 120"]
        );
    });
}

#[test]
fn pages_are_put_together_and_an_expired_token_ends_in_one_whole_list() {
    simulate(4, async {
        let page = |version, name: &str, token: &str| {
            let mut page = list(version, vec![config_map(name, 3)]);
            page["metadata"]["continue"] = token.into();
            page
        };
        let script = Script::default();
        script.list(Reply::Json(200, page(10, "a", "t1")));
        script.list(Reply::Json(200, page(10, "b", "t2")));
        script.list(Reply::Json(200, page(10, "c", "")));
        let watch = script.open_watch();
        script.list(Reply::Json(200, page(20, "a", "t3")));
        script.list(Reply::Json(410, expired()));
        script.list(Reply::Json(200, list(30, vec![config_map("x", 25)])));
        let _second = script.open_watch();
        let (address, requests) = script.serve().await;
        let informer = informer(&fake::client(address), 0);
        informer.start(&Stop::new());
        wait_for_cache_sync(&[&informer]).await;
        assert_eq!(informer.lister().len(), 3);
        watch.send(line("ERROR", expired())).await.unwrap();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(informer.lister().len(), 1);
        assert_eq!(
            queries(&requests),
            [
                "list limit 500 from 0",
                "list limit 500 continue t1 from newest",
                "list limit 500 continue t2 from newest",
                "watch from 10",
                // Any version was asked for and pages came back: this server pages always.
                "list limit 500 from 10",
                "list limit 500 continue t3 from newest",
                "list from 10",
                "watch from 30",
            ]
        );
    });
}

#[test]
fn a_watch_that_says_nothing_for_less_than_a_second_is_a_reason_to_list_again() {
    simulate(5, async {
        let script = Script::default();
        script.list(Reply::Json(200, list(10, vec![])));
        drop(script.open_watch());
        script.list(Reply::Json(200, list(11, vec![])));
        let _watch = script.open_watch();
        let (address, requests) = script.serve().await;
        informer(&fake::client(address), 0).start(&Stop::new());
        sleep(Duration::from_millis(700)).await;
        assert_eq!(requests.lock().unwrap().len(), 2, "it waits at least 800 ms");
        sleep(Duration::from_secs(2)).await;
        assert_eq!(queries(&requests)[2..], ["list from 10", "watch from 11"]);
    });
}

#[test]
fn too_many_requests_make_a_watch_wait_and_go_on_where_it_was() {
    simulate(6, async {
        let script = Script::default();
        script.list(Reply::Json(200, list(10, vec![])));
        let watch = script.open_watch();
        script.watch(Reply::Json(429, status(429, "TooManyRequests", "storage is (re)initializing")));
        script.watch(Reply::Retry(429, 1));
        let _last = script.open_watch();
        let (address, requests) = script.serve().await;
        informer(&fake::client(address), 0).start(&Stop::new());
        sleep(Duration::from_secs(2)).await;
        watch.send(line("ERROR", status(429, "TooManyRequests", "slow down"))).await.unwrap();
        sleep(Duration::from_secs(10)).await;
        let watches = ["watch from 10", "watch from 10", "watch from 10", "watch from 10"];
        assert_eq!(queries(&requests)[1..], watches);
    });
}

#[test]
fn a_torn_line_is_a_reason_to_list_again_a_torn_stream_is_not() {
    simulate(7, async {
        let script = Script::default();
        script.list(Reply::Json(200, list(10, vec![])));
        let watch = script.open_watch();
        let second = script.open_watch();
        script.list(Reply::Json(200, list(12, vec![])));
        let _third = script.open_watch();
        let (address, requests) = script.serve().await;
        informer(&fake::client(address), 0).start(&Stop::new());
        sleep(Duration::from_secs(2)).await;
        watch.send(r#"{"type":"ADDED","object":{"metad"#.into()).await.unwrap();
        watch.abort().await;
        sleep(Duration::from_millis(100)).await;
        second.send(b"{\"type\":\"ADDED\",\"object\":{\"metad\n".as_slice().into()).await.unwrap();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(queries(&requests)[1..], ["watch from 10", "watch from 10", "list from 10", "watch from 12"]);
    });
}

#[test]
fn a_server_that_is_not_there_is_tried_with_growing_pauses() {
    simulate(8, async {
        // Nobody listens on this port of this pod.
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let informer = informer(&fake::client(nobody), 0);
        informer.start(&Stop::new());
        sleep(Duration::from_secs(3600)).await;
        assert!(!informer.has_synced());
        assert_eq!(informer.lag().silence, None);
    });
}

#[test]
fn a_watch_that_its_server_never_ends_is_given_up_after_its_time() {
    simulate(9, async {
        let script = Script::default();
        script.list(Reply::Json(200, list(10, vec![])));
        let _silent = script.open_watch();
        let second = script.open_watch();
        let (address, requests) = script.serve().await;
        let informer = informer(&fake::client(address), 0);
        informer.start(&Stop::new());
        sleep(Duration::from_secs(344)).await;
        assert_eq!(requests.lock().unwrap().len(), 2, "no sooner than five minutes and the grace");
        sleep(Duration::from_secs(302)).await;
        assert_eq!(queries(&requests)[1..], ["watch from 10", "watch from 10"]);
        second.send(line("ADDED", config_map("a", 11))).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        assert_eq!(informer.lister().len(), 1);
    });
}

/// A server's history: each entry is a write to one of a few objects, or a deletion.
fn history() -> impl Strategy<Value = Vec<(u8, bool)>> {
    prop::collection::vec((0_u8..5, prop::bool::weighted(0.7)), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// However a history is cut into watches that end, break or expire, the cache ends up as the server, and a handler that keeps books too.
    #[test]
    fn a_cache_and_a_bookkeeping_handler_converge(history in history(), cuts in prop::collection::vec(0_u8..4, 40), seed in 0_u64..1000) {
        let (cache, books, truth) = simulate(seed, converge(history, cuts));
        prop_assert_eq!(&cache, &truth);
        prop_assert_eq!(&books, &truth);
    }
}

type Versions = std::collections::BTreeMap<String, String>;

async fn converge(history: Vec<(u8, bool)>, cuts: Vec<u8>) -> (Versions, Versions, Versions) {
    let server = history_server::HistoryServer::new(history, cuts);
    let (address, _) = fake::serve({
        let server = server.clone();
        move |seen| server.clone().answer(seen)
    })
    .await;
    let informer = informer(&fake::client(address), 0);
    let books = std::sync::Arc::new(std::sync::Mutex::new(Versions::new()));
    informer.add_handler({
        let books = books.clone();
        move |event| {
            let object = event.object();
            let name = object.metadata.name.clone().unwrap();
            let version = object.metadata.resource_version.clone().unwrap();
            match event {
                corral_kube_client::Event::Deleted { .. } => books.lock().unwrap().remove(&name),
                _ => books.lock().unwrap().insert(name, version),
            };
        }
    });
    informer.start(&Stop::new());
    sleep(Duration::from_secs(3000)).await;
    let cache = informer.lister().list();
    let version = |map: &std::sync::Arc<k8s_openapi::api::core::v1::ConfigMap>| {
        (map.metadata.name.clone().unwrap(), map.metadata.resource_version.clone().unwrap())
    };
    let cache = cache.iter().map(version).collect();
    let books = books.lock().unwrap().clone();
    (cache, books, server.truth())
}

mod history_server {
    //! Plays a history: lists are served at a growing point of it, watches from their version on, and each ends in the way the cuts say.

    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::fake::Seen;

    #[derive(Clone)]
    pub struct HistoryServer {
        history: Arc<Vec<(u8, bool)>>,
        cuts: Arc<Mutex<Vec<u8>>>,
    }

    impl HistoryServer {
        pub fn new(history: Vec<(u8, bool)>, cuts: Vec<u8>) -> HistoryServer {
            HistoryServer { history: Arc::new(history), cuts: Arc::new(Mutex::new(cuts)) }
        }

        fn state_at(&self, version: usize) -> Versions {
            let mut state = Versions::new();
            for (index, (object, alive)) in self.history[..version].iter().enumerate() {
                let name = format!("m{object}");
                if *alive {
                    state.insert(name, (index + 1).to_string())
                } else {
                    state.remove(&name)
                };
            }
            state
        }

        pub fn truth(&self) -> Versions {
            self.state_at(self.history.len())
        }

        pub async fn answer(self, seen: Seen) -> Reply {
            let from: usize = seen.parameter("resourceVersion").unwrap_or("0").parse().unwrap();
            if !seen.is_watch() {
                // At least as new as asked for, and not much newer.
                let at = (from + 3).min(self.history.len());
                let items = self.state_at(at).into_iter();
                let items = items.map(|(name, version)| config_map(&name, version.parse().unwrap())).collect();
                return Reply::Json(200, list(at as u64, items));
            }
            let (sender, body) = host::http::channel(64);
            host::spawn(self.tell(from, sender));
            Reply::Stream(body)
        }

        async fn tell(self, from: usize, sender: host::http::BodySender) {
            let cut = self.cuts.lock().unwrap().pop().unwrap_or(9);
            sleep(Duration::from_millis(1200)).await;
            let mut known = self.state_at(from);
            for (index, (object, alive)) in self.history.iter().enumerate().skip(from) {
                let name = format!("m{object}");
                let there = known.contains_key(&name);
                let event = match (there, alive) {
                    (false, false) => continue,
                    (false, true) => "ADDED",
                    (true, true) => "MODIFIED",
                    (true, false) => "DELETED",
                };
                if *alive {
                    known.insert(name.clone(), String::new())
                } else {
                    known.remove(&name)
                };
                if sender.send(line(event, config_map(&name, index as u64 + 1))).await.is_err() {
                    return;
                }
                match (cut, index % 3) {
                    (0, 0) => return,
                    (1, 1) => return sender.abort().await,
                    (2, 2) => {
                        let _gone = sender.send(line("ERROR", expired())).await;
                        return;
                    }
                    _ => {}
                }
            }
            let bookmark = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"resourceVersion": self.history.len().to_string()}});
            let _gone = sender.send(line("BOOKMARK", bookmark)).await;
            sender.closed().await;
        }
    }
}
