//! The event recorder: what reaches the server of what a controller says.

use std::time::Duration;

use corral_kube_client::{EventRecorder, EventSource, EventType};
use host::time::sleep;
use k8s_openapi::api::core::v1::ConfigMap;

use crate::fake::{self, Reply, Requests, Seen, config_map, status};
use crate::simulate;

async fn accept(seen: Seen) -> Reply {
    match seen.method.as_str() {
        "POST" => {
            let mut event = seen.json();
            event["metadata"]["resourceVersion"] = "1".into();
            Reply::Json(201, event)
        }
        _ => {
            // The object stays as it was but for the fields that a repetition changes.
            let patch = seen.json();
            let name = seen.path.rsplit('/').next().unwrap();
            let mut event = serde_json::json!({"metadata": {"name": name, "namespace": "ns", "resourceVersion": "2"}, "involvedObject": {}});
            for field in ["count", "lastTimestamp", "message"] {
                event[field] = patch[field].clone();
            }
            Reply::Json(200, event)
        }
    }
}

fn object() -> ConfigMap {
    serde_json::from_value(config_map("a", 7)).unwrap()
}

fn source() -> EventSource {
    EventSource { component: "test-controller".into(), host: "node-1".into() }
}

fn told(requests: &Requests) -> Vec<String> {
    let describe = |seen: &Seen| {
        let event = seen.json();
        format!("{} {} x{}", seen.method, event["message"].as_str().unwrap(), event["count"])
    };
    requests.lock().unwrap().iter().map(describe).collect()
}

#[test]
fn the_same_event_again_raises_a_count() {
    simulate(1, async {
        let (address, requests) = fake::serve(accept).await;
        let recorder = EventRecorder::new(&fake::client(address), source());
        for _ in 0..3 {
            recorder.event(&object(), EventType::Normal, "Start", "started");
            sleep(Duration::from_secs(1)).await;
        }
        recorder.event(&object(), EventType::Warning, "Stop", "stopped");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(told(&requests), ["POST started x1", "PATCH started x2", "PATCH started x3", "POST stopped x1"]);
        let requests = requests.lock().unwrap();
        let created = requests[0].json();
        assert_eq!(requests[0].path, "/api/v1/namespaces/ns/events");
        assert_eq!(created["involvedObject"]["kind"], "ConfigMap");
        assert_eq!(created["involvedObject"]["resourceVersion"], "7");
        assert_eq!(created["source"]["component"], "test-controller");
        assert_eq!(created["reportingComponent"], "test-controller");
        assert_eq!(requests[1].content_type, "application/strategic-merge-patch+json");
        let name = created["metadata"]["name"].as_str().unwrap();
        assert!(requests[1].path.ends_with(&format!("/{name}")), "the patch goes to the event that was created");
    });
}

#[test]
fn the_tenth_similar_event_and_those_after_it_are_combined() {
    simulate(2, async {
        let (address, requests) = fake::serve(accept).await;
        let recorder = EventRecorder::new(&fake::client(address), source());
        for number in 0..12 {
            recorder.event(&object(), EventType::Warning, "Failed", format!("attempt {number} failed"));
        }
        sleep(Duration::from_secs(5)).await;
        let told = told(&requests);
        assert_eq!(told[8], "POST attempt 8 failed x1");
        assert_eq!(
            told[9..],
            [
                "POST (combined from similar events): attempt 9 failed x1",
                "PATCH (combined from similar events): attempt 10 failed x2",
                "PATCH (combined from similar events): attempt 11 failed x3",
            ]
        );
    });
}

#[test]
fn an_object_has_a_budget_of_25_events_and_one_each_five_minutes() {
    simulate(3, async {
        let (address, requests) = fake::serve(accept).await;
        let recorder = EventRecorder::new(&fake::client(address), source());
        for _ in 0..40 {
            recorder.event(&object(), EventType::Normal, "Tick", "tick");
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(requests.lock().unwrap().len(), 25);
        sleep(Duration::from_secs(300)).await;
        recorder.event(&object(), EventType::Normal, "Tick", "tick");
        recorder.event(&object(), EventType::Normal, "Tick", "tick");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(told(&requests).last().map(String::as_str), Some("PATCH tick x41"), "dropped ones are counted");
        assert_eq!(requests.lock().unwrap().len(), 26);
    });
}

#[test]
fn an_event_that_expired_on_the_server_is_created_again_a_refused_one_is_dropped() {
    simulate(4, async {
        let (address, requests) = fake::serve(|seen: Seen| async move {
            match seen.method.as_str() {
                "PATCH" => Reply::Json(404, status(404, "NotFound", "expired")),
                _ if seen.json()["reason"] == "Bad" => Reply::Json(403, status(403, "Forbidden", "no")),
                _ => accept(seen).await,
            }
        })
        .await;
        let recorder = EventRecorder::new(&fake::client(address), source());
        for _ in 0..2 {
            recorder.event(&object(), EventType::Normal, "Good", "g");
            sleep(Duration::from_secs(1)).await;
        }
        recorder.event(&object(), EventType::Normal, "Bad", "b");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(told(&requests)[2..], ["POST g x2", "POST b x1"]);
    });
}
