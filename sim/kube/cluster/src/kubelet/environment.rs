//! The environment of a container: literal values, fields of its pod, keys of ConfigMaps and Secrets, and `$(NAME)` in all of them.
//!
//! Source: kubernetes pkg/kubelet/kubelet_pods.go (makeEnvironmentVariables, podFieldSelectorRuntimeValue), third_party/forked/golang/expansion.
//! Not here: resourceFieldRef, fileKeyRef, and the service links but for the API server's own.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use corral_kube_client::{Api, Client, Error};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvFromSource, EnvVar, EnvVarSource, Pod, Secret};

/// What a container's environment is made from.
pub(crate) struct Environment<'a> {
    pub client: &'a Client,
    pub pod: &'a Pod,
    pub pod_address: Ipv4Addr,
    pub host_address: Ipv4Addr,
    /// Where pods find the API server.
    pub api_service: (Ipv4Addr, u16),
}

/// A reference that leads nowhere: CreateContainerConfigError.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfigError(pub String);

impl ConfigError {
    fn of_request(error: &Error) -> ConfigError {
        ConfigError(error.to_string())
    }
}

impl Environment<'_> {
    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// All variables of a container.
    pub async fn variables(&self, container: &Container) -> Result<BTreeMap<String, String>, ConfigError> {
        let (service_address, service_port) = self.api_service;
        let mut variables = BTreeMap::from([
            ("HOSTNAME".to_owned(), self.pod.metadata.name.clone().unwrap_or_default()),
            ("KUBERNETES_SERVICE_HOST".to_owned(), service_address.to_string()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), service_port.to_string()),
            ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), service_port.to_string()),
        ]);
        for source in container.env_from.iter().flatten() {
            self.add_all_of(source, &mut variables).await?;
        }
        for variable in container.env.iter().flatten() {
            if let Some(value) = self.value(variable, &variables).await? {
                variables.insert(variable.name.clone(), value);
            }
        }
        Ok(variables)
    }

    async fn add_all_of(
        &self,
        source: &EnvFromSource,
        variables: &mut BTreeMap<String, String>,
    ) -> Result<(), ConfigError> {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let mut found = BTreeMap::new();
        if let Some(reference) = &source.config_map_ref {
            found = self.config_map(&reference.name, reference.optional).await?.unwrap_or_default();
        }
        if let Some(reference) = &source.secret_ref {
            found = self.secret(&reference.name, reference.optional).await?.unwrap_or_default();
        }
        variables.extend(found.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)));
        Ok(())
    }

    async fn value(&self, variable: &EnvVar, known: &BTreeMap<String, String>) -> Result<Option<String>, ConfigError> {
        match &variable.value_from {
            Some(source) => self.value_from(source).await,
            None => Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), known))),
        }
    }

    async fn value_from(&self, source: &EnvVarSource) -> Result<Option<String>, ConfigError> {
        if let Some(field) = &source.field_ref {
            return self.field(&field.field_path).map(Some);
        }
        if let Some(key) = &source.config_map_key_ref {
            let map = self.config_map(&key.name, key.optional).await?;
            return self.key_of("ConfigMap", map, &key.name, &key.key, key.optional);
        }
        if let Some(key) = &source.secret_key_ref {
            let secret = self.secret(&key.name, key.optional).await?;
            return self.key_of("Secret", secret, &key.name, &key.key, key.optional);
        }
        Err(ConfigError("a variable's source is of a kind that this kubelet does not know".into()))
    }

    fn key_of(
        &self,
        kind: &str,
        data: Option<BTreeMap<String, String>>,
        name: &str,
        key: &str,
        optional: Option<bool>,
    ) -> Result<Option<String>, ConfigError> {
        match data.and_then(|mut data| data.remove(key)) {
            None if optional != Some(true) => {
                Err(ConfigError(format!("couldn't find key {key} in {kind} {}/{name}", self.namespace())))
            }
            found => Ok(found),
        }
    }

    async fn config_map(
        &self,
        name: &str,
        optional: Option<bool>,
    ) -> Result<Option<BTreeMap<String, String>>, ConfigError> {
        config_map_data(self.client, self.namespace(), name, optional == Some(true)).await
    }

    async fn secret(
        &self,
        name: &str,
        optional: Option<bool>,
    ) -> Result<Option<BTreeMap<String, String>>, ConfigError> {
        let data = secret_data(self.client, self.namespace(), name, optional == Some(true)).await?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(data.map(|data| data.into_iter().map(|(key, value)| (key, text(value))).collect()))
    }

    fn field(&self, path: &str) -> Result<String, ConfigError> {
        let metadata = &self.pod.metadata;
        let spec = self.pod.spec.as_ref();
        let text = |text: Option<&String>| text.cloned().unwrap_or_default();
        Ok(match path {
            "metadata.name" => text(metadata.name.as_ref()),
            "metadata.namespace" => text(metadata.namespace.as_ref()),
            "metadata.uid" => text(metadata.uid.as_ref()),
            "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
            "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
            "status.podIP" | "status.podIPs" => self.pod_address.to_string(),
            "status.hostIP" | "status.hostIPs" => self.host_address.to_string(),
            _ => match subscript(path) {
                Some(("metadata.labels", key)) => text(metadata.labels.as_ref().and_then(|labels| labels.get(key))),
                Some(("metadata.annotations", key)) => {
                    text(metadata.annotations.as_ref().and_then(|annotations| annotations.get(key)))
                }
                _ => return Err(ConfigError(format!("unsupported fieldPath: {path}"))),
            },
        })
    }
}

/// A ConfigMap's text; none if it is absent and may be.
pub(crate) async fn config_map_data(
    client: &Client,
    namespace: &str,
    name: &str,
    optional: bool,
) -> Result<Option<BTreeMap<String, String>>, ConfigError> {
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    match api.get_opt(name).await {
        Ok(Some(found)) => Ok(Some(found.data.unwrap_or_default())),
        Ok(None) if optional => Ok(None),
        Ok(None) => Err(ConfigError(format!("configmap {name:?} not found"))),
        Err(error) => Err(ConfigError::of_request(&error)),
    }
}

/// A Secret's content; none if it is absent and may be.
pub(crate) async fn secret_data(
    client: &Client,
    namespace: &str,
    name: &str,
    optional: bool,
) -> Result<Option<BTreeMap<String, Vec<u8>>>, ConfigError> {
    let api: Api<Secret> = Api::namespaced(client, namespace);
    match api.get_opt(name).await {
        Ok(Some(found)) => {
            Ok(Some(found.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()))
        }
        Ok(None) if optional => Ok(None),
        Ok(None) => Err(ConfigError(format!("secret {name:?} not found"))),
        Err(error) => Err(ConfigError::of_request(&error)),
    }
}

/// `metadata.labels['key']` in its parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// Replaces `$(NAME)` by what is known of that name; what is unknown stays, and `$$` is a dollar sign.
pub(crate) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        match rest.strip_prefix('(').and_then(|after| after.split_once(')')) {
            Some((name, after)) => {
                match variables.get(name) {
                    Some(value) => expanded.push_str(value),
                    None => expanded.extend(["$(", name, ")"]),
                }
                rest = after;
            }
            None => expanded.push('$'),
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_expanded_once_and_unknown_ones_stay() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())]);
        let cases =
            [("x$(A)y", "x1y"), ("$(B)", "$(A)"), ("$(C)", "$(C)"), ("$$(A)", "$(A)"), ("$", "$"), ("$(A", "$(A")];
        for (text, expected) in cases {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }

    #[test]
    fn subscripts_are_read() {
        assert_eq!(subscript("metadata.labels['a/b']"), Some(("metadata.labels", "a/b")));
        assert_eq!(subscript("metadata.labels"), None);
    }
}
