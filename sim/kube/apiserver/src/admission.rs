//! Admission webhooks: who is asked about a write, and what the answers do to it.
//!
//! Order, as the real server has it: mutating hooks one after another by the names of their configurations, then the schema, then all
//! validating hooks at once. Hooks that would need TLS are stored and not called; see [`crate::WebhookScheme`].
//! Facts: apiserver's `admission/plugin/webhook`; facts/kubernetes.md section 1, "Admission".

mod config;
mod exchange;

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Map, Value};

pub(crate) use config::{Hook, Hooks};
use exchange::Verdict;

use crate::call::Call;
use crate::decode;
use crate::error::{ApiError, Cause};
use crate::meta;
use crate::server::Inner;
use crate::store::Object;

/// What is being done.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Create,
    Update,
    /// With the options of the request.
    Delete(Value),
}

impl Operation {
    pub fn name(&self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete(_) => "DELETE",
        }
    }
}

/// One write, as hooks see it.
#[derive(Debug)]
pub(crate) struct Review {
    pub operation: Operation,
    /// The new state; none at a deletion.
    pub object: Option<Map<String, Value>>,
    pub old: Option<Arc<Object>>,
    pub dry_run: bool,
}

impl Inner {
    /// Runs the mutating hooks; gives back the object as they leave it.
    pub async fn mutate(&self, call: &mut Call, mut review: Review) -> Result<Option<Map<String, Value>>, ApiError> {
        let hooks = self.hooks();
        for hook in hooks.mutating.iter() {
            let Some(version) = hook.matches(self, call, &review) else { continue };
            match exchange::ask(self, hook, call, &review, &version).await {
                Ok(Verdict { warnings, patch }) => {
                    call.warnings.extend(warnings);
                    if let Some(patch) = patch {
                        self.apply(hook, call, &mut review, &patch)?;
                    }
                }
                Err(refusal) => refusal.unless_ignored(hook)?,
            }
        }
        Ok(review.object)
    }

    fn apply(
        &self,
        hook: &Hook,
        call: &Call,
        review: &mut Review,
        patch: &crate::patch::Patch,
    ) -> Result<(), ApiError> {
        let Some(object) = review.object.take() else {
            let name = &hook.name;
            return Err(ApiError::internal(format!(
                "admission webhook \"{name}\" attempted to modify the object, which is not supported for this operation"
            )));
        };
        let patched = patch
            .apply(&Value::Object(object))
            .map_err(|_| ApiError::internal("the patch of a webhook does not apply to the object"))?;
        let Value::Object(mut object) = patched else {
            return Err(ApiError::internal("the patch of a webhook leaves no object"));
        };
        let mut unknown = Vec::new();
        meta::clean(&call.resource, &mut object, &mut unknown)?;
        decode::shape(&call.resource, &mut object, &mut unknown)?;
        review.object = Some(object);
        Ok(())
    }

    /// Runs the validating hooks, all at once; gives the object back.
    pub async fn validate(&self, call: &mut Call, review: Review) -> Result<Option<Map<String, Value>>, ApiError> {
        let hooks = self.hooks();
        if hooks.validating.is_empty() {
            return Ok(review.object);
        }
        let matching: Vec<(&Arc<Hook>, String)> =
            hooks.validating.iter().filter_map(|hook| Some((hook, hook.matches(self, call, &review)?))).collect();
        let shared: &Call = call;
        let verdicts =
            join_all(matching.iter().map(|(hook, version)| exchange::ask(self, hook, shared, &review, version))).await;
        let mut refusal = None;
        for (verdict, (hook, _)) in verdicts.into_iter().zip(&matching) {
            match verdict {
                Ok(verdict) => call.warnings.extend(verdict.warnings),
                Err(error) => {
                    if let Err(error) = error.unless_ignored(hook) {
                        refusal.get_or_insert(error);
                    }
                }
            }
        }
        refusal.map_or(Ok(review.object), Err)
    }

    /// The real server takes https only; plain HTTP is an option of ours.
    pub fn validate_webhook_urls(&self, configuration: &Map<String, Value>, causes: &mut Vec<Cause>) {
        let webhooks = configuration.get("webhooks").and_then(Value::as_array);
        for (index, webhook) in webhooks.into_iter().flatten().enumerate() {
            let Some(url) = webhook.pointer("/clientConfig/url").and_then(Value::as_str) else { continue };
            let allowed =
                url.starts_with("https://") || (self.options.allow_plain_http_webhooks && url.starts_with("http://"));
            if !allowed {
                let why = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
                causes.push(Cause::invalid(
                    format!("webhooks[{index}].clientConfig.url"),
                    crate::error::json(url),
                    why,
                ));
            }
        }
    }
}
