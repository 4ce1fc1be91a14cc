//! What the rules of built-in kinds ask about the rest of the cluster, answered from the store.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::builtin::{Priority, Surroundings};
use crate::error::ApiError;
use crate::resource::Resource;
use crate::server::Inner;

const FIRST_NODE_PORT: i64 = 30_000;
const NODE_PORTS: u64 = 2768;

impl Surroundings for Inner {
    fn priority(&self, class: Option<&str>) -> Option<Priority> {
        const CLASSES: &str = "priorityclasses.scheduling.k8s.io";
        let found = match class {
            Some(name) => self.store.object(CLASSES, "", name)?,
            None => self
                .store
                .objects(CLASSES)
                .find(|class| class.value.get("globalDefault") == Some(&Value::Bool(true)))?,
        };
        let preemption = found.value.get("preemptionPolicy").and_then(Value::as_str).unwrap_or("PreemptLowerPriority");
        Some(Priority {
            class: found.name().to_owned(),
            value: found.value.get("value").and_then(Value::as_i64).unwrap_or(0),
            preemption: preemption.to_owned(),
        })
    }

    fn cluster_ip(&self) -> String {
        let services = self.store.objects("services");
        let used: BTreeSet<String> = services
            .filter_map(|service| Some(service.value.pointer("/spec/clusterIP")?.as_str()?.to_owned()))
            .collect();
        let [first, second] = self.options.service_network;
        loop {
            // Neither the network's own address nor the one of the `kubernetes` service.
            let number = 2 + self.draw(65_000);
            let address = format!("{first}.{second}.{}.{}", number >> 8, number & 255);
            if !used.contains(&address) {
                return address;
            }
        }
    }

    fn node_port(&self) -> i64 {
        let mut used = BTreeSet::new();
        for service in self.store.objects("services") {
            let ports = service.value.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
            used.extend(ports.filter_map(|port| port.get("nodePort")?.as_i64()));
        }
        loop {
            let port = FIRST_NODE_PORT + self.draw(NODE_PORTS) as i64;
            if !used.contains(&port) {
                return port;
            }
        }
    }

    fn default_storage_class(&self) -> Option<String> {
        const MARK: &str = "/metadata/annotations/storageclass.kubernetes.io~1is-default-class";
        let mut classes = self.store.objects("storageclasses.storage.k8s.io");
        let class = classes.find(|class| class.value.pointer(MARK).is_some_and(|mark| mark == "true"))?;
        Some(class.name().to_owned())
    }

    fn now(&self) -> String {
        Inner::now(self)
    }
}

impl Inner {
    /// Nothing is created where there is no namespace, or where one is on its way out.
    pub fn check_namespace(&self, resource: &Resource, namespace: &str, name: &str) -> Result<(), ApiError> {
        if namespace.is_empty() {
            return Ok(());
        }
        let Some(found) = self.store.object("namespaces", "", namespace) else {
            return Err(ApiError::not_found("", "namespaces", namespace));
        };
        if !found.is_deleting() {
            return Ok(());
        }
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        Err(ApiError::forbidden(&resource.group, &resource.plural, name, &why)
            .with_cause(crate::error::Cause::namespace_terminating(namespace)))
    }
}
