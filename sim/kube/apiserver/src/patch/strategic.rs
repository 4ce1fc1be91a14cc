//! Strategic merge patch: as a merge patch, but lists with a key are merged item by item.
//!
//! Facts: apimachinery's `util/strategicpatch/patch.go`: directives `$patch`, `$retainKeys`, `$deleteFromPrimitiveList`, `$setElementOrder`.

use serde_json::{Map, Value};

use crate::builtin::{ListMerge, MergeRules};
use crate::error::ApiError;

/// Merges a patch into an object of a built-in kind.
pub(crate) fn merge(target: &mut Value, patch: &Value, rules: &MergeRules) -> Result<(), ApiError> {
    let Value::Object(patch) = patch else { return Err(ApiError::patch_failed()) };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    merge_map(target.as_object_mut().expect("made an object above"), patch, rules)
}

fn directive(patch: &Map<String, Value>) -> Option<&str> {
    patch.get("$patch").and_then(Value::as_str)
}

fn merge_map(target: &mut Map<String, Value>, patch: &Map<String, Value>, rules: &MergeRules) -> Result<(), ApiError> {
    match directive(patch) {
        Some("replace") => {
            *target = patch
                .iter()
                .filter(|(name, _)| *name != "$patch")
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        _ => {}
    }
    if let Some(Value::Array(kept)) = patch.get("$retainKeys") {
        target.retain(|name, _| kept.iter().any(|one| one == name));
    }
    for (name, list) in
        patch.iter().filter_map(|(name, value)| Some((name.strip_prefix("$deleteFromPrimitiveList/")?, value)))
    {
        if let (Some(Value::Array(target)), Value::Array(gone)) = (target.get_mut(name), list) {
            target.retain(|item| !gone.contains(item));
        }
    }
    for (name, change) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        merge_field(target, name, change, rules)?;
    }
    for (name, order) in patch.iter().filter_map(|(name, value)| Some((name.strip_prefix("$setElementOrder/")?, value)))
    {
        if let (Some(Value::Array(list)), Value::Array(order)) = (target.get_mut(name), order) {
            set_order(list, order, &rules.list(name));
        }
    }
    Ok(())
}

fn merge_field(
    target: &mut Map<String, Value>,
    name: &str,
    change: &Value,
    rules: &MergeRules,
) -> Result<(), ApiError> {
    match change {
        Value::Null => drop(target.remove(name)),
        Value::Object(change) => {
            let place = target.entry(name.to_owned()).or_insert_with(|| Value::Object(Map::new()));
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            merge_map(place.as_object_mut().expect("made an object above"), change, &rules.field(name))?;
        }
        Value::Array(changes) => match rules.list(name) {
            ListMerge::Atomic => drop(target.insert(name.to_owned(), change.clone())),
            ListMerge::Set => {
                let place = target.entry(name.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
                let Some(list) = place.as_array_mut() else { return Err(ApiError::patch_failed()) };
                for item in changes {
                    if !list.contains(item) {
                        list.push(item.clone());
                    }
                }
            }
            ListMerge::Key(key) => {
                let place = target.entry(name.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
                if place.is_null() {
                    *place = Value::Array(Vec::new());
                }
                let Some(list) = place.as_array_mut() else { return Err(ApiError::patch_failed()) };
                merge_list(list, changes, key, &rules.field(name))?;
            }
        },
        plain => drop(target.insert(name.to_owned(), plain.clone())),
    }
    Ok(())
}

fn merge_list(list: &mut Vec<Value>, changes: &[Value], key: &str, rules: &MergeRules) -> Result<(), ApiError> {
    let replaced = changes
        .iter()
        .any(|change| change.as_object().is_some_and(|map| directive(map) == Some("replace") && map.len() == 1));
    if replaced {
        *list = changes.iter().filter(|change| change.get("$patch").is_none()).cloned().collect();
        return Ok(());
    }
    for change in changes {
        let Some(change) = change.as_object() else { return Err(ApiError::patch_failed()) };
        let Some(id) = change.get(key) else {
            let shown = crate::error::json(change);
            return Err(ApiError::new(
                500,
                "InternalError",
                format!("Internal error occurred: map: {shown} does not contain declared merge key: {key}"),
            ));
        };
        let found = list.iter().position(|item| item.get(key) == Some(id));
        match (directive(change), found) {
            (Some("delete"), _) => list.retain(|item| item.get(key) != Some(id)),
            (_, Some(at)) => {
                if let Some(item) = list[at].as_object_mut() {
                    merge_map(item, change, rules)?;
                }
            }
            (_, None) => {
                let mut item = Map::new();
                merge_map(&mut item, change, rules)?;
                list.push(Value::Object(item));
            }
        }
    }
    Ok(())
}

/// Orders a list as the patch has it; what the patch does not name keeps its place behind what it followed.
fn set_order(list: &mut Vec<Value>, order: &[Value], merge: &ListMerge) {
    let id = |item: &Value| match merge {
        ListMerge::Key(key) => item.get(*key).cloned().unwrap_or_default(),
        _ => item.clone(),
    };
    let wanted: Vec<Value> = order.iter().map(id).collect();
    let rank = |item: &Value| wanted.iter().position(|one| *one == id(item));
    let mut last = 0;
    let mut ranked: Vec<(usize, Value)> = Vec::with_capacity(list.len());
    for item in list.drain(..) {
        let at = rank(&item);
        last = at.unwrap_or(last);
        ranked.push((at.unwrap_or(last), item));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    list.extend(ranked.into_iter().map(|(_, item)| item));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::Types;
    use proptest::prelude::*;
    use serde_json::json;

    fn merged(target: Value, patch: Value, kind: &'static str) -> Value {
        let mut target = target;
        merge(&mut target, &patch, &MergeRules::of_kind(&Types::new(), kind)).expect("applies");
        target
    }

    #[test]
    fn lists_with_a_key_are_merged_and_others_replaced() {
        let pod =
            json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2", "args": ["x"]}]}});
        let patched = merged(
            pod,
            json!({"spec": {"containers": [{"name": "b", "image": "3", "args": ["y"]}, {"name": "c"}]}}),
            "Pod",
        );
        assert_eq!(
            patched["spec"]["containers"],
            json!([{"name": "a", "image": "1"}, {"name": "b", "image": "3", "args": ["y"]}, {"name": "c"}])
        );
    }

    #[test]
    fn directives_delete_replace_and_order() {
        let node =
            json!({"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "False"}]}});
        let deleted =
            merged(node.clone(), json!({"status": {"conditions": [{"type": "X", "$patch": "delete"}]}}), "Node");
        assert_eq!(deleted["status"]["conditions"], json!([{"type": "Ready", "status": "True"}]));
        let replaced = merged(node.clone(), json!({"status": {"$patch": "replace", "phase": "p"}}), "Node");
        assert_eq!(replaced["status"], json!({"phase": "p"}));
        let order = json!({"status": {"$setElementOrder/conditions": [{"type": "X"}, {"type": "Ready"}]}});
        assert_eq!(merged(node, order, "Node")["status"]["conditions"][0]["type"], "X");
    }

    #[test]
    fn finalizers_are_a_set() {
        let map = json!({"metadata": {"finalizers": ["a/b", "c/d"]}});
        let patch = json!({"metadata": {"finalizers": ["e/f"], "$deleteFromPrimitiveList/finalizers": ["a/b"]}});
        assert_eq!(merged(map, patch, "ConfigMap")["metadata"]["finalizers"], json!(["c/d", "e/f"]));
    }

    fn container() -> impl Strategy<Value = Value> {
        ("[a-d]", "[x-z]", prop::collection::vec("[p-r]", 0..3))
            .prop_map(|(name, image, args)| json!({"name": name, "image": image, "args": args}))
    }

    fn pod() -> impl Strategy<Value = Value> {
        prop::collection::vec(container(), 1..4).prop_map(|mut containers| {
            containers.sort_by_key(|container| container["name"].to_string());
            containers.dedup_by_key(|container| container["name"].clone());
            json!({"spec": {"containers": containers}})
        })
    }

    proptest! {
        #[test]
        fn a_patch_applies_once(before in pod(), patch in pod()) {
            let once = merged(before.clone(), patch.clone(), "Pod");
            prop_assert_eq!(merged(once.clone(), patch.clone(), "Pod"), once.clone(), "again changes nothing");
            prop_assert_eq!(merged(before.clone(), before.clone(), "Pod"), before.clone(), "itself changes nothing");
            let names = |pod: &Value| pod["spec"]["containers"].as_array().expect("containers").iter().map(|one| one["name"].to_string()).collect::<std::collections::BTreeSet<_>>();
            let expected: std::collections::BTreeSet<_> = names(&before).union(&names(&patch)).cloned().collect();
            prop_assert_eq!(names(&once), expected);
            for change in patch["spec"]["containers"].as_array().expect("containers") {
                prop_assert!(once["spec"]["containers"].as_array().expect("containers").contains(change));
            }
        }
    }
}
