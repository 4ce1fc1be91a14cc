//! What clients ask before they ask for anything.

use serde_json::{Value, json};

use crate::harness::*;

both!(
    groups_and_resources_are_told,
    what_is_not_served_is_404_in_the_right_words,
    health_and_version_are_told,
    openapi_is_enough_for_kubectl
);

async fn groups_and_resources_are_told() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.get("/api").await.expect(200)["versions"], json!(["v1"]));
    let groups = cluster.get("/apis").await.expect(200);
    let names: Vec<_> = groups["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .map(|group| group["name"].as_str().expect("a name"))
        .collect();
    for group in ["apps", "batch", "coordination.k8s.io", "storage.k8s.io", "test.example"] {
        assert!(names.contains(&group), "{group}");
    }
    let core = cluster.get("/api/v1").await.expect(200);
    let find = |name: &str| {
        core["resources"]
            .as_array()
            .expect("resources")
            .iter()
            .find(|one| one["name"] == name)
            .cloned()
            .unwrap_or_default()
    };
    assert_eq!(find("pods")["verbs"].as_array().map(Vec::len), Some(8));
    assert_eq!((&find("pods/binding")["kind"], &find("nodes")["namespaced"]), (&json!("Binding"), &json!(false)));
    let review = json!({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": {}});
    let allowed = cluster.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review).await.expect(201);
    assert_eq!(allowed["status"]["allowed"], true);
}

async fn what_is_not_served_is_404_in_the_right_words() {
    let cluster = Cluster::start().await;
    for path in [
        "/apis/metrics.k8s.io/v1beta1/nodes",
        "/apis/test.example/v1/nothings",
        "/apis/test.example/v2/things",
        "/apis/nosuch.example/v1",
        "/nothing",
    ] {
        assert_eq!(cluster.get(path).await.text, "404 page not found\n", "{path}");
    }
    cluster.get("/api/v1/nothings").await.refused(404, "NotFound");
    cluster.get("/api/v1/namespaces/test/nodes").await.refused(404, "NotFound");
    cluster.put(MAPS, map("m")).await.refused(405, "MethodNotAllowed");
    cluster.put(THINGS, thing("a")).await.refused(400, "BadRequest");
    cluster.post(&format!("{MAPS}/m"), map("m")).await.refused(405, "MethodNotAllowed");
    cluster.post(&format!("{THINGS}/a"), thing("a")).await.expect(201);
}

async fn health_and_version_are_told() {
    let cluster = Cluster::start().await;
    for path in ["/healthz", "/readyz", "/livez"] {
        assert_eq!(cluster.get(path).await.text, "ok");
    }
    let version = cluster.get("/version").await.expect(200);
    assert!(version["gitVersion"].as_str().expect("a version").starts_with("v1.36"));
}

async fn openapi_is_enough_for_kubectl() {
    let cluster = Cluster::start().await;
    let index = cluster.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["apis/test.example/v1"]["serverRelativeURL"].as_str().expect("a path").to_owned();
    let document = cluster.get(&url).await.expect(200);
    let schema = &document["components"]["schemas"]["example.test.v1.Thing"];
    assert_eq!(
        schema["x-kubernetes-group-version-kind"],
        json!([{"group": "test.example", "version": "v1", "kind": "Thing"}])
    );
    let patch = &document["paths"]["/apis/test.example/v1/namespaces/{namespace}/things/{name}"]["patch"]["parameters"];
    assert!(
        patch.as_array().expect("parameters").iter().any(|parameter: &Value| parameter["name"] == "fieldValidation")
    );
    assert_eq!(cluster.get("/openapi/v2").await.expect(200)["swagger"], "2.0");
}
