//! Pods as a fault's targets.

use std::collections::BTreeMap;

use corral_cluster::cluster::CONTROL_PLANE_ADDRESS;
use corral_core::{Attachments, MachineState, ProcessSpec};
use corral_kube_client::{Api, Client, ClientOptions, DeleteParams};
use k8s_openapi::api::core::v1::Pod as PodObject;

use crate::stage::Stage;

/// A pod that a fault strikes.
pub struct Pod {
    namespace: String,
    name: String,
    machine: String,
    containers: Vec<String>,
}

/// The pods of a namespace whose name begins so, on one machine or on all.
pub fn of(stage: &Stage, namespace: &str, prefix: &str, machine: &str) -> Vec<Pod> {
    let on_machine = |object: &serde_json::Value| machine.is_empty() || object["spec"]["nodeName"] == machine;
    let pods = stage.cluster().store().objects("pods");
    pods.filter(|pod| pod.namespace() == namespace && pod.name().starts_with(prefix) && on_machine(&pod.value))
        .map(|pod| Pod {
            namespace: namespace.to_owned(),
            name: pod.name().to_owned(),
            machine: pod.value["spec"]["nodeName"].as_str().unwrap_or_default().to_owned(),
            containers: pod.value["spec"]["containers"]
                .as_array()
                .map(|list| list.iter().filter_map(|container| container["name"].as_str()).map(str::to_owned).collect())
                .unwrap_or_default(),
        })
        .collect()
}

impl Pod {
    /// Whether a process of it runs, on a machine whose kernel does.
    pub fn runs(&self, stage: &Stage) -> bool {
        let machine = stage.world().machine_named(&self.machine);
        let process = |name: &String| stage.cluster().container_process(&self.namespace, &self.name, name);
        machine.is_some_and(|machine| machine.state() == MachineState::Running)
            && self.containers.iter().any(|container| process(container).is_some())
    }

    /// Kills the processes of its containers.
    pub fn kill(&self, stage: &Stage) {
        for container in &self.containers {
            stage.cluster().kill_container(&self.namespace, &self.name, container);
        }
    }
}

/// Deletes pods through the API, as a client of its own.
pub fn delete(stage: &Stage, pods: &[Pod], forced: bool) {
    let world = stage.world();
    let spec = ProcessSpec {
        name: "chaos".into(),
        machine: stage.cluster().control_plane_machine().id,
        address: CONTROL_PLANE_ADDRESS,
        hostname: "chaos".into(),
        arguments: vec!["chaos".into()],
        environment: BTreeMap::new(),
        attachments: Attachments::default(),
    };
    let server = stage.cluster().api_address();
    let targets: Vec<(String, String)> = pods.iter().map(|pod| (pod.namespace.clone(), pod.name.clone())).collect();
    world.spawn_process(
        spec,
        Box::pin(async move {
            let Ok(client) = Client::new(&server, ClientOptions::unlimited("chaos")) else { return 1 };
            let mut params = DeleteParams::default();
            if forced {
                params.grace_period_seconds = Some(0);
            }
            for (namespace, name) in targets {
                // A pod that is gone by now is what was wanted.
                let _ = Api::<PodObject>::namespaced(&client, &namespace).delete(&name, &params).await;
            }
            0
        }),
    );
}
