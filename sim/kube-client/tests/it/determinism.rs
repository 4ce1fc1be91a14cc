//! The same seed gives the same run; another one another run. And what needs no virtual time works in the real world too.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use corral_kube_client::informer::wait_for_cache_sync;
use corral_kube_client::{Api, Election, ElectionConfig, Event, InformerFactory, Stop, WorkQueue, object_key, reads};
use host::time::{Instant, sleep};
use k8s_openapi::api::core::v1::ConfigMap;

use crate::fake::{self, Reply, Script, config_map, line, list, status};
use crate::in_both_worlds;
use crate::informer::{handler, informer};

/// A controller with everything that draws or waits: resyncs, failures, an election, writes.
async fn controller() -> Vec<(u128, String)> {
    let script = Script::default();
    let maps = || ["a", "b", "c", "d", "e", "f"].map(|name| config_map(name, 3)).to_vec();
    script.list(Reply::Json(200, list(10, maps())));
    let watch = script.open_watch();
    let (address, _) = script.serve().await;
    let (other, _) = fake::serve(|seen| async move {
        match seen.method.as_str() {
            "GET" => Reply::Json(404, status(404, "NotFound", "none")),
            _ => Reply::Json(200, seen.json()),
        }
    })
    .await;
    let log = Arc::new(Mutex::new(Vec::new()));
    let factory = InformerFactory::new(&fake::client(address), Duration::from_secs(30));
    let informer = factory.informer::<ConfigMap>();
    let queue: WorkQueue<String> = WorkQueue::default();
    informer.add_handler({
        let queue = queue.clone();
        move |event: Event<ConfigMap>| queue.add(object_key(&event.object().metadata))
    });
    let stop = Stop::new();
    factory.start(&stop);
    factory.wait_for_cache_sync().await;
    let api: Api<ConfigMap> = Api::namespaced(&fake::client(other), "ns");
    let begun = Instant::now();
    for _ in 0..3 {
        let (queue, log, api, lister) = (queue.clone(), log.clone(), api.clone(), informer.lister());
        host::spawn(async move {
            while let Some(key) = queue.get().await {
                log.lock().unwrap().push((begun.elapsed().as_nanos(), key.clone()));
                let write = async { api.update(&lister.list()[0]).await.unwrap() };
                reads::scope(key.as_str(), write).await;
                if queue.requeues(&key) < 3 {
                    queue.add_rate_limited(key.clone())
                } else {
                    queue.forget(&key)
                };
                queue.done(&key);
            }
        });
    }
    let election = Election::new(&fake::client(other), ElectionConfig::new("ns", "lock", "me"));
    let over = stop.clone();
    host::spawn(async move { election.run(&over, |lost: Stop| async move { lost.stopped().await }).await });
    watch.send(line("MODIFIED", config_map("a", 11))).await.unwrap();
    sleep(Duration::from_secs(200)).await;
    queue.shut_down();
    stop.stop();
    std::mem::take(&mut *log.lock().unwrap())
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let outcome = corral_core::run(corral_core::Options::new(seed), controller());
        (outcome.digest, outcome.events, outcome.value.ok().unwrap())
    };
    let first = run(7);
    assert!(first.2.len() > 50, "{} reconciles", first.2.len());
    assert!(first.1 > 50, "{} events", first.1);
    std::thread::scope(|scope| {
        let threads = [scope.spawn(|| run(7)), scope.spawn(|| run(7))];
        for again in threads {
            assert!(again.join().unwrap() == first);
        }
    });
    assert_ne!(run(8).0, first.0);
}

#[test]
fn an_informer_works_in_both_worlds() {
    in_both_worlds(|| async {
        let script = Script::default();
        script.list(Reply::Json(200, list(10, vec![config_map("a", 3)])));
        let watch = script.open_watch();
        let (address, _) = script.serve().await;
        let informer = informer(&fake::client(address), 0);
        let (told, handle) = handler();
        let registration = informer.add_handler(handle);
        let stop = Stop::new();
        informer.start(&stop);
        wait_for_cache_sync(&[&informer, &registration]).await;
        watch.send(line("MODIFIED", config_map("a", 11))).await.unwrap();
        watch.send(line("DELETED", config_map("a", 12))).await.unwrap();
        while told.lock().unwrap().len() < 3 {
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(*told.lock().unwrap(), ["initial a@3", "updated a@3 to a@11", "deleted a@12"]);
        assert!(informer.lister().is_empty());
        stop.stop();
    });
}
