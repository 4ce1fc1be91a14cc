//! A manager starts in a cluster, registers its webhooks, and serves.

use crate::common::{Longhorn, fill, play};
use corral_kube_client::Api;
use http::Method;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use longhorn_api::{BackupTarget, Setting};
use serde_json::{Value, json};

#[test]
fn a_manager_starts_and_serves() {
    for tag in ["v1.7.2", "v1.8.0"] {
        play(1, async move {
            let longhorn = Longhorn::boot(tag).await;
            let hooks: Api<ValidatingWebhookConfiguration> = Api::all(&longhorn.client);
            hooks.get("longhorn-webhook-validator").await.expect("registered");
            let (status, nodes) = longhorn.request(Method::GET, "/v1/nodes", Value::Null).await;
            assert_eq!((status, &nodes["data"][0]["conditions"]["Ready"]["status"]), (200, &json!("True")), "{nodes}");
            let (status, error) = longhorn.request(Method::GET, "/v1/nodes/nobody", Value::Null).await;
            assert_eq!((status, &error["code"]), (404, &json!("Not Found")), "{error}");
        });
    }
}

#[test]
fn settings_are_guarded() {
    play(2, async {
        let longhorn = Longhorn::boot("v1.8.0").await;
        let settings: Api<Setting> = longhorn.api();
        let mut image = settings.get("default-engine-image").await.expect("created at the start");
        image.value = "longhornio/longhorn-engine:v1.7.2".to_owned();
        let error = settings.update(&image).await.expect_err("only the manager changes it");
        assert!(error.to_string().contains("setting default-engine-image is read-only"), "{error}");
        let change = json!({"value": "not a number"});
        let (status, answer) = longhorn.request(Method::PUT, "/v1/settings/failed-backup-ttl", change).await;
        assert_eq!(status, 500, "{answer}");
        let (status, answer) =
            longhorn.request(Method::PUT, "/v1/settings/failed-backup-ttl", json!({"value": "7"})).await;
        assert_eq!((status, &answer["value"]), (200, &json!("7")), "{answer}");
        let kept = settings.get("failed-backup-ttl").await.expect("there");
        let marks = kept.metadata.annotations.unwrap_or_default();
        assert_eq!((kept.value.as_str(), marks.contains_key("longhorn.io/update-setting-from-longhorn")), ("7", false));
    });
}

#[test]
fn the_default_target_is_there_and_stays() {
    play(3, async {
        let longhorn = Longhorn::boot("v1.8.0").await;
        let targets: Api<BackupTarget> = longhorn.api();
        let target = targets.get("default").await.expect("created at the start");
        assert_eq!(target.metadata.finalizers, Some(vec!["longhorn.io".to_owned()]));
        let error = targets.delete("default", &Default::default()).await.expect_err("it stays");
        assert!(error.to_string().contains("deleting default backup target is not allowed"), "{error}");
    });
}

#[test]
fn three_managers_share_the_work() {
    play(4, async {
        let longhorn = Longhorn::boot_workers("v1.8.0", 3).await;
        fill::backups(&longhorn.build, "bv", 2).await;
        longhorn.pull(2).await;
        let service = "longhorn-backend.longhorn-system.svc:9500";
        for address in longhorn.manager_addresses().await {
            // Reached through the service, a manager forwards to itself; the answer links to its own address.
            let (status, volumes) =
                longhorn.request_under(service, &address, Method::GET, "/v1/backupvolumes", Value::Null).await;
            let link = volumes["data"][0]["links"]["self"].as_str().unwrap_or_default();
            assert_eq!(status, 200, "{volumes}");
            assert!(link.starts_with(&format!("http://{address}:9500/v1/backupvolumes/bv-")), "{link}");
        }
    });
}
