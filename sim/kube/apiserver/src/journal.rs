//! What the server tells the run's journal: every commit, and every write that it refused.

use host::journal::{Event, content_hash, is_kept, record};

use crate::call::Call;
use crate::error::ApiError;
use crate::store::Commit;

/// A write was committed. `kind` is the object's kind; `subresource` and `client` say how and by whom.
pub(crate) fn journal_write(commit: &Commit, subresource: &str, client: &str) {
    if !is_kept() {
        return;
    }
    let object = commit.object();
    let verb = match (&commit.old, &commit.new) {
        (None, _) => "create",
        (_, Some(_)) => "update",
        (_, None) => "delete",
    };
    record(Event::ApiWrite {
        verb: verb.into(),
        kind: object.value.get("kind").and_then(serde_json::Value::as_str).unwrap_or_default().into(),
        subresource: subresource.into(),
        namespace: object.namespace().into(),
        name: object.name().into(),
        uid: object.uid().into(),
        resource_version: commit.revision,
        deleting: object.is_deleting(),
        client: client.into(),
        content: content_hash(&object.record.bytes),
    });
}

/// A request that was to write was refused.
pub(crate) fn journal_refusal(call: &Call, error: &ApiError) {
    if !is_kept() || matches!(call.verb, "get" | "list" | "watch") {
        return;
    }
    let name = if call.namespace.is_empty() { call.name.clone() } else { format!("{}/{}", call.namespace, call.name) };
    record(Event::ApiRefused {
        verb: call.verb.into(),
        kind: call.resource.kind.as_str().into(),
        name: name.into(),
        code: error.code,
        reason: error.reason.as_deref().unwrap_or_default().into(),
        client: call.client.user_agent.as_str().into(),
    });
}
