//! Endpoints and EndpointSlices of a Service and its pods. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort as CorePort, EndpointSubset, Endpoints, ObjectReference, Pod, Service, ServicePort,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::controllers::pods::{controller_reference, is_finished, is_ready, node_name};

pub(super) const SERVICE_LABEL: &str = "kubernetes.io/service-name";
pub(super) const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
/// Endpoints in one slice.
const SLICE_SIZE: usize = 100;

/// Whether a change of a pod can change what is said of it here.
pub(super) fn matters(old: &Pod, new: &Pod) -> bool {
    let said = |pod: &Pod| {
        let deleting = pod.metadata.deletion_timestamp.is_some();
        (
            pod.metadata.labels.clone(),
            address(pod),
            is_ready(pod),
            is_finished(pod),
            deleting,
            node_name(pod).to_owned(),
        )
    };
    said(old) != said(new)
}

fn address(pod: &Pod) -> Option<String> {
    pod.status.as_ref()?.pod_ip.clone().filter(|address| !address.is_empty())
}

fn publishes_all(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.publish_not_ready_addresses == Some(true))
}

fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

fn ports(service: &Service) -> &[ServicePort] {
    service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default()
}

/// The number of a service's port on this pod: its own, or that of the container's port of that name.
fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match port.target_port.as_ref() {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut named = containers.flat_map(|container| container.ports.iter().flatten());
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let found = named.find(|candidate| {
                candidate.name.as_deref() == Some(name) && candidate.protocol.as_deref().unwrap_or("TCP") == protocol
            });
            found.map(|found| found.container_port)
        }
    }
}

fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The Endpoints of a service.
pub(super) fn endpoints_of(service: &Service, pods: &[Arc<Pod>]) -> Endpoints {
    // Pods whose ports have the same numbers share a subset.
    let mut subsets: BTreeMap<Vec<(Option<String>, i32, String)>, EndpointSubset> = BTreeMap::new();
    let publishes_all = publishes_all(service);
    for pod in pods {
        let Some(ip) = address(pod) else { continue };
        if is_finished(pod) || (pod.metadata.deletion_timestamp.is_some() && !publishes_all) {
            continue;
        }
        let ports: Vec<(Option<String>, i32, String)> = ports(service)
            .iter()
            .filter_map(|port| {
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
                Some((port.name.clone(), target_port(pod, port)?, protocol))
            })
            .collect();
        if ports.is_empty() && !is_headless(service) {
            continue;
        }
        let subset = subsets.entry(ports).or_default();
        let address = EndpointAddress {
            ip,
            node_name: Some(node_name(pod).to_owned()),
            target_ref: Some(reference(pod)),
            hostname: None,
        };
        let ready = publishes_all || is_ready(pod);
        if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses }
            .get_or_insert_default()
            .push(address);
    }
    let subsets: Vec<EndpointSubset> = subsets.into_iter().map(|(ports, subset)| with_ports(subset, ports)).collect();
    Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels_of_endpoints(service)),
            ..ObjectMeta::default()
        },
        subsets: (!subsets.is_empty()).then_some(subsets),
    }
}

fn with_ports(mut subset: EndpointSubset, ports: Vec<(Option<String>, i32, String)>) -> EndpointSubset {
    for addresses in [&mut subset.addresses, &mut subset.not_ready_addresses].into_iter().flatten() {
        addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
    }
    let port = |(name, port, protocol)| CorePort { name, port, protocol: Some(protocol), app_protocol: None };
    let ports: Vec<CorePort> = ports.into_iter().map(port).collect();
    subset.ports = (!ports.is_empty()).then_some(ports);
    subset
}

fn labels_of_endpoints(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert("endpoints.kubernetes.io/managed-by".to_owned(), "endpoint-controller".to_owned());
    if is_headless(service) {
        labels.insert(HEADLESS_LABEL.to_owned(), String::new());
    }
    labels
}

/// The EndpointSlices of a service; one without endpoints if it has none.
pub(super) fn slices_of(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSlice> {
    let mut by_ports: BTreeMap<Vec<Option<i32>>, Vec<Endpoint>> = BTreeMap::new();
    for pod in pods {
        let Some(ip) = address(pod).filter(|_| !is_finished(pod)) else { continue };
        let numbers = ports(service).iter().map(|port| target_port(pod, port)).collect();
        by_ports.entry(numbers).or_default().push(endpoint(service, pod, ip));
    }
    if by_ports.is_empty() {
        let numbers = ports(service).iter().map(|port| match port.target_port {
            Some(IntOrString::Int(number)) if number != 0 => Some(number),
            Some(IntOrString::String(_)) => None,
            _ => Some(port.port),
        });
        by_ports.insert(numbers.collect(), Vec::new());
    }
    let mut slices = Vec::new();
    for (numbers, endpoints) in by_ports {
        let chunks: Vec<Vec<Endpoint>> = match endpoints.is_empty() {
            true => vec![Vec::new()],
            false => endpoints.chunks(SLICE_SIZE).map(<[Endpoint]>::to_vec).collect(),
        };
        slices.extend(chunks.into_iter().map(|endpoints| slice(service, &numbers, endpoints)));
    }
    slices
}

fn endpoint(service: &Service, pod: &Pod, address: String) -> Endpoint {
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let serving = is_ready(pod);
    Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(publishes_all(service) || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        node_name: Some(node_name(pod).to_owned()),
        target_ref: Some(reference(pod)),
        ..Endpoint::default()
    }
}

fn slice(service: &Service, numbers: &[Option<i32>], endpoints: Vec<Endpoint>) -> EndpointSlice {
    let name = service.metadata.name.clone().unwrap_or_default();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_LABEL.to_owned(), name.clone());
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned());
    if is_headless(service) {
        labels.insert(HEADLESS_LABEL.to_owned(), String::new());
    }
    let port = |(port, number): (&ServicePort, &Option<i32>)| EndpointPort {
        // The server stores an unnamed port with an empty name.
        name: Some(port.name.clone().unwrap_or_default()),
        port: *number,
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    };
    EndpointSlice {
        address_type: "IPv4".to_owned(),
        endpoints: Some(endpoints),
        ports: Some(ports(service).iter().zip(numbers).filter(|(_, number)| number.is_some()).map(port).collect()),
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference("v1", "Service", &service.metadata)]),
            ..ObjectMeta::default()
        },
    }
}
