//! Admission webhooks, called over HTTP on a server of the test's own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use http::Response;
use serde_json::{Value, json};

use crate::harness::*;

both!(
    a_mutating_hook_changes_what_is_stored,
    a_validating_hook_sees_the_final_object_and_may_deny,
    invalid_objects_never_reach_validating_hooks,
    hooks_are_asked_about_what_their_rules_say,
    failures_count_unless_they_are_ignored,
    deletions_are_reviewed,
);

type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// A hook server: its address, and what it was asked.
async fn hooks() -> (String, Seen) {
    let (listener, url) = listen().await;
    let seen: Seen = Arc::default();
    let log = seen.clone();
    host::spawn(host::http::serve(listener, move |request, _| {
        let log = log.clone();
        async move {
            let path = request.uri().path().to_owned();
            let body = host::http::collect(request.into_body(), 1 << 20).await.expect("a review");
            let review: Value = serde_json::from_slice(&body).expect("JSON");
            let request = review["request"].clone();
            log.lock().expect("not poisoned").push((path.clone(), request.clone()));
            let mut answer = json!({"uid": request["uid"], "allowed": true});
            let size = &request["object"]["spec"]["size"];
            match path.as_str() {
                "/annotate" if request["object"].is_object() => {
                    let patch = json!([{"op": "add", "path": "/metadata/annotations", "value": {"seen": request["operation"]}}, {"op": "add", "path": "/spec/bogus", "value": 1}]);
                    answer["patchType"] = json!("JSONPatch");
                    answer["patch"] = json!(base64::engine::general_purpose::STANDARD.encode(patch.to_string()));
                }
                "/invalidate" => {
                    answer["patchType"] = json!("JSONPatch");
                    answer["patch"] = json!(
                        base64::engine::general_purpose::STANDARD
                            .encode(r#"[{"op":"replace","path":"/spec/size","value":"x"}]"#)
                    );
                }
                "/validate" if *size == json!(666) => {
                    answer["allowed"] = json!(false);
                    answer["status"] = json!({"message": "no beasts", "code": 418, "reason": "Teapot"});
                }
                "/validate" if *size == json!(667) => answer["allowed"] = json!(false),
                "/validate" if *size == json!(668) => answer["warnings"] = json!(["careful"]),
                "/validate" if request["oldObject"]["metadata"]["annotations"]["keep"] == json!("1") => {
                    answer["allowed"] = json!(false)
                }
                "/slow" => host::time::sleep(Duration::from_secs(3)).await,
                _ => {}
            }
            let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": answer});
            Response::new(host::http::full(review.to_string()))
        }
    }));
    (url, seen)
}

async fn configure(cluster: &Cluster, mutating: bool, url: &str, change: Value) {
    let (kind, plural) = if mutating {
        ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
    } else {
        ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
    };
    let mut hook = json!({"name": "hook.test.example", "clientConfig": {"url": url}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
        "rules": [{"apiGroups": ["test.example"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["things"]}]});
    hook.as_object_mut().expect("a hook").extend(change.as_object().cloned().expect("changes"));
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "test"}, "webhooks": [hook]});
    cluster.post(&format!("/apis/admissionregistration.k8s.io/v1/{plural}"), configuration).await.expect(201);
}

fn asked(seen: &Seen) -> Vec<String> {
    seen.lock()
        .expect("not poisoned")
        .iter()
        .map(|(path, request)| format!("{path} {}", request["operation"].as_str().unwrap_or_default()))
        .collect()
}

async fn a_mutating_hook_changes_what_is_stored() {
    let cluster = Cluster::start().await;
    let (url, _) = hooks().await;
    configure(&cluster, true, &format!("{url}/annotate"), json!({})).await;
    let created = cluster.thing("a").await;
    assert_eq!(created["metadata"]["annotations"]["seen"], "CREATE");
    assert_eq!(created["spec"].get("bogus"), None, "unknown fields of a mutation are pruned");
    let patched = cluster.patch(&format!("{THINGS}/a"), json!({"spec": {"size": 2}})).await.expect(200);
    assert_eq!(
        (&patched["metadata"]["annotations"]["seen"], &patched["metadata"]["generation"]),
        (&json!("UPDATE"), &json!(2))
    );
}

async fn a_validating_hook_sees_the_final_object_and_may_deny() {
    let cluster = Cluster::start().await;
    let (url, seen) = hooks().await;
    configure(&cluster, false, &format!("{url}/validate"), json!({})).await;
    let created = cluster.thing("a").await;
    let request = seen.lock().expect("not poisoned")[0].1.clone();
    assert_eq!(
        (&request["object"]["metadata"]["uid"], &request["object"]["spec"]["mode"]),
        (&created["metadata"]["uid"], &json!("rw"))
    );
    assert_eq!(
        (&request["resource"], &request["oldObject"]),
        (&json!({"group": "test.example", "version": "v1", "resource": "things"}), &Value::Null)
    );
    let sized = |name: &str, size: u64| {
        let mut thing = thing(name);
        thing["spec"]["size"] = json!(size);
        thing
    };
    let denied = cluster.post(THINGS, sized("b", 666)).await;
    assert_eq!((denied.code, &denied.body["reason"]), (418, &json!("Teapot")), "code and reason are the hook's");
    let plain = cluster.post(THINGS, sized("b", 667)).await;
    assert_eq!((plain.code, plain.body.get("reason")), (400, None));
    assert_eq!(cluster.post(THINGS, sized("b", 668)).await.warnings, [r#"299 - "careful""#]);
    // What will end in AlreadyExists is reviewed all the same; what is absent is not.
    let before = asked(&seen).len();
    cluster.post(THINGS, thing("a")).await.refused(409, "AlreadyExists");
    cluster.patch(&format!("{THINGS}/absent"), json!({})).await.refused(404, "NotFound");
    assert_eq!(asked(&seen).len(), before + 1);
}

async fn invalid_objects_never_reach_validating_hooks() {
    let cluster = Cluster::start().await;
    let (url, seen) = hooks().await;
    configure(&cluster, true, &format!("{url}/invalidate"), json!({})).await;
    configure(&cluster, false, &format!("{url}/validate"), json!({})).await;
    cluster.post(THINGS, thing("a")).await.refused(422, "Invalid");
    assert_eq!(asked(&seen), ["/invalidate CREATE"]);
}

async fn hooks_are_asked_about_what_their_rules_say() {
    let cluster = Cluster::start().await;
    let (url, seen) = hooks().await;
    let only = json!({"objectSelector": {"matchLabels": {"l": "1"}}, "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NS}}});
    configure(&cluster, false, &format!("{url}/validate"), only).await;
    cluster.thing("a").await;
    assert_eq!(asked(&seen), Vec::<String>::new());
    cluster.patch(&format!("{THINGS}/a"), json!({"metadata": {"labels": {"l": "1"}}})).await.expect(200);
    cluster.patch(&format!("{THINGS}/a/status"), json!({"status": {"state": "x"}})).await.expect(200);
    assert_eq!(asked(&seen), ["/validate UPDATE"], "a rule for things is none for their status");
    cluster.patch(&format!("{THINGS}/a"), json!({})).await.expect(200);
    assert_eq!(asked(&seen).len(), 2, "a write that changes nothing is reviewed");
}

async fn failures_count_unless_they_are_ignored() {
    for (path, policy, code) in [("/slow", "Fail", 500), ("/slow", "Ignore", 201)] {
        let cluster = Cluster::start().await;
        let (url, _) = hooks().await;
        configure(&cluster, false, &format!("{url}{path}"), json!({"failurePolicy": policy})).await;
        let begun = host::time::Instant::now();
        let reply = cluster.post(THINGS, thing("a")).await;
        assert_eq!(reply.code, code, "{}", reply.text);
        assert!(begun.elapsed() >= Duration::from_secs(1), "its time-out is waited for");
    }
    let cluster = Cluster::start().await;
    let (listener, url) = listen().await;
    drop(listener);
    configure(&cluster, true, &url, json!({})).await;
    let refused = cluster.post(THINGS, thing("a")).await.refused(500, "InternalError");
    let words = refused["message"].as_str().expect("words");
    assert!(
        words.contains("failed calling webhook \"hook.test.example\"")
            && words.ends_with("connect: connection refused"),
        "{words}"
    );
}

async fn deletions_are_reviewed() {
    let cluster = Cluster::start().await;
    let (url, _) = hooks().await;
    cluster
        .post(THINGS, thing_with("a", json!({"annotations": {"keep": "1"}, "finalizers": ["test.example/hold"]})))
        .await
        .expect(201);
    cluster.thing("b").await;
    configure(&cluster, false, &format!("{url}/validate"), json!({})).await;
    assert_eq!(cluster.delete(&format!("{THINGS}/a")).await.code, 400);
    // A collection stops at the first denial.
    assert_eq!(cluster.delete(THINGS).await.code, 400);
    cluster.get(&format!("{THINGS}/b")).await.expect(200);
    cluster.patch(&format!("{THINGS}/a"), json!({"metadata": {"annotations": null}})).await.refused(400, "");
}
