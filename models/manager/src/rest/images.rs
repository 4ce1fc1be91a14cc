//! Engine images and instance managers, to look at (`api/engineimage.go`, `api/instancemanager.go`).

use http::Method;
use longhorn_api::{EngineImage, InstanceManager, settings};
use serde_json::{Value, json};

use super::Rest;
use super::resource::{Call, Reply};
use crate::runtime::backups::name;
use crate::runtime::{Context, Result};

impl Rest {
    /// `/v1/engineimages` and below.
    pub(super) fn engine_images(&self, call: &Call, rest: &[&str]) -> Result<Reply> {
        let datastore = &self.manager.datastore;
        let default = datastore.existing_setting_value(settings::DEFAULT_ENGINE_IMAGE)?;
        match (&call.method, rest) {
            (&Method::GET, []) => {
                let mut images = datastore.engine_images.list();
                images.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
                let shown = images.iter().map(|image| show_image(call, image, &default));
                Ok(call.collection("engineImage", shown.collect()))
            }
            (&Method::GET, [image]) => {
                let found = datastore.engine_images.get(image);
                let found = found.context(|| format!("failed to get engine image {image}"))?;
                Ok(Reply::Json(show_image(call, &found, &default)))
            }
            (_, [] | [_]) => Ok(Reply::MethodNotAllowed),
            _ => Ok(Reply::Absent),
        }
    }

    /// `/v1/instancemanagers` and below.
    pub(super) fn instance_managers(&self, call: &Call, rest: &[&str]) -> Result<Reply> {
        let store = &self.manager.datastore.instance_managers;
        match (&call.method, rest) {
            (&Method::GET, []) => {
                let mut managers = store.list();
                managers.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
                let shown = managers.iter().map(|manager| show_instance_manager(call, manager));
                Ok(call.collection("instanceManager", shown.collect()))
            }
            (&Method::GET, [manager]) => Ok(Reply::Json(show_instance_manager(call, &*store.get(manager)?))),
            (_, [] | [_]) => Ok(Reply::MethodNotAllowed),
            _ => Ok(Reply::Absent),
        }
    }
}

fn show_image(call: &Call, image: &EngineImage, default: &str) -> Value {
    let mut fields = json!(image.status);
    fields["name"] = name(&image.metadata).into();
    fields["image"] = image.spec.image.as_str().into();
    fields["default"] = (image.spec.image == default).into();
    call.resource("engineImage", name(&image.metadata), &[], fields)
}

fn show_instance_manager(call: &Call, manager: &InstanceManager) -> Value {
    let (spec, status) = (&manager.spec, &manager.status);
    let fields = json!({
        "name": name(&manager.metadata),
        "currentState": status.current_state,
        "image": spec.image,
        "nodeID": spec.node_id,
        "managerType": spec.instance_manager_type,
        "dataEngine": spec.data_engine,
        "instanceEngines": status.instance_engines,
        "instanceReplicas": status.instance_replicas,
        "instances": status.instances,
    });
    call.resource("instanceManager", name(&manager.metadata), &[], fields)
}
