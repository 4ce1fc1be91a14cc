//! Pods: defaults, binding, status, and a deletion that takes its time.

use serde_json::{Value, json};

use crate::harness::*;

both!(
    a_pod_gets_its_defaults,
    a_running_pod_is_given_grace,
    grace_only_gets_shorter,
    a_pod_where_nothing_runs_goes_at_once,
    finalizers_hold_a_pod_too,
    a_pod_is_bound_once,
    the_spec_of_a_pod_is_fixed,
    evictions_respect_budgets,
);

fn pod(name: &str, node: Option<&str>) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    if let Some(node) = node {
        pod["spec"]["nodeName"] = json!(node);
    }
    pod
}

async fn a_pod_gets_its_defaults() {
    let cluster = Cluster::start().await;
    let created = cluster.post(PODS, pod("p", None)).await.expect(201);
    let spec = &created["spec"];
    assert_eq!(
        (&spec["restartPolicy"], &spec["terminationGracePeriodSeconds"], &spec["serviceAccountName"]),
        (&json!("Always"), &json!(30), &json!("default"))
    );
    assert_eq!(created["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    let tolerations: Vec<_> = spec["tolerations"]
        .as_array()
        .expect("tolerations")
        .iter()
        .map(|one| one["tolerationSeconds"].clone())
        .collect();
    assert_eq!(tolerations, [json!(300), json!(300)]);
    let mut critical = pod("q", None);
    critical["spec"]["priorityClassName"] = json!("system-node-critical");
    assert_eq!(cluster.post(PODS, critical.clone()).await.expect(201)["spec"]["priority"], 2_000_001_000);
    critical["spec"]["priorityClassName"] = json!("absent");
    cluster.post(PODS, critical).await.refused(403, "Forbidden");
    cluster
        .post(PODS, json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "r"}, "spec": {"containers": []}}))
        .await
        .refused(422, "Invalid");
}

async fn a_running_pod_is_given_grace() {
    let cluster = Cluster::start().await;
    let created = cluster.post(PODS, pod("p", Some("n"))).await.expect(201);
    let mut watch = cluster.watch(PODS, &format!("resourceVersion={}", version(&created))).await;
    let deleting = cluster.delete(&format!("{PODS}/p")).await.expect(200);
    assert_eq!(
        (&deleting["metadata"]["deletionGracePeriodSeconds"], &deleting["metadata"]["generation"]),
        (&json!(30), &json!(2))
    );
    assert!(
        deleting["metadata"]["deletionTimestamp"].as_str() > created["metadata"]["creationTimestamp"].as_str(),
        "the end lies in the future"
    );
    cluster.post(PODS, pod("p", Some("n"))).await.refused(409, "AlreadyExists");
    // The kubelet confirms.
    assert_eq!(
        cluster.delete_with(&format!("{PODS}/p"), json!({"gracePeriodSeconds": 0})).await.expect(200)["metadata"]["deletionGracePeriodSeconds"],
        0
    );
    assert_eq!(watch.take(3).await, ["MODIFIED p", "MODIFIED p", "DELETED p"]);
    cluster.get(&format!("{PODS}/p")).await.refused(404, "NotFound");
}

async fn grace_only_gets_shorter() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("p", Some("n"))).await.expect(201);
    let delete = async |seconds: i64| {
        cluster.delete_with(&format!("{PODS}/p"), json!({"gracePeriodSeconds": seconds})).await.expect(200)
    };
    let first = delete(20).await;
    assert_eq!(delete(25).await, first, "a longer grace is none");
    assert_eq!(cluster.delete(&format!("{PODS}/p")).await.expect(200), first);
    let shorter = delete(5).await;
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    assert!(shorter["metadata"]["deletionTimestamp"].as_str() < first["metadata"]["deletionTimestamp"].as_str());
    cluster.patch(&format!("{PODS}/p/status"), json!({"status": {"phase": "Failed"}})).await.expect(200);
    cluster.get(&format!("{PODS}/p")).await.expect(200);
}

async fn a_pod_where_nothing_runs_goes_at_once() {
    let cluster = Cluster::start().await;
    let mut graceless = pod("graceless", Some("n"));
    graceless["spec"]["terminationGracePeriodSeconds"] = json!(0);
    cluster.post(PODS, graceless).await.expect(201);
    cluster.delete(&format!("{PODS}/graceless")).await.expect(200);
    cluster.get(&format!("{PODS}/graceless")).await.refused(404, "NotFound");
    for (name, node, phase) in [("unscheduled", None, None), ("finished", Some("n"), Some("Succeeded"))] {
        let created = cluster.post(PODS, pod(name, node)).await.expect(201);
        if let Some(phase) = phase {
            cluster.patch(&format!("{PODS}/{name}/status"), json!({"status": {"phase": phase}})).await.expect(200);
        }
        let seen = cluster.store.revision();
        assert!(seen >= version(&created));
        let mut watch = cluster.watch(PODS, &format!("resourceVersion={seen}")).await;
        let deleted = cluster.delete(&format!("{PODS}/{name}")).await.expect(200);
        assert_eq!((&deleted["kind"], &deleted["metadata"]["deletionGracePeriodSeconds"]), (&json!("Pod"), &json!(0)));
        assert_eq!(watch.take(2).await, [format!("MODIFIED {name}"), format!("DELETED {name}")]);
    }
}

async fn finalizers_hold_a_pod_too() {
    let cluster = Cluster::start().await;
    let mut held = pod("p", Some("n"));
    held["metadata"]["finalizers"] = json!(["test.example/hold"]);
    cluster.post(PODS, held).await.expect(201);
    let path = format!("{PODS}/p");
    cluster.delete(&path).await.expect(200);
    cluster.delete_with(&path, json!({"gracePeriodSeconds": 0})).await.expect(200);
    assert_eq!(cluster.get(&path).await.expect(200)["metadata"]["deletionGracePeriodSeconds"], 0);
    cluster.patch(&path, json!({"metadata": {"finalizers": null}})).await.expect(200);
    cluster.get(&path).await.refused(404, "NotFound");
}

async fn a_pod_is_bound_once() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("p", None)).await.expect(201);
    let mut watch = cluster.watch(PODS, "fieldSelector=spec.nodeName%3Dn1").await;
    let binding = |node: &str| json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}});
    cluster.post(&format!("{PODS}/p/binding"), binding("n1")).await.expect(201);
    cluster.post(&format!("{PODS}/p/binding"), binding("n2")).await.refused(409, "Conflict");
    let bound = cluster.get(&format!("{PODS}/p")).await.expect(200);
    assert_eq!(
        (&bound["spec"]["nodeName"], &bound["status"]["conditions"][0]["type"]),
        (&json!("n1"), &json!("PodScheduled"))
    );
    assert_eq!(watch.take(1).await, ["ADDED p"], "it comes into the kubelet's view");
}

async fn the_spec_of_a_pod_is_fixed() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("p", Some("n"))).await.expect(201);
    let path = format!("{PODS}/p");
    cluster.patch(&path, json!({"spec": {"nodeName": "other"}})).await.refused(422, "Invalid");
    cluster.strategic(&path, json!({"spec": {"containers": [{"name": "c", "image": "i:2"}]}})).await.expect(200);
    cluster
        .strategic(&path, json!({"spec": {"containers": [{"name": "c", "args": ["x"]}]}}))
        .await
        .refused(422, "Invalid");
    let with_status =
        json!({"metadata": {"labels": {"x": "y"}}, "spec": {"nodeName": "other"}, "status": {"podIP": "10.0.0.1"}});
    let patched = cluster.strategic(&format!("{path}/status"), with_status).await.expect(200);
    assert_eq!(
        (&patched["metadata"]["labels"]["x"], &patched["spec"]["nodeName"], &patched["status"]["podIPs"]),
        (&json!("y"), &json!("n"), &json!([{"ip": "10.0.0.1"}]))
    );
    assert_eq!(
        cluster.patch(&path, json!({"status": {"phase": "Failed"}})).await.expect(200)["status"]["phase"],
        "Pending"
    );
}

async fn evictions_respect_budgets() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("p", Some("n"))).await.expect(201);
    cluster.patch(&format!("{PODS}/p/status"), json!({"status": {"phase": "Running"}})).await.expect(200);
    let budgets = "/apis/policy/v1/namespaces/test/poddisruptionbudgets";
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}});
    cluster.post(budgets, budget).await.expect(201);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    cluster.post(&format!("{PODS}/p/eviction"), eviction.clone()).await.refused(429, "TooManyRequests");
    cluster.patch(&format!("{budgets}/b/status"), json!({"status": {"disruptionsAllowed": 1}})).await.expect(200);
    cluster.post(&format!("{PODS}/p/eviction"), eviction).await.expect(201);
    assert!(cluster.get(&format!("{PODS}/p")).await.expect(200)["metadata"]["deletionTimestamp"].is_string());
}
