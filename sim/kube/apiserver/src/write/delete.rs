//! DELETE: finalizers, grace, propagation, preconditions.
//!
//! Facts: apiserver's `registry/generic/registry/store.go` (`Delete`, `updateForGracefulDeletionAndFinalizers`,
//! `deletionFinalizersForGarbageCollection`) and `registry/rest/delete.go`; facts/kubernetes.md sections 1 and 4.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::admission::{Operation, Review};
use crate::answer::Answer;
use crate::builtin;
use crate::call::Call;
use crate::error::{self, ApiError, Cause};
use crate::meta;
use crate::options::Access;
use crate::store::{Object, Raced, Write};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// How a client wants something deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    pub grace_seconds: Option<i64>,
    pub policy: Option<String>,
    pub orphan_dependents: Option<bool>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub dry_run: bool,
    /// As it came, for webhooks.
    pub given: Value,
}

impl DeleteOptions {
    /// Reads the body, or the query if there is none.
    pub fn read(call: &Call) -> Result<DeleteOptions, ApiError> {
        let mut options =
            if call.body.is_empty() { DeleteOptions::of_query(call)? } else { DeleteOptions::of_body(call)? };
        options.dry_run |= call.query.dry_run()?;
        if let Value::Object(given) = &mut options.given {
            given.insert("kind".into(), "DeleteOptions".into());
            given.insert("apiVersion".into(), "meta.k8s.io/v1".into());
        }
        let mut causes = Vec::new();
        if let (Some(policy), Some(_)) = (&options.policy, options.orphan_dependents) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            causes.push(Cause::invalid("propagationPolicy", error::json(policy), why));
        } else if let Some(policy) =
            options.policy.as_deref().filter(|policy| !matches!(*policy, "Foreground" | "Background" | "Orphan"))
        {
            let known = ["Foreground", "Background", "Orphan", "nil"].map(error::json);
            causes.push(Cause::not_supported("propagationPolicy", error::json(policy), &known));
        }
        if causes.is_empty() { Ok(options) } else { Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", causes)) }
    }

    fn of_query(call: &Call) -> Result<DeleteOptions, ApiError> {
        let query = &call.query;
        let mut given = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        let options = DeleteOptions {
            grace_seconds: query.number("gracePeriodSeconds")?,
            policy: query.get("propagationPolicy").map(str::to_owned),
            orphan_dependents: query.get("orphanDependents").map(|_| query.flag("orphanDependents")),
            ..DeleteOptions::default()
        };
        if let Some(policy) = &options.policy {
            given["propagationPolicy"] = policy.clone().into();
        }
        if let Some(grace) = options.grace_seconds {
            given["gracePeriodSeconds"] = grace.into();
        }
        Ok(DeleteOptions { given, ..options })
    }

    fn of_body(call: &Call) -> Result<DeleteOptions, ApiError> {
        let given: Value = serde_json::from_slice(&call.body).map_err(|error| {
            ApiError::bad_request(format!(
                "couldn't get version/kind; json parse error: {}",
                crate::decode::json_error(&error)
            ))
        })?;
        let text = |field: &str| given.get(field).and_then(Value::as_str).unwrap_or_default();
        if !matches!(text("kind"), "" | "DeleteOptions") {
            let (kind, version) = (text("kind"), text("apiVersion"));
            return Err(ApiError::bad_request(format!(
                "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
            )));
        }
        let wrong = |field: &str| {
            ApiError::bad_request(format!("json: cannot unmarshal into Go struct field DeleteOptions.{field}"))
        };
        let string = |pointer: &str| match given.pointer(pointer) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(wrong(pointer)),
        };
        let grace_seconds = match given.get("gracePeriodSeconds") {
            None | Some(Value::Null) => None,
            Some(seconds) => Some(seconds.as_i64().ok_or_else(|| wrong("gracePeriodSeconds"))?),
        };
        Ok(DeleteOptions {
            grace_seconds,
            policy: string("/propagationPolicy")?,
            orphan_dependents: given.get("orphanDependents").and_then(Value::as_bool),
            uid: string("/preconditions/uid")?,
            resource_version: string("/preconditions/resourceVersion")?,
            dry_run: given
                .get("dryRun")
                .and_then(Value::as_array)
                .is_some_and(|all| all.iter().any(|one| one == "All")),
            given,
        })
    }

    fn check_preconditions(&self, call: &Call, current: &Object) -> Result<(), ApiError> {
        let resource = &call.resource;
        let conflict = |why: String| Err(ApiError::conflict(&resource.group, &resource.kind, &call.name, &why));
        if let Some(uid) = self.uid.as_deref().filter(|uid| *uid != current.uid()) {
            let found = current.uid();
            return conflict(format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({found}). The object might have been deleted and then recreated"
            ));
        }
        let found = current.revision().to_string();
        if let Some(version) = self.resource_version.as_deref().filter(|version| *version != found) {
            return conflict(format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({found}). The object might have been modified"
            ));
        }
        Ok(())
    }

    /// The finalizers that the garbage collector is to find.
    fn finalizers(&self, object: &Map<String, Value>) -> Vec<String> {
        let all = meta::finalizers(object);
        let (orphan, foreground) = match (self.orphan_dependents, self.policy.as_deref()) {
            (Some(orphan), _) => (orphan, false),
            (None, Some(policy)) => (policy == "Orphan", policy == "Foreground"),
            (None, None) => (all.contains(&ORPHAN), all.contains(&FOREGROUND) && !all.contains(&ORPHAN)),
        };
        let mut kept: Vec<String> =
            all.into_iter().filter(|name| !matches!(*name, ORPHAN | FOREGROUND)).map(str::to_owned).collect();
        if orphan {
            kept.push(ORPHAN.into());
        }
        if foreground {
            kept.push(FOREGROUND.into());
        }
        kept
    }
}

/// Deletes one object.
pub(crate) async fn delete(call: &mut Call) -> Result<Answer, ApiError> {
    let options = DeleteOptions::read(call)?;
    delete_with(call, &options, false).await
}

/// What becomes of an object whose deletion is asked for.
enum Step {
    /// Its deletion waits already, for the same thing.
    Pending,
    /// It is marked, and waits.
    Mark(Map<String, Value>),
    /// It is marked, and then goes.
    MarkAndRemove(Map<String, Value>),
    /// It goes.
    Remove,
}

/// The same with options; hooks of a collection's deletion see no name.
pub(crate) async fn delete_with(
    call: &mut Call,
    options: &DeleteOptions,
    collection: bool,
) -> Result<Answer, ApiError> {
    loop {
        let current = call.current()?;
        options.check_preconditions(call, &current)?;
        check_immortal(call)?;
        let name = call.name.clone();
        if collection {
            call.name.clear();
        }
        let reviewed = review(call, options, &current).await;
        call.name = name;
        reviewed?;
        if let Some(answer) = attempt(call, options, &current).await? {
            return Ok(answer);
        }
    }
}

fn check_immortal(call: &Call) -> Result<(), ApiError> {
    if call.resource.key.as_ref() == "namespaces"
        && matches!(call.name.as_str(), "default" | "kube-system" | "kube-public")
    {
        return Err(ApiError::forbidden("", "namespaces", &call.name, "this namespace may not be deleted"));
    }
    Ok(())
}

async fn review(call: &mut Call, options: &DeleteOptions, current: &Arc<Object>) -> Result<(), ApiError> {
    let review = || Review {
        operation: Operation::Delete(options.given.clone()),
        object: None,
        old: Some(current.clone()),
        dry_run: options.dry_run,
    };
    call.inner.clone().mutate(call, review()).await?;
    call.inner.clone().validate(call, review()).await?;
    Ok(())
}

async fn attempt(call: &mut Call, options: &DeleteOptions, current: &Arc<Object>) -> Result<Option<Answer>, ApiError> {
    let key = call.key();
    let step = decide(call, options, current);
    if options.dry_run {
        return match step {
            Step::Mark(object) => call.answer_value(200, &Value::Object(object), current.revision()).map(Some),
            _ => finish(call, current).map(Some),
        };
    }
    let (object, remove) = match step {
        Step::Pending => return answer_pending(call, current).map(Some),
        Step::Mark(object) => (Some(object), false),
        Step::MarkAndRemove(object) => (Some(object), true),
        Step::Remove => (None, true),
    };
    let mut last = current.clone();
    if let Some(object) = object.map(Value::Object).filter(|object| *object != current.value) {
        call.inner.storage(Access::Write).await;
        match call.inner.commit(call, &key, Some(current.revision()), Write::Put(object)) {
            Ok(commit) => last = commit.object().clone(),
            Err(Raced) => return Ok(None),
        }
    }
    if !remove {
        return call.answer(200, &last.record).map(Some);
    }
    call.inner.storage(Access::Write).await;
    match call.inner.commit(call, &key, Some(last.revision()), Write::Delete) {
        Ok(_) => finish(call, &last).map(Some),
        Err(Raced) => Ok(None),
    }
}

/// The answer to a deletion that another one has begun.
fn answer_pending(call: &mut Call, current: &Object) -> Result<Answer, ApiError> {
    if call.resource.returns_deleted() { call.answer(200, &current.record) } else { finish(call, current) }
}

/// The answer to a deletion that left nothing.
fn finish(call: &mut Call, last: &Object) -> Result<Answer, ApiError> {
    if call.resource.returns_deleted() {
        return call.answer(200, &last.record);
    }
    let body = error::deleted(&call.resource.group, &call.resource.plural, &call.name, last.uid());
    Ok(call.finish(Answer::json(200, body)))
}

fn decide(call: &Call, options: &DeleteOptions, current: &Object) -> Step {
    let old = current.value.as_object().expect("stored objects are JSON objects");
    match call.resource.key.as_ref() {
        "pods" => decide_pod(call, options, current, old),
        "namespaces" => decide_namespace(call, old),
        _ => {
            let mut object = old.clone();
            let finalizers = options.finalizers(old);
            let unchanged = finalizers.iter().map(String::as_str).eq(meta::finalizers(old));
            if finalizers.is_empty() {
                if unchanged {
                    return Step::Remove;
                }
                meta::set_finalizers(&mut object, finalizers);
                return Step::MarkAndRemove(object);
            }
            meta::set_finalizers(&mut object, finalizers);
            mark(call, &mut object, 0);
            Step::Mark(object)
        }
    }
}

/// Sets the deletion's time, once; a marked object has one generation more.
fn mark(call: &Call, object: &mut Map<String, Value>, grace: i64) {
    if !meta::of(object).contains_key("deletionTimestamp") {
        let generation = meta::number(object, "generation").unwrap_or(0);
        if generation > 0 {
            super::set_number(object, "generation", generation + 1);
        }
        let until = call.inner.now_plus(grace);
        meta::of_mut(object).insert("deletionTimestamp".into(), until.into());
    }
    super::set_number(object, "deletionGracePeriodSeconds", grace);
}

/// A pod goes when its grace is over, which may only get shorter; the server itself never ends it.
fn decide_pod(call: &Call, options: &DeleteOptions, current: &Object, old: &Map<String, Value>) -> Step {
    let asked = options.grace_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    let mut object = old.clone();
    match (current.is_deleting(), meta::number(old, "deletionGracePeriodSeconds")) {
        (true, Some(left)) if left > 0 => match asked {
            Some(grace) if grace < left => {
                let shifted = call.inner.shift_time(meta::text(old, "deletionTimestamp"), grace - left);
                meta::of_mut(&mut object).insert("deletionTimestamp".into(), shifted.into());
                super::set_number(&mut object, "deletionGracePeriodSeconds", grace);
            }
            _ => return Step::Pending,
        },
        (true, _) => {}
        (false, _) => mark(call, &mut object, builtin::grace_seconds(&current.value, asked)),
    }
    let finalizers = options.finalizers(old);
    let waits = !finalizers.is_empty();
    meta::set_finalizers(&mut object, finalizers);
    let grace = meta::number(&object, "deletionGracePeriodSeconds").unwrap_or(0);
    match () {
        () if waits || grace > 0 => Step::Mark(object),
        () => Step::MarkAndRemove(object),
    }
}

/// A namespace goes when the namespace controller has emptied it.
fn decide_namespace(call: &Call, old: &Map<String, Value>) -> Step {
    let held = old
        .get("spec")
        .and_then(|spec| spec.get("finalizers"))
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    if !held && meta::finalizers(old).is_empty() {
        return Step::Remove;
    }
    let mut object = old.clone();
    if !meta::of(old).contains_key("deletionTimestamp") {
        let now = call.inner.now_plus(0);
        meta::of_mut(&mut object).insert("deletionTimestamp".into(), now.into());
    }
    object.insert("status".into(), json!({ "phase": "Terminating" }));
    Step::Mark(object)
}
