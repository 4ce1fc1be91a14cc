//! Custom resources: pruning, defaults, validation, scale, versions.

use serde_json::{Value, json};

use crate::harness::*;

both!(
    unknown_fields_are_pruned_and_defaults_filled_in,
    invalid_objects_are_refused_with_their_causes,
    an_invalid_past_does_not_stop_a_change_elsewhere,
    without_a_status_subresource_status_is_content,
    scale_is_a_view,
    versions_differ_in_their_names,
    types_are_checked,
);

async fn unknown_fields_are_pruned_and_defaults_filled_in() {
    let cluster = Cluster::start().await;
    let mut given = thing("a");
    given["spec"] = json!({"size": 1, "bogus": 1, "nested": {"path": "p", "bogus": 2}, "free": {"any": [1, {"x": null}]}, "at": null, "tags": null});
    let reply = cluster.post(THINGS, given.clone()).await;
    assert_eq!(reply.warnings.len(), 2, "{:?}", reply.warnings);
    let created = reply.expect(201);
    assert_eq!(
        created["spec"],
        json!({"size": 1, "mode": "rw", "nested": {"path": "p"}, "free": {"any": [1, {"x": null}]}, "at": null})
    );
    given["metadata"]["name"] = json!("b");
    let strict = cluster.post(&format!("{THINGS}?fieldValidation=Strict"), given).await.refused(400, "BadRequest");
    assert!(strict["message"].as_str().expect("words").contains("unknown field \"spec.bogus\""));
}

async fn invalid_objects_are_refused_with_their_causes() {
    let cluster = Cluster::start().await;
    for (spec, field, reason) in [
        (json!({"size": "x"}), "spec.size", "FieldValueTypeInvalid"),
        (json!({"size": -1}), "spec.size", "FieldValueInvalid"),
        (json!({}), "spec.size", "FieldValueRequired"),
        (json!({"size": 1, "mode": "zz"}), "spec.mode", "FieldValueNotSupported"),
        (json!({"size": 1, "tags": ["a", "b", "c", "d"]}), "spec.tags", "FieldValueTooMany"),
        (json!({"size": 1, "tags": [1]}), "spec.tags[0]", "FieldValueTypeInvalid"),
        (json!({"size": 1, "params": {"a": 1}}), "spec.params.a", "FieldValueTypeInvalid"),
        (json!({"size": 1, "at": "yesterday"}), "spec.at", "FieldValueTypeInvalid"),
        (json!("x"), "spec", "FieldValueTypeInvalid"),
    ] {
        let mut given = thing("a");
        given["spec"] = spec.clone();
        let refused = cluster.post(THINGS, given).await.refused(422, "Invalid");
        let cause = &refused["details"]["causes"][0];
        assert_eq!((&cause["field"], &cause["reason"]), (&json!(field), &json!(reason)), "{spec}");
    }
}

async fn an_invalid_past_does_not_stop_a_change_elsewhere() {
    let cluster = Cluster::start().await;
    cluster.thing("a").await;
    let path = format!("{DEFINITIONS}/things.test.example");
    let stricter = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size/minimum", "value": 10}]);
    cluster.json_patch(&path, stricter).await.expect(200);
    cluster.patch(&format!("{THINGS}/a"), json!({"metadata": {"finalizers": ["test.example/f"]}})).await.expect(200);
    cluster.patch(&format!("{THINGS}/a"), json!({"spec": {"size": 5}})).await.refused(422, "Invalid");
}

async fn without_a_status_subresource_status_is_content() {
    let cluster = Cluster::start().await;
    let mut plain =
        definition("plains", "Plain", json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    plain["spec"]["scope"] = json!("Cluster");
    plain["spec"]["versions"][0].as_object_mut().expect("a version").remove("subresources");
    cluster.define(plain).await;
    let plains = "/apis/test.example/v1/plains";
    let given =
        json!({"apiVersion": "test.example/v1", "kind": "Plain", "metadata": {"name": "p"}, "status": {"a": 1}});
    assert_eq!(cluster.post(plains, given).await.expect(201)["status"], json!({"a": 1}));
    assert_eq!(
        cluster.patch(&format!("{plains}/p"), json!({"status": {"a": 2}})).await.expect(200)["metadata"]["generation"],
        2
    );
    assert_eq!(cluster.get(&format!("{plains}/p/status")).await.code, 404);
    // Scope decides the path.
    assert_eq!(cluster.get("/apis/test.example/v1/namespaces/test/plains").await.text, "404 page not found\n");
    assert_eq!(cluster.post("/apis/test.example/v1/things", thing("x")).await.text, "404 page not found\n");
}

async fn scale_is_a_view() {
    let cluster = Cluster::start().await;
    let mut scaled = definition(
        "sets",
        "Set",
        json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}}, "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}}),
    );
    scaled["spec"]["versions"][0]["subresources"]["scale"] =
        json!({"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"});
    cluster.define(scaled).await;
    let sets = "/apis/test.example/v1/namespaces/test/sets";
    cluster
        .post(
            sets,
            json!({"apiVersion": "test.example/v1", "kind": "Set", "metadata": {"name": "s"}, "spec": {"replicas": 2}}),
        )
        .await
        .expect(201);
    let scale = cluster.get(&format!("{sets}/s/scale")).await.expect(200);
    assert_eq!((&scale["kind"], &scale["spec"]), (&json!("Scale"), &json!({"replicas": 2})));
    assert_eq!(
        cluster.patch(&format!("{sets}/s/scale"), json!({"spec": {"replicas": 5}})).await.expect(200)["spec"]["replicas"],
        5
    );
    let stored = cluster.get(&format!("{sets}/s")).await.expect(200);
    assert_eq!((&stored["spec"]["replicas"], &stored["metadata"]["generation"]), (&json!(5), &json!(2)));
}

async fn versions_differ_in_their_names() {
    let cluster = Cluster::start().await;
    let mut dual = definition("duals", "Dual", json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    let mut old = dual["spec"]["versions"][0].clone();
    (old["name"], old["storage"]) = (json!("v1alpha1"), json!(false));
    dual["spec"]["versions"].as_array_mut().expect("versions").push(old);
    cluster.define(dual).await;
    let at = |version: &str| format!("/apis/test.example/{version}/namespaces/test/duals");
    let given =
        json!({"apiVersion": "test.example/v1alpha1", "kind": "Dual", "metadata": {"name": "d"}, "spec": {"x": 1}});
    let created = cluster.post(&at("v1alpha1"), given).await.expect(201);
    assert_eq!(created["apiVersion"], "test.example/v1alpha1");
    let mut stored = cluster.get(&format!("{}/d", at("v1"))).await.expect(200);
    assert_eq!(stored["apiVersion"].take(), "test.example/v1");
    let mut expected = created;
    expected["apiVersion"] = Value::Null;
    assert_eq!(stored, expected, "the same object");
    let mut watch = cluster.watch(&at("v1alpha1"), "").await;
    assert_eq!(watch.next().await.expect("an event")["object"]["apiVersion"], "test.example/v1alpha1");
    let webhook = json!({"spec": {"conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
        "clientConfig": {"service": {"namespace": "x", "name": "y", "path": "/z", "port": 9501}}}}}});
    cluster.patch(&format!("{DEFINITIONS}/duals.test.example"), webhook).await.expect(200);
    cluster.get(&format!("{}/d", at("v1"))).await.expect(200);
    assert_eq!(cluster.get(&format!("{}/d", at("v1alpha1"))).await.code, 500, "only a webhook could convert now");
}

async fn types_are_checked() {
    let cluster = Cluster::start().await;
    let with = |field: &str, value: &str| {
        let mut object = thing("a");
        object[field] = json!(value);
        object
    };
    cluster.post(THINGS, with("kind", "Other")).await.refused(422, "Invalid");
    cluster.post(THINGS, with("apiVersion", "test.example/v2")).await.refused(400, "BadRequest");
    cluster.send(http::Method::POST, THINGS, "application/json", Some("[]".into())).await.refused(400, "BadRequest");
    cluster
        .send(http::Method::POST, THINGS, "application/json", Some("{\"a\":".into()))
        .await
        .refused(400, "BadRequest");
    cluster
        .send(http::Method::POST, THINGS, "text/plain", Some("{}".into()))
        .await
        .refused(415, "UnsupportedMediaType");
    cluster
        .post(MAPS, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "m"}}))
        .await
        .refused(400, "BadRequest");
    let mut wrong = map("m");
    wrong["data"]["a"] = json!(1);
    let refused = cluster.post(MAPS, wrong).await.refused(400, "BadRequest");
    assert!(
        refused["message"]
            .as_str()
            .expect("words")
            .ends_with("json: cannot unmarshal number into Go struct field ConfigMap.data of type string")
    );
}
