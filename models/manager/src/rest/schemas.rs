//! What a client asks first: the version with its collections, and the schemas of their kinds. Clients find collections, methods and
//! actions by these; fields are left out, because none looks at them.

use http::Method;
use serde_json::{Map, Value, json};

use super::resource::{Call, Reply, plural};

/// A kind: methods of the collection, methods of a resource, actions.
type Schema = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

const SCHEMAS: [Schema; 15] = [
    ("backupBackingImage", &["GET"], &["GET", "DELETE"], &[]),
    ("backupTarget", &["GET", "POST"], &["GET", "PUT", "DELETE"], &["backupTargetSync", "backupTargetUpdate"]),
    (
        "backupVolume",
        &["GET"],
        &["GET", "PUT", "DELETE"],
        &["backupList", "backupGet", "backupDelete", "backupVolumeSync"],
    ),
    ("node", &["GET"], &["GET"], &[]),
    ("schema", &["GET"], &["GET"], &[]),
    ("setting", &["GET"], &["GET", "PUT"], &[]),
    ("systemBackup", &["GET"], &["GET", "DELETE"], &[]),
    ("backup", &[], &[], &[]),
    ("engineImage", &["GET"], &["GET"], &[]),
    ("instanceManager", &["GET"], &["GET"], &[]),
    ("replica", &[], &[], &[]),
    ("snapshot", &[], &[], &[]),
    ("snapshotCR", &[], &[], &[]),
    ("volume", &["GET", "POST"], &["GET", "PUT", "DELETE"], &VOLUME_ACTIONS),
    ("volumeAttachment", &[], &[], &[]),
];

const VOLUME_ACTIONS: [&str; 19] = [
    "attach",
    "detach",
    "salvage",
    "activate",
    "expand",
    "cancelExpansion",
    "replicaRemove",
    "updateReplicaCount",
    "snapshotPurge",
    "snapshotCreate",
    "snapshotGet",
    "snapshotList",
    "snapshotDelete",
    "snapshotRevert",
    "snapshotBackup",
    "snapshotCRCreate",
    "snapshotCRGet",
    "snapshotCRList",
    "snapshotCRDelete",
];

/// The version of the API.
pub fn version(call: &Call) -> Reply {
    let collections = SCHEMAS.iter().filter(|(_, methods, ..)| methods.contains(&"GET"));
    let mut links: Map<String, Value> = collections
        .map(|(kind, ..)| (plural(kind), format!("http://{}/v1/{}", call.host, plural(kind)).into()))
        .collect();
    links.insert("self".to_owned(), format!("http://{}/v1", call.host).into());
    Reply::Json(json!({"id": "v1", "type": "apiVersion", "actions": {}, "links": links}))
}

/// All schemas, or one.
pub fn schemas(call: &Call, rest: &[&str]) -> Reply {
    match rest {
        _ if call.method != Method::GET => Reply::MethodNotAllowed,
        [] => call.collection("schema", SCHEMAS.iter().map(|schema| resource(call, schema)).collect()),
        [id] => SCHEMAS
            .iter()
            .find(|(kind, ..)| kind.eq_ignore_ascii_case(id))
            .map_or(Reply::Absent, |schema| Reply::Json(resource(call, schema))),
        _ => Reply::Absent,
    }
}

fn resource(call: &Call, (kind, collection_methods, resource_methods, actions): &Schema) -> Value {
    let actions: Map<String, Value> = actions.iter().map(|action| ((*action).to_owned(), json!({}))).collect();
    let fields = json!({
        "pluralName": plural(kind), "collectionMethods": collection_methods, "resourceMethods": resource_methods,
        "resourceActions": actions, "resourceFields": {},
    });
    let mut resource = call.resource("schema", kind, &[], fields);
    if collection_methods.contains(&"GET") {
        resource["links"]["collection"] = format!("http://{}/v1/{}", call.host, plural(kind)).into();
    }
    resource
}

#[cfg(test)]
mod tests {
    use super::super::resource::tests::call;
    use super::*;

    #[test]
    fn every_collection_is_found_by_the_version() {
        let Reply::Json(version) = version(&call(Method::GET, "/v1")) else { panic!("no version") };
        assert_eq!(version["links"]["backupvolumes"], "http://longhorn-backend:9500/v1/backupvolumes");
        assert!(version["links"].get("backups").is_none(), "backups are reached through their volume");
    }

    #[test]
    fn a_schema_names_its_actions() {
        let Reply::Json(schema) = schemas(&call(Method::GET, "/v1/schemas/backupVolume"), &["backupVolume"]) else {
            panic!("no schema")
        };
        assert!(schema["resourceActions"].get("backupDelete").is_some());
        assert!(matches!(schemas(&call(Method::GET, "/v1/schemas/x"), &["x"]), Reply::Absent));
    }
}
