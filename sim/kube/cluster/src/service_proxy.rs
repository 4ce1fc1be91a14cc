//! kube-proxy of a machine, and the cluster's name server: both turn Services and EndpointSlices into what the machines' networks do.
//!
//! The proxy programs at most once a second; until then, and as far as its watches lag, connections go where they went. Backends are the ready endpoints,
//! or, if there is none, those that terminate and still serve. The name server answers `name.namespace`, `.svc` and `.svc.cluster.local` with the
//! service's address, or, for a headless one, with its ready endpoints'.
//! Not here: node ports, session affinity, traffic policies, caching of names by clients.
//! Source: kubernetes pkg/proxy (minSyncPeriod 1 s, endpoint selection in topology.go); CoreDNS's kubernetes plug-in.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_core::{MachineId, world};
use corral_kube_client::{Client, ClientOptions, InformerFactory, Lister, Stop};
use corral_net::Net;
use host::time::Instant;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use tokio::sync::Notify;

/// Between two rounds of programming.
const PROXY_PERIOD: Duration = Duration::from_secs(1);
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const BY_SERVICE: &str = "by-service";

/// What both read.
struct Sources {
    services: Lister<Service>,
    slices: Lister<EndpointSlice>,
    changed: Arc<Notify>,
}

impl Sources {
    async fn begin(server: &str, user_agent: &str) -> Option<Sources> {
        let client = match Client::new(server, ClientOptions::unlimited(user_agent)) {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "the API server's address is none");
                return None;
            }
        };
        let factory = InformerFactory::new(&client, Duration::ZERO);
        let (services, slices) = (factory.informer::<Service>(), factory.informer::<EndpointSlice>());
        slices.add_index(BY_SERVICE, |slice: &EndpointSlice| {
            let labels = slice.metadata.labels.as_ref();
            let name = labels.and_then(|labels| labels.get(SERVICE_LABEL));
            let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
            name.map(|name| format!("{namespace}/{name}")).into_iter().collect()
        });
        let changed = Arc::new(Notify::new());
        let (of_services, of_slices) = (changed.clone(), changed.clone());
        services.add_handler(move |_event| of_services.notify_one());
        slices.add_handler(move |_event| of_slices.notify_one());
        let (services, slices) = (services.lister(), slices.lister());
        factory.start(&Stop::new());
        factory.wait_for_cache_sync().await;
        changed.notify_one();
        Some(Sources { services, slices, changed })
    }

    /// Addresses and ports behind a port of a service, by the port's name.
    fn backends(&self, key: &str, port_name: &str) -> Vec<SocketAddrV4> {
        let mut all = Vec::new();
        for slice in self.slices.by_index(BY_SERVICE, key) {
            let ports = slice.ports.iter().flatten();
            let named = ports.filter(|port| port.name.as_deref().unwrap_or_default() == port_name);
            let numbers: Vec<u16> = named.filter_map(|port| port.port?.try_into().ok()).collect();
            for endpoint in slice.endpoints.iter().flatten() {
                let addresses = endpoint.addresses.iter().filter_map(|text| text.parse::<Ipv4Addr>().ok());
                for address in addresses {
                    let sockets = numbers.iter().map(|port| SocketAddrV4::new(address, *port));
                    all.extend(sockets.map(|socket| (socket, endpoint.clone())));
                }
            }
        }
        chosen(all)
    }

    fn addresses(&self, key: &str) -> Vec<Ipv4Addr> {
        let slices = self.slices.by_index(BY_SERVICE, key);
        let endpoints =
            slices.iter().flat_map(|slice| slice.endpoints.iter().flatten()).filter(|endpoint| is(endpoint, "ready"));
        let mut addresses: Vec<Ipv4Addr> =
            endpoints.flat_map(|endpoint| &endpoint.addresses).filter_map(|text| text.parse().ok()).collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }
}

/// The ready ones; if there are none, those that still serve while they terminate.
fn chosen(all: Vec<(SocketAddrV4, Endpoint)>) -> Vec<SocketAddrV4> {
    let pick = |wanted: &dyn Fn(&Endpoint) -> bool| {
        let mut found: Vec<SocketAddrV4> =
            all.iter().filter(|(_, endpoint)| wanted(endpoint)).map(|(socket, _)| *socket).collect();
        found.sort();
        found.dedup();
        found
    };
    let ready = pick(&|endpoint| is(endpoint, "ready"));
    if ready.is_empty() { pick(&|endpoint| is(endpoint, "serving") && is(endpoint, "terminating")) } else { ready }
}

fn is(endpoint: &Endpoint, what: &str) -> bool {
    let conditions = endpoint.conditions.as_ref();
    match what {
        // Unknown counts as ready, so that slices made by hand work.
        "ready" => conditions.and_then(|conditions| conditions.ready).unwrap_or(true),
        "serving" => conditions.and_then(|conditions| conditions.serving).unwrap_or(true),
        _ => conditions.and_then(|conditions| conditions.terminating).unwrap_or(false),
    }
}

fn cluster_ip(service: &Service) -> Option<Ipv4Addr> {
    service.spec.as_ref()?.cluster_ip.as_deref()?.parse().ok()
}

type Rules = BTreeMap<(Ipv4Addr, u16), Vec<SocketAddrV4>>;

/// What a machine's kernel has been programmed with: it outlives the proxy, and not the machine's power.
#[derive(Debug, Default)]
pub(crate) struct ServiceTable {
    rules: Mutex<Rules>,
}

impl ServiceTable {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything: the machine has lost its power.
    pub fn clear(&self, net: &Arc<Net>, machine: MachineId) {
        for ((address, port), _) in std::mem::take(&mut *self.rules()) {
            net.remove_service(machine, address, port);
        }
    }

    fn program(&self, net: &Arc<Net>, machine: MachineId, wanted: Rules) {
        let mut rules = self.rules();
        for (address, port) in rules.keys().filter(|rule| !wanted.contains_key(rule)) {
            net.remove_service(machine, *address, *port);
        }
        for ((address, port), backends) in &wanted {
            if rules.get(&(*address, *port)) != Some(backends) {
                net.set_service(machine, *address, *port, backends.clone());
            }
        }
        *rules = wanted;
    }
}

/// The main of a kube-proxy's process.
pub(crate) async fn proxy_main(server: String, machine: MachineId, table: Arc<ServiceTable>) -> i32 {
    let Some(sources) = Sources::begin(&server, "kube-proxy").await else { return 1 };
    let net = Net::of(&world());
    let mut last: Option<Instant> = None;
    loop {
        sources.changed.notified().await;
        if let Some(last) = last {
            host::time::sleep_until(last + PROXY_PERIOD).await;
        }
        last = Some(Instant::now());
        table.program(&net, machine, rules(&sources));
    }
}

fn rules(sources: &Sources) -> Rules {
    let mut rules = Rules::new();
    for service in sources.services.list() {
        let Some(address) = cluster_ip(&service) else { continue };
        let key = corral_kube_client::object_key(&service.metadata);
        for port in service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()) {
            let Ok(number) = u16::try_from(port.port) else { continue };
            let backends = sources.backends(&key, port.name.as_deref().unwrap_or_default());
            rules.insert((address, number), backends);
        }
    }
    rules
}

/// The main of the name server's process.
pub(crate) async fn names_main(server: String) -> i32 {
    let Some(sources) = Sources::begin(&server, "coredns").await else { return 1 };
    let net = Net::of(&world());
    let mut told: BTreeMap<String, Vec<Ipv4Addr>> = BTreeMap::new();
    loop {
        sources.changed.notified().await;
        let mut wanted = BTreeMap::new();
        for service in sources.services.list() {
            let key = corral_kube_client::object_key(&service.metadata);
            let addresses = cluster_ip(&service).map_or_else(|| sources.addresses(&key), |address| vec![address]);
            let name = service.metadata.name.as_deref().unwrap_or_default();
            let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
            for suffix in ["", ".svc", ".svc.cluster.local"] {
                wanted.insert(format!("{name}.{namespace}{suffix}"), addresses.clone());
            }
        }
        for name in told.keys().filter(|name| !wanted.contains_key(*name)) {
            net.remove_name(name);
        }
        for (name, addresses) in &wanted {
            if told.get(name) != Some(addresses) {
                net.set_name(name, addresses.clone());
            }
        }
        told = wanted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::discovery::v1::EndpointConditions;

    fn endpoint(ready: bool, serving: bool, terminating: bool) -> Endpoint {
        let conditions =
            EndpointConditions { ready: Some(ready), serving: Some(serving), terminating: Some(terminating) };
        Endpoint { conditions: Some(conditions), ..Endpoint::default() }
    }

    #[test]
    fn terminating_endpoints_serve_only_when_nothing_else_does() {
        let socket = |host| SocketAddrV4::new(Ipv4Addr::new(10, 42, 1, host), 80);
        let ready = (socket(2), endpoint(true, true, false));
        let leaving = (socket(3), endpoint(false, true, true));
        let broken = (socket(4), endpoint(false, false, false));
        assert_eq!(chosen(vec![ready, leaving.clone(), broken.clone()]), [socket(2)]);
        assert_eq!(chosen(vec![leaving, broken.clone()]), [socket(3)]);
        assert_eq!(chosen(vec![broken]), []);
    }
}
