//! "Who acted on what, how old" in the journal.

use std::time::Duration;

use corral_kube_client::informer::wait_for_cache_sync;
use corral_kube_client::{Api, DeleteParams, ListParams, Stop, reads};
use host::journal::Event;
use host::time::sleep;
use k8s_openapi::api::core::v1::ConfigMap;

use crate::fake::{self, Reply, Script, config_map, line, list, status};
use crate::informer::informer;

async fn reconciles() {
    let script = Script::default();
    script.list(Reply::Json(200, list(10, vec![config_map("a", 3), config_map("b", 4)])));
    let watch = script.open_watch();
    let (address, _) = script.serve().await;
    let client = fake::client(address);
    let informer = informer(&client, 0);
    informer.start(&Stop::new());
    wait_for_cache_sync(&[&informer]).await;
    let api: Api<ConfigMap> = Api::namespaced(&client, "ns");
    let lister = informer.lister().namespaced("ns");

    // Outside a scope: the write is recorded, without reads.
    let object = lister.require("a").unwrap();
    script.list(Reply::Json(200, config_map("a", 20)));
    api.update(&object).await.unwrap();

    sleep(Duration::from_secs(5)).await;
    watch.send(line("MODIFIED", config_map("b", 21))).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    reads::scope("test-controller ns/b", async {
        lister.get("b");
        lister.get("none");
        informer.lister().list();
        sleep(Duration::from_secs(1)).await;
        script.list(Reply::Json(409, status(409, "Conflict", "stale")));
        api.update_status(&object).await.unwrap_err();
        script.list(Reply::Json(200, config_map("b", 22)));
        api.get("b").await.unwrap();
        script.list(Reply::Json(200, list(23, vec![])));
        api.list(&ListParams::default()).await.unwrap();
        let taken = reads::take();
        reads::record_call(&taken, "Engine.Snapshot", "10.0.0.1:9502", "Ok", Duration::from_millis(3));
        script.list(Reply::Json(200, config_map("b", 24)));
        api.delete("b", &DeleteParams::default()).await.unwrap();
    })
    .await;
}

#[test]
fn reads_go_into_the_journal_with_the_next_write_or_call() {
    let options = corral_core::Options::new(1).keep_journal();
    let outcome = corral_core::run(options, reconciles());
    let journal = outcome.journal.unwrap();
    let mut told = Vec::new();
    for record in journal.iter() {
        let (what, reads) = match &record.event {
            Event::ApiRequest { verb, kind, subresource, name, code, resource_version, within, reads } => {
                (format!("{verb} {kind}/{subresource} {name}: {code} @{resource_version} within {within:?}"), reads)
            }
            Event::Call { method, reads, .. } => (format!("call {method}"), reads),
            _ => continue,
        };
        told.push(what);
        for read in reads {
            let seconds = read.age_ns / 1_000_000_000;
            let source = if read.cached { "cache" } else { "server" };
            told.push(format!("  {} {} @{} {seconds} s, {source}", read.kind, read.name, read.resource_version));
        }
    }
    insta::assert_snapshot!(told.join("\n"), @r#"
    update ConfigMap/ ns/a: 200 @20 within ""
    update ConfigMap/status ns/a: 409 @0 within "test-controller ns/b"
      ConfigMap ns/b @21 3 s, cache
      ConfigMap ns/none @0 3 s, cache
      ConfigMap * @21 3 s, cache
    call Engine.Snapshot
      ConfigMap ns/b @22 0 s, server
      ConfigMap ns/* @23 0 s, server
    delete ConfigMap/ ns/b: 200 @24 within "test-controller ns/b"
    "#);
}
