//! Deletion: finalizers, preconditions, propagation, collections.

use serde_json::{Value, json};

use crate::harness::*;

both!(
    finalizers_hold_an_object,
    the_last_finalizer_takes_the_object_with_it,
    deletion_answers_with_what_is_left,
    preconditions_are_checked,
    propagation_becomes_finalizers,
    a_collection_is_deleted_one_by_one,
    namespaces_wait_for_their_controller,
);

const HOLD: &str = "test.example/hold";

async fn held(cluster: &Cluster, name: &str) -> Value {
    cluster.post(THINGS, thing_with(name, json!({"finalizers": [HOLD]}))).await.expect(201)
}

async fn finalizers_hold_an_object() {
    let cluster = Cluster::start().await;
    let path = format!("{THINGS}/a");
    held(&cluster, "a").await;
    let deleting = cluster.delete(&path).await.expect(200);
    assert_eq!(deleting["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(cluster.delete(&path).await.expect(200), deleting, "deleting again changes nothing");
    cluster.post(THINGS, thing("a")).await.refused(409, "AlreadyExists");
    // Spec and status can still be written; the deletion cannot be taken back, and nothing can be added to wait for.
    let changed =
        cluster.patch(&path, json!({"spec": {"size": 5}, "metadata": {"deletionTimestamp": null}})).await.expect(200);
    assert_eq!(changed["metadata"]["deletionTimestamp"], deleting["metadata"]["deletionTimestamp"]);
    let refused = cluster.patch(&path, json!({"metadata": {"finalizers": [HOLD, "test.example/more"]}})).await;
    assert_eq!(refused.refused(422, "Invalid")["details"]["causes"][0]["field"], "metadata.finalizers");
    cluster.patch(&path, json!({"metadata": {"finalizers": null}})).await.expect(200);
    cluster.get(&path).await.refused(404, "NotFound");
    cluster.delete(&path).await.refused(404, "NotFound");
}

async fn the_last_finalizer_takes_the_object_with_it() {
    let cluster = Cluster::start().await;
    let path = format!("{THINGS}/a");
    let created = held(&cluster, "a").await;
    let mut watch = cluster.watch(THINGS, &format!("resourceVersion={}", version(&created))).await;
    let deleting = cluster.delete(&path).await.expect(200);
    let last = cluster.patch(&path, json!({"metadata": {"finalizers": null}, "spec": {"size": 77}})).await.expect(200);
    // The answer is the new object under the old version; the event is the old object under a new one.
    assert_eq!((version(&last), &last["spec"]["size"]), (version(&deleting), &json!(77)));
    assert_eq!(watch.next().await.expect("marked")["object"], deleting);
    let mut gone = watch.next().await.expect("deleted");
    assert_eq!(gone["type"], "DELETED");
    assert!(version(&gone["object"]) > version(&deleting));
    gone["object"]["metadata"]["resourceVersion"] = deleting["metadata"]["resourceVersion"].clone();
    assert_eq!(gone["object"], deleting);
    let mut stale = deleting.clone();
    stale["metadata"]["finalizers"] = json!([]);
    cluster.put(&path, stale.clone()).await.refused(404, "NotFound");
    cluster.thing("a").await;
    cluster.put(&path, stale).await.refused(409, "Conflict");
}

async fn deletion_answers_with_what_is_left() {
    let cluster = Cluster::start().await;
    let created = cluster.thing("a").await;
    let status = cluster.delete(&format!("{THINGS}/a")).await.expect(200);
    assert_eq!(
        status["details"],
        json!({"name": "a", "group": "test.example", "kind": "things", "uid": created["metadata"]["uid"]})
    );
    let classes = "/apis/storage.k8s.io/v1/storageclasses";
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "c"}, "provisioner": "p"});
    cluster.post(classes, class).await.expect(201);
    assert_eq!(cluster.delete(&format!("{classes}/c")).await.expect(200)["kind"], "StorageClass");
    cluster.thing("b").await;
    cluster.send(http::Method::DELETE, &format!("{THINGS}/b?dryRun=All"), "", None).await.expect(200);
    cluster.get(&format!("{THINGS}/b")).await.expect(200);
}

async fn preconditions_are_checked() {
    let cluster = Cluster::start().await;
    let path = format!("{THINGS}/a");
    let created = cluster.thing("a").await;
    let other = "11111111-1111-1111-1111-111111111111";
    cluster.delete_with(&path, json!({"preconditions": {"uid": other}})).await.refused(409, "Conflict");
    let changed = cluster.patch(&path, json!({"spec": {"size": 2}})).await.expect(200);
    let version_of = |object: &Value| object["metadata"]["resourceVersion"].clone();
    cluster
        .delete_with(&path, json!({"preconditions": {"resourceVersion": version_of(&created)}}))
        .await
        .refused(409, "Conflict");
    let right = json!({"preconditions": {"uid": created["metadata"]["uid"], "resourceVersion": version_of(&changed)}});
    cluster.delete_with(&path, right).await.expect(200);
    cluster.delete_with(&path, json!({"preconditions": {"uid": other}})).await.refused(404, "NotFound");
    cluster.thing("b").await;
    cluster
        .delete_with(&format!("{THINGS}/b"), json!({"propagationPolicy": "Sometimes"}))
        .await
        .refused(422, "Invalid");
}

async fn propagation_becomes_finalizers() {
    let cluster = Cluster::start().await;
    let delete = async |name: &str, policy: &str| {
        cluster.delete_with(&format!("{MAPS}/{name}"), json!({"propagationPolicy": policy})).await
    };
    for (name, policy, finalizer) in [("f", "Foreground", "foregroundDeletion"), ("o", "Orphan", "orphan")] {
        cluster.post(MAPS, map(name)).await.expect(201);
        let marked = delete(name, policy).await.expect(200);
        assert_eq!(marked["metadata"]["finalizers"], json!([finalizer]));
    }
    // Background after Foreground does not wait for anybody.
    assert_eq!(delete("f", "Background").await.expect(200)["kind"], "Status");
    cluster.get(&format!("{MAPS}/f")).await.refused(404, "NotFound");
    held(&cluster, "t").await;
    let marked =
        cluster.delete_with(&format!("{THINGS}/t"), json!({"propagationPolicy": "Foreground"})).await.expect(200);
    assert_eq!(marked["metadata"]["finalizers"], json!([HOLD, "foregroundDeletion"]));
}

async fn a_collection_is_deleted_one_by_one() {
    let cluster = Cluster::start().await;
    for (name, label) in [("a", "x"), ("b", "x"), ("c", "y")] {
        cluster.post(THINGS, thing_with(name, json!({"labels": {"l": label}}))).await.expect(201);
    }
    let deleted = cluster.delete(&format!("{THINGS}?labelSelector=l%3Dx")).await.expect(200);
    assert_eq!((&deleted["kind"], deleted["items"].as_array().map(Vec::len)), (&json!("ThingList"), Some(2)));
    let left = cluster.get(THINGS).await.expect(200);
    assert_eq!(
        left["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| item["metadata"]["name"].clone())
            .collect::<Vec<_>>(),
        [json!("c")]
    );
}

async fn namespaces_wait_for_their_controller() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/test";
    let active = cluster.get(path).await.expect(200);
    assert_eq!((&active["status"]["phase"], &active["spec"]["finalizers"]), (&json!("Active"), &json!(["kubernetes"])));
    let mut terminating = cluster.delete(path).await.expect(200);
    assert_eq!(terminating["status"]["phase"], "Terminating");
    let refused = cluster.post(MAPS, map("late")).await.refused(403, "Forbidden");
    assert_eq!(refused["details"]["causes"][0]["reason"], "NamespaceTerminating");
    cluster.delete("/api/v1/namespaces/default").await.refused(403, "Forbidden");
    terminating["spec"]["finalizers"] = json!([]);
    cluster.put(&format!("{path}/finalize"), terminating).await.expect(200);
    cluster.get(path).await.refused(404, "NotFound");
}
