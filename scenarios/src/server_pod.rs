//! A server of a scenario, on a pod of its own behind a service.

use serde_json::{Value, json};

use crate::clients::pod::MACHINE;

/// What the manifests of a server say.
pub struct ServerPod {
    /// The namespace, which is the server's alone.
    pub namespace: &'static str,
    /// Name of pod and service.
    pub name: &'static str,
    /// Name of the container.
    pub container: &'static str,
    /// Repository of its image.
    pub repository: &'static str,
    /// The port, and what the service calls it.
    pub port: (u16, &'static str),
}

impl ServerPod {
    /// Its address in the cluster.
    pub fn url(&self) -> String {
        format!("http://{}.{}.svc:{}", self.name, self.namespace, self.port.0)
    }

    /// Namespace, service and pod.
    pub fn manifests(&self) -> Vec<Value> {
        let (labels, (port, port_name)) = (json!({ "app": self.name }), self.port);
        vec![
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.namespace } }),
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": { "name": self.name, "namespace": self.namespace },
                "spec": { "selector": labels, "ports": [{ "name": port_name, "port": port, "targetPort": port }] }
            }),
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": { "name": self.name, "namespace": self.namespace, "labels": labels },
                // On the client's machine: faults leave that its power.
                "spec": { "nodeName": MACHINE, "containers": [{
                    "name": self.container, "image": format!("{}:latest", self.repository),
                    "ports": [{ "containerPort": port }],
                    "readinessProbe": { "tcpSocket": { "port": port } }
                }] }
            }),
        ]
    }
}
