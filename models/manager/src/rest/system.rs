//! Settings and nodes.

use http::Method;
use longhorn_api::settings::{self, Value as Kind};
use longhorn_api::{Node, Setting};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Rest;
use super::resource::{Call, Reply};
use crate::pods;
use crate::runtime::backups::name;
use crate::runtime::{Context, Result, validation};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SettingInput {
    value: String,
}

impl Rest {
    /// `/v1/settings` and below.
    pub(super) async fn settings(&self, call: &Call, rest: &[&str]) -> Result<Reply> {
        let datastore = &self.manager.datastore;
        match (&call.method, rest) {
            (&Method::GET, []) => {
                let settings = datastore.all_settings().context(|| "failed to list settings")?;
                Ok(call.collection("setting", settings.values().map(|setting| show_setting(call, setting)).collect()))
            }
            (&Method::GET, [setting]) => {
                let found = datastore.setting(setting).context(|| format!("failed to get setting {setting}"))?;
                Ok(Reply::Json(show_setting(call, &found)))
            }
            (&Method::PUT, [setting]) => {
                let input: SettingInput = call.input()?;
                let mut changed = (*datastore.setting(setting)?).clone();
                changed.value = input.value.trim().to_owned();
                datastore.validate_setting(setting, &changed.value).await?;
                let written = match datastore.update_setting(changed.clone()).await {
                    Err(error) if error.is_not_found() => datastore.settings.api().create(&changed).await?,
                    other => other?,
                };
                Ok(Reply::Json(show_setting(call, &written)))
            }
            (_, [] | [_]) => Ok(Reply::MethodNotAllowed),
            _ => Ok(Reply::Absent),
        }
    }

    /// `/v1/nodes` and below; nodes are changed at the Kubernetes API so far.
    pub(super) fn nodes(&self, call: &Call, rest: &[&str]) -> Result<Reply> {
        let datastore = &self.manager.datastore;
        let address_of = |node: &Node| -> Result<String> {
            let addresses = pods::manager_addresses(datastore).context(|| "failed to get node ip")?;
            Ok(addresses.get(name(&node.metadata)).cloned().unwrap_or_default())
        };
        match (&call.method, rest) {
            (&Method::GET, []) => {
                let mut nodes = datastore.nodes.list();
                nodes.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
                let data = nodes.iter().map(|node| Ok(show_node(call, node, &address_of(node)?)));
                Ok(call.collection("node", data.collect::<Result<_>>()?))
            }
            (&Method::GET, [node]) => {
                let found = datastore.nodes.get(node).context(|| format!("failed to get node {node}"))?;
                Ok(Reply::Json(show_node(call, &found, &address_of(&found)?)))
            }
            (_, [] | [_]) => Ok(Reply::MethodNotAllowed),
            _ => Ok(Reply::Absent),
        }
    }
}

/// Without the words for people that upstream's definitions have.
fn show_setting(call: &Call, setting: &Setting) -> Value {
    let setting_name = name(&setting.metadata);
    let definition = settings::definition(setting_name).map_or(Value::Null, |definition| {
        let kind = match definition.value {
            Kind::Boolean => "bool",
            Kind::Integer(..) => "int",
            Kind::Text => "string",
        };
        json!({
            "type": kind, "required": validation::is_required(setting_name), "readOnly": definition.is_read_only,
            "default": definition.default,
        })
    });
    let fields = json!({
        "name": setting_name, "value": setting.value, "applied": setting.status.applied, "definition": definition,
    });
    call.resource("setting", setting_name, &[], fields)
}

/// Conditions by their type, and of each disk what is wanted and what is known, in one.
fn show_node(call: &Call, node: &Node, address: &str) -> Value {
    let by_type = |conditions: &longhorn_api::go::List<longhorn_api::kinds::Condition>| -> Value {
        conditions
            .iter()
            .map(|condition| (condition.condition_type.clone(), json!(condition)))
            .collect::<Map<_, _>>()
            .into()
    };
    let disk = |disk_name: &String| {
        let mut shown = json!(node.spec.disks.get(disk_name.as_str()));
        if let Some(status) = node.status.disk_status.get(disk_name.as_str()) {
            for (field, value) in json!(status).as_object().into_iter().flatten() {
                shown[field] = value.clone();
            }
            shown["conditions"] = by_type(&status.conditions);
        }
        shown
    };
    let disks: Map<String, Value> =
        node.spec.disks.keys().map(|disk_name| (disk_name.clone(), disk(disk_name))).collect();
    let fields = json!({
        "name": name(&node.metadata),
        "address": address,
        "allowScheduling": node.spec.allow_scheduling,
        "evictionRequested": node.spec.eviction_requested,
        "disks": disks,
        "conditions": by_type(&node.status.conditions),
        "tags": node.spec.tags,
        "region": node.status.region,
        "zone": node.status.zone,
        "instanceManagerCPURequest": node.spec.instance_manager_cpu_request,
        "autoEvicting": node.status.auto_evicting,
    });
    call.resource("node", name(&node.metadata), &[], fields)
}

#[cfg(test)]
mod tests {
    use longhorn_api::kinds::condition::ConditionStatus;

    use super::super::resource::tests::call;
    use super::*;
    use crate::runtime::settings::setting_object;

    #[test]
    fn conditions_are_shown_by_type() {
        let mut node = Node::default();
        node.metadata.name = Some("n1".to_owned());
        node.status.conditions.set_condition("Ready", ConditionStatus::True, "", "yes", "now");
        let shown = show_node(&call(Method::GET, "/v1/nodes"), &node, "10.0.0.1");
        assert_eq!((&shown["conditions"]["Ready"]["status"], &shown["address"]), (&json!("True"), &json!("10.0.0.1")));
    }

    #[test]
    fn a_setting_is_shown_with_what_it_takes() {
        let setting = setting_object(settings::FAILED_BACKUP_TTL, "5");
        let shown = show_setting(&call(Method::GET, "/v1/settings"), &setting);
        assert_eq!(shown["definition"], json!({"type": "int", "required": true, "readOnly": false, "default": "1440"}));
        assert_eq!((&shown["value"], &shown["applied"]), (&json!("5"), &json!(false)));
    }
}
