//! Verbs, errors and retries of `Api`.

use corral_kube_client::{Api, DeleteParams, Deleted, Error, ListParams, Patch, PatchParams};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use crate::fake::{self, Reply, Seen, config_map, status};
use crate::in_both_worlds;

fn echo(seen: Seen) -> Reply {
    match seen.method.as_str() {
        "GET" => Reply::Json(200, config_map("a", 5)),
        "DELETE" => Reply::Json(
            200,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "details": {"name": "a"}}),
        ),
        _ => Reply::Json(200, config_map("a", 6)),
    }
}

#[test]
fn every_verb_is_the_request_that_client_go_would_send() {
    in_both_worlds(|| async {
        let (address, requests) = fake::serve(|seen| async { echo(seen) }).await;
        let api: Api<ConfigMap> = Api::namespaced(&fake::client(address), "ns");
        let object = api.get("a").await.unwrap();
        assert_eq!(object.metadata.resource_version.as_deref(), Some("5"));
        api.create(&object).await.unwrap();
        api.update(&object).await.unwrap();
        api.update_status(&object).await.unwrap();
        let patch = Patch::Merge(json!({"data": {"k": "v"}}));
        api.patch("a", &PatchParams::default(), &patch).await.unwrap();
        let patch = Patch::Json(json!([{"op": "remove", "path": "/data"}]));
        api.patch_status("a", &PatchParams::default(), &patch).await.unwrap();
        let deleted = api.delete("a", &DeleteParams::foreground()).await.unwrap();
        assert!(matches!(deleted, Deleted::Gone(_)));
        api.delete_collection(&DeleteParams::default(), &ListParams::default().labels("x=y")).await.unwrap();
        let seen: Vec<String> = requests.lock().unwrap().iter().map(describe).collect();
        // Once in each world.
        insta::allow_duplicates!(insta::assert_snapshot!(seen.join("\n"), @r#"
        GET /api/v1/namespaces/ns/configmaps/a  
        POST /api/v1/namespaces/ns/configmaps  application/json
        PUT /api/v1/namespaces/ns/configmaps/a  application/json
        PUT /api/v1/namespaces/ns/configmaps/a/status  application/json
        PATCH /api/v1/namespaces/ns/configmaps/a  application/merge-patch+json
        PATCH /api/v1/namespaces/ns/configmaps/a/status  application/json-patch+json
        DELETE /api/v1/namespaces/ns/configmaps/a  application/json
        DELETE /api/v1/namespaces/ns/configmaps labelSelector=x%3Dy application/json
        "#));
        let delete = requests.lock().unwrap()[6].json();
        assert_eq!(delete, json!({"propagationPolicy": "Foreground"}));
    });
}

fn describe(seen: &Seen) -> String {
    format!("{} {} {} {}", seen.method, seen.path, seen.query, seen.content_type)
}

#[test]
fn an_empty_name_is_refused_before_anything_is_sent_and_is_not_a_not_found() {
    in_both_worlds(|| async {
        let (address, requests) = fake::serve(|seen| async { echo(seen) }).await;
        let api: Api<ConfigMap> = Api::namespaced(&fake::client(address), "ns");
        for error in [
            api.get("").await.unwrap_err(),
            api.update(&ConfigMap::default()).await.unwrap_err(),
            api.delete("", &DeleteParams::default()).await.unwrap_err(),
            api.get_opt("").await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::EmptyName));
            assert!(!error.is_not_found());
            assert_eq!(error.to_string(), "resource name may not be empty");
        }
        assert!(matches!(api.get("a/b").await, Err(Error::InvalidName { .. })));
        assert!(requests.lock().unwrap().is_empty());
    });
}

#[test]
fn refusals_are_told_apart_by_reason_and_code() {
    in_both_worlds(|| async {
        let (address, _) = fake::serve(|seen| async move {
            match seen.path.rsplit('/').next().unwrap() {
                "gone" => Reply::Json(410, status(410, "Expired", "too old")),
                "taken" => Reply::Json(409, status(409, "AlreadyExists", "taken")),
                "stale" => Reply::Json(409, status(409, "Conflict", "stale")),
                "absent" => Reply::Json(404, status(404, "NotFound", r#"configmaps "absent" not found"#)),
                _ => Reply::Text(404, "404 page not found\n"),
            }
        })
        .await;
        let api: Api<ConfigMap> = Api::namespaced(&fake::client(address), "ns");
        let error = api.get("gone").await.unwrap_err();
        assert!(error.is_expired() && error.is_resource_expired() && !error.is_gone() && !error.is_not_found());
        let error = api.get("taken").await.unwrap_err();
        assert!(error.is_already_exists() && !error.is_conflict());
        let error = api.get("stale").await.unwrap_err();
        assert!(error.is_conflict() && !error.is_already_exists());
        let error = api.get("absent").await.unwrap_err();
        assert!(error.is_not_found());
        assert_eq!(error.to_string(), r#"configmaps "absent" not found"#);
        let error = api.get("text").await.unwrap_err();
        assert!(error.is_not_found() && error.has_cause("UnexpectedServerResponse"), "{error:?}");
        assert!(api.get_opt("absent").await.unwrap().is_none());
    });
}
