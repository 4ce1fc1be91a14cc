//! Webhook configurations, compiled: which writes a hook is asked about, and where it is.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Review;
use crate::call::Call;
use crate::options::WebhookScheme;
use crate::selector::LabelSelector;
use crate::server::Inner;
use crate::store::{Object, Store};

/// Where a hook is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// At this URL.
    Url(String),
    /// At this URL, if services are called in plain HTTP.
    Service(String),
}

#[derive(Clone, Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
}

/// One webhook.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    pub name: String,
    pub target: Target,
    pub ignore_failure: bool,
    pub timeout: Duration,
    exact: bool,
    rules: Vec<Rule>,
    namespaces: LabelSelector,
    objects: LabelSelector,
}

/// All webhooks, in the order in which they are called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hooks {
    pub mutating: Vec<Arc<Hook>>,
    pub validating: Vec<Arc<Hook>>,
}

impl Hooks {
    /// Reads all configurations.
    pub fn load(store: &Store) -> Hooks {
        let of = |resource: &str| {
            store.objects(resource).flat_map(|configuration| hooks_of(&configuration)).map(Arc::new).collect()
        };
        Hooks {
            mutating: of("mutatingwebhookconfigurations.admissionregistration.k8s.io"),
            validating: of("validatingwebhookconfigurations.admissionregistration.k8s.io"),
        }
    }
}

fn strings(value: &Value, field: &str) -> Vec<String> {
    let list = value.get(field).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn hooks_of(configuration: &Object) -> Vec<Hook> {
    let webhooks = configuration.value.get("webhooks").and_then(Value::as_array);
    webhooks.into_iter().flatten().filter_map(hook).collect()
}

fn hook(webhook: &Value) -> Option<Hook> {
    let text = |pointer: &str| webhook.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let rules = webhook.get("rules").and_then(Value::as_array).into_iter().flatten();
    let rule = |rule: &Value| Rule {
        operations: strings(rule, "operations"),
        groups: strings(rule, "apiGroups"),
        versions: strings(rule, "apiVersions"),
        resources: strings(rule, "resources"),
        scope: rule.get("scope").and_then(Value::as_str).unwrap_or("*").to_owned(),
    };
    let client = webhook.get("clientConfig")?;
    let target = match client.get("url").and_then(Value::as_str) {
        Some(url) => Target::Url(url.to_owned()),
        None => {
            let service = client.get("service")?;
            let (name, namespace) = (service.get("name")?.as_str()?, service.get("namespace")?.as_str()?);
            let port = service.get("port").and_then(Value::as_i64).unwrap_or(443);
            let path = service.get("path").and_then(Value::as_str).unwrap_or_default().trim_start_matches('/');
            Target::Service(format!("://{name}.{namespace}.svc:{port}/{path}"))
        }
    };
    let seconds = webhook.get("timeoutSeconds").and_then(Value::as_u64).unwrap_or(10);
    Some(Hook {
        name: text("/name").to_owned(),
        target,
        ignore_failure: text("/failurePolicy") == "Ignore",
        timeout: Duration::from_secs(seconds),
        exact: text("/matchPolicy") == "Exact",
        rules: rules.map(rule).collect(),
        namespaces: LabelSelector::from_object(webhook.get("namespaceSelector")),
        objects: LabelSelector::from_object(webhook.get("objectSelector")),
    })
}

fn any(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

impl Rule {
    fn matches(&self, call: &Call, version: &str, operation: &str) -> bool {
        let resource = &call.resource;
        let scope = match self.scope.as_str() {
            "Namespaced" => resource.namespaced,
            "Cluster" => !resource.namespaced,
            _ => true,
        };
        scope
            && any(&self.operations, operation)
            && any(&self.groups, &resource.group)
            && any(&self.versions, version)
            && self.resources.iter().any(|pattern| resource_matches(pattern, &resource.plural, &call.subresource))
    }
}

/// `pods`, `pods/status`, `pods/*`, `*`, `*/status`, `*/*`; a plain `*` means no subresource.
fn resource_matches(pattern: &str, plural: &str, subresource: &str) -> bool {
    let (of, sub) = pattern.split_once('/').unwrap_or((pattern, ""));
    let fits = of == "*" || of == plural;
    fits && (sub == subresource || sub == "*")
}

impl Hook {
    /// The version in which this hook wants to see the object of a write, if it is to be asked.
    pub fn matches(&self, inner: &Inner, call: &Call, review: &Review) -> Option<String> {
        if call.resource.group == "admissionregistration.k8s.io" {
            return None;
        }
        let operation = review.operation.name();
        let fits = |version: &str| self.rules.iter().any(|rule| rule.matches(call, version, operation));
        let own = Some(call.resource.version.clone()).filter(|version| fits(version));
        let other = || {
            let registry = inner.registry();
            let versions = registry.versions(&call.resource.group);
            let kin = |version: &&str| registry.find(&call.resource.group, version, &call.resource.plural).is_some();
            versions.into_iter().filter(kin).find(|version| fits(version)).map(str::to_owned)
        };
        let version = own.or_else(|| if self.exact { None } else { other() })?;
        self.selects(inner, call, review).then_some(version)
    }

    fn selects(&self, inner: &Inner, call: &Call, review: &Review) -> bool {
        let of_new = review
            .object
            .as_ref()
            .and_then(|object| object.get("metadata"))
            .and_then(|metadata| metadata.get("labels"));
        let of_old = review.old.as_ref().and_then(|object| object.value.pointer("/metadata/labels"));
        let selected = |labels: Option<&Value>| self.objects.matches(labels.and_then(Value::as_object));
        let object = self.objects.is_empty()
            || (review.object.is_some() && selected(of_new))
            || (review.old.is_some() && selected(of_old));
        if !object || self.namespaces.is_empty() {
            return object;
        }
        if call.resource.key.as_ref() == "namespaces" {
            let labels = of_new.or(of_old);
            return self.namespaces.matches(labels.and_then(Value::as_object));
        }
        if call.namespace.is_empty() {
            return true;
        }
        let namespace = inner.store.object("namespaces", "", &call.namespace);
        let labels = namespace.as_ref().and_then(|namespace| namespace.value.pointer("/metadata/labels"));
        self.namespaces.matches(labels.and_then(Value::as_object))
    }

    /// Where it is called; none if that would need TLS.
    pub fn url(&self, scheme: WebhookScheme) -> Option<String> {
        let seconds = self.timeout.as_secs();
        match &self.target {
            Target::Url(url) if url.starts_with("http://") => {
                let separator = if url.contains('?') { '&' } else { '?' };
                Some(format!("{url}{separator}timeout={seconds}s"))
            }
            Target::Service(rest) if scheme == WebhookScheme::Http => Some(format!("http{rest}?timeout={seconds}s")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_and_subresources_are_told_apart() {
        for (pattern, subresource, expected) in [
            ("pods", "", true),
            ("pods", "status", false),
            ("pods/status", "status", true),
            ("pods/*", "status", true),
            ("pods/*", "", true),
            ("*", "", true),
            ("*", "status", false),
            ("*/*", "status", true),
            ("*/scale", "status", false),
            ("nodes", "", false),
        ] {
            assert_eq!(resource_matches(pattern, "pods", subresource), expected, "{pattern} {subresource}");
        }
    }
}
