//! JSON patch as the real server's library has it: `replace` of an absent leaf adds it, `test` of one against null passes.
//!
//! Facts: facts/kubernetes.md section 1; RFC 6902.

use serde_json::Value;

use crate::error::ApiError;

const OPERATIONS_LIMIT: usize = 10_000;

/// One operation.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Add(Pointer, Value),
    Remove(Pointer),
    Replace(Pointer, Value),
    Move(Pointer, Pointer),
    Copy(Pointer, Pointer),
    Test(Pointer, Value),
}

/// A JSON pointer, taken apart.
type Pointer = Vec<String>;

/// Reads a patch.
pub(crate) fn decode(patch: Value) -> Result<Vec<Operation>, ApiError> {
    let Value::Array(operations) = patch else {
        return Err(ApiError::bad_request(
            "error decoding patch: json: cannot unmarshal into Go value of type jsonpatch.Patch",
        ));
    };
    if operations.len() > OPERATIONS_LIMIT {
        let message =
            format!("The allowed maximum operations in a JSON patch is {OPERATIONS_LIMIT}, got {}", operations.len());
        return Err(ApiError::new(413, "RequestEntityTooLarge", message));
    }
    operations.into_iter().map(|operation| decode_one(operation).ok_or_else(ApiError::patch_failed)).collect()
}

fn decode_one(mut operation: Value) -> Option<Operation> {
    let pointer = |field: &str| pointer(operation.get(field)?.as_str()?);
    let path = pointer("path")?;
    let from = pointer("from");
    let kind = operation.get("op")?.as_str()?.to_owned();
    let value = operation.get_mut("value").map(Value::take);
    Some(match kind.as_str() {
        "add" => Operation::Add(path, value?),
        "remove" => Operation::Remove(path),
        "replace" => Operation::Replace(path, value?),
        "move" => Operation::Move(from?, path),
        "copy" => Operation::Copy(from?, path),
        "test" => Operation::Test(path, value.unwrap_or_default()),
        _ => return None,
    })
}

fn pointer(text: &str) -> Option<Pointer> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let rest = text.strip_prefix('/')?;
    Some(rest.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect())
}

/// Applies all operations, or fails as a whole.
pub(crate) fn apply(document: &mut Value, operations: &[Operation]) -> Result<(), ApiError> {
    operations.iter().try_for_each(|operation| apply_one(document, operation).ok_or_else(ApiError::patch_failed))
}

fn apply_one(document: &mut Value, operation: &Operation) -> Option<()> {
    match operation {
        Operation::Add(path, value) => add(document, path, value.clone()),
        Operation::Remove(path) => remove(document, path).map(drop),
        Operation::Replace(path, value) => match find_mut(document, path) {
            Some(place) => {
                *place = value.clone();
                Some(())
            }
            None => add_leaf(document, path, value.clone()),
        },
        Operation::Move(from, path) => {
            let value = remove(document, from)?;
            add(document, path, value)
        }
        Operation::Copy(from, path) => {
            let value = find_mut(document, from)?.clone();
            add(document, path, value)
        }
        Operation::Test(path, value) => match find_mut(document, path) {
            Some(found) => (*found == *value).then_some(()),
            // Only the leaf may be absent.
            None => (value.is_null() && find_mut(document, parent(path)?).is_some()).then_some(()),
        },
    }
}

fn parent(path: &Pointer) -> Option<&[String]> {
    path.split_last().map(|(_, parent)| parent)
}

fn find_mut<'a>(document: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(document, |value, step| match value {
        Value::Object(map) => map.get_mut(step),
        Value::Array(list) => {
            let index = index(step, list.len())?;
            list.get_mut(index)
        }
        _ => None,
    })
}

/// An index from the front, or from the back if it is negative, as the library allows.
fn index(step: &str, length: usize) -> Option<usize> {
    let number: i64 = step.parse().ok()?;
    if number >= 0 { usize::try_from(number).ok() } else { length.checked_sub(usize::try_from(-number).ok()?) }
}

fn add(document: &mut Value, path: &Pointer, value: Value) -> Option<()> {
    let Some((last, parent)) = path.split_last() else {
        *document = value;
        return Some(());
    };
    match find_mut(document, parent)? {
        Value::Object(map) => drop(map.insert(last.clone(), value)),
        Value::Array(list) if last == "-" => list.push(value),
        Value::Array(list) => {
            let at = index(last, list.len()).filter(|at| *at <= list.len())?;
            list.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn add_leaf(document: &mut Value, path: &Pointer, value: Value) -> Option<()> {
    let (last, parent) = path.split_last()?;
    find_mut(document, parent)?.as_object_mut()?.insert(last.clone(), value);
    Some(())
}

fn remove(document: &mut Value, path: &Pointer) -> Option<Value> {
    let (last, parent) = path.split_last()?;
    match find_mut(document, parent)? {
        Value::Object(map) => map.remove(last),
        Value::Array(list) => {
            let at = index(last, list.len()).filter(|at| *at < list.len())?;
            Some(list.remove(at))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn patched(document: Value, patch: Value) -> Option<Value> {
        let mut document = document;
        apply(&mut document, &decode(patch).ok()?).ok()?;
        Some(document)
    }

    #[test]
    fn operations_do_what_the_rfc_says() {
        let document = json!({"a": [1, 2], "b": {"c/d": "x"}});
        let one = |operation: Value| patched(document.clone(), json!([operation]));
        assert_eq!(one(json!({"op": "add", "path": "/a/1", "value": 9})).expect("applies")["a"], json!([1, 9, 2]));
        assert_eq!(one(json!({"op": "add", "path": "/a/-", "value": 9})).expect("applies")["a"], json!([1, 2, 9]));
        assert_eq!(one(json!({"op": "remove", "path": "/a/0"})).expect("applies")["a"], json!([2]));
        assert_eq!(
            one(json!({"op": "replace", "path": "/b/c~1d", "value": 1})).expect("applies")["b"],
            json!({"c/d": 1})
        );
        assert_eq!(
            one(json!({"op": "move", "from": "/a/0", "path": "/b/e"})).expect("applies"),
            json!({"a": [2], "b": {"c/d": "x", "e": 1}})
        );
        assert_eq!(one(json!({"op": "copy", "from": "/b", "path": "/f"})).expect("applies")["f"], json!({"c/d": "x"}));
        assert!(one(json!({"op": "test", "path": "/a", "value": [1, 2]})).is_some());
        assert!(one(json!({"op": "test", "path": "/a", "value": [2]})).is_none());
    }

    #[test]
    fn absent_places_are_treated_as_the_real_server_does() {
        let one = |operation: Value| patched(json!({"spec": {}}), json!([operation]));
        assert_eq!(one(json!({"op": "replace", "path": "/spec/a", "value": 1})), Some(json!({"spec": {"a": 1}})));
        assert_eq!(one(json!({"op": "remove", "path": "/spec/a"})), None);
        assert_eq!(one(json!({"op": "add", "path": "/spec/a/b", "value": 1})), None);
        assert_eq!(one(json!({"op": "test", "path": "/spec/a", "value": null})), Some(json!({"spec": {}})));
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<u8>().prop_map(|number| json!(number)),
            "[a-z/~]{0,3}".prop_map(|text| json!(text)),
            Just(Value::Null)
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map("[a-c/~]{1,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_added_can_be_found_and_removed(before in prop::collection::btree_map("[a-c]", document(), 0..3), name in "[d-f/~]{1,3}", value in document()) {
            let before = json!(before);
            let path = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            let added = patched(before.clone(), json!([{"op": "add", "path": path, "value": value}])).expect("applies");
            prop_assert_eq!(&added[&name], &value);
            let test_and_remove = json!([{"op": "test", "path": path, "value": value}, {"op": "remove", "path": path}]);
            prop_assert_eq!(patched(added, test_and_remove), Some(before));
        }

        #[test]
        fn a_failed_patch_is_no_panic(document in document(), path in "(/[a-c0-9-]{0,2}){0,3}", value in document()) {
            for operation in ["add", "remove", "replace", "test", "move", "copy"] {
                let _ = patched(document.clone(), json!([{"op": operation, "path": path, "from": "/a", "value": value}]));
            }
        }
    }
}
