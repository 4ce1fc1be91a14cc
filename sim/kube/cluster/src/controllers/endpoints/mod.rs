//! Who serves a Service: Endpoints for those who still read them, EndpointSlices for everybody else.
//!
//! Both follow the pods that the Service's selector chooses. A pod counts from when it has an address; it is ready as its Ready condition says, or always
//! if the Service publishes addresses that are not ready. A pod that is being deleted is no longer in Endpoints, and terminating in the slices.
//! In the real kube-controller-manager these are two controllers with five workers each; here they share a queue and so see the same state.
//! Not here: slices beyond 100 endpoints' packing, topology hints, mirroring of Endpoints without a selector.
//! Source: kubernetes pkg/controller/endpoint, pkg/controller/endpointslice, endpointslice/utils.go.

mod objects;

use std::collections::BTreeMap;
use std::sync::Arc;

use corral_kube_client::params::DeleteParams;
use corral_kube_client::{Api, Client, Error, Event, Lister, WorkQueue, object_key, split_key};
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use self::objects::{MANAGED_BY_LABEL, MANAGER, SERVICE_LABEL, endpoints_of, slices_of};
use super::{Context, start_workers};

const WORKERS: usize = 5;
const BY_SERVICE: &str = "by-service";

struct Controller {
    client: Client,
    slice_client: Client,
    services: Lister<Service>,
    pods: Lister<Pod>,
    endpoints: Lister<Endpoints>,
    slices: Lister<EndpointSlice>,
    queue: WorkQueue<String>,
}

/// Begins the controller.
pub(crate) fn start(context: &Context) -> Result<(), Error> {
    let informers = &context.informers;
    let (services, pods) = (informers.informer::<Service>(), informers.informer::<Pod>());
    let (endpoints, slices) = (informers.informer::<Endpoints>(), informers.informer::<EndpointSlice>());
    slices.add_index(BY_SERVICE, |slice: &EndpointSlice| service_key(slice).into_iter().collect());
    let controller = Arc::new(Controller {
        client: context.client("endpoint-controller")?,
        slice_client: context.client("endpointslice-controller")?,
        services: services.lister(),
        pods: pods.lister(),
        endpoints: endpoints.lister(),
        slices: slices.lister(),
        queue: WorkQueue::default(),
    });
    let queue = controller.queue.clone();
    services.add_handler(move |event| queue.add(object_key(&event.object().metadata)));
    let this = controller.clone();
    pods.add_handler(move |event| this.pod_changed(&event));
    let queue = controller.queue.clone();
    endpoints.add_handler(move |event| {
        // Somebody deleted them: they are made again.
        if let Event::Deleted { object, .. } = event {
            queue.add(object_key(&object.metadata));
        }
    });
    let queue = controller.queue.clone();
    slices.add_handler(move |event| {
        if let Event::Deleted { object, .. } = &event
            && let Some(key) = service_key(object)
        {
            queue.add(key);
        }
    });
    let (informers, stop) = (context.informers.clone(), context.stop.clone());
    host::spawn(async move {
        informers.wait_for_cache_sync().await;
        let queue = controller.queue.clone();
        start_workers("endpoint-controller", WORKERS, &queue, move |key| {
            let controller = controller.clone();
            async move { controller.sync(&key).await }
        });
        stop.stopped().await;
        queue.shut_down();
    });
    Ok(())
}

/// The Service of a slice that this controller manages.
fn service_key(slice: &EndpointSlice) -> Option<String> {
    let labels = slice.metadata.labels.as_ref()?;
    if labels.get(MANAGED_BY_LABEL).map(String::as_str) != Some(MANAGER) {
        return None;
    }
    Some(format!("{}/{}", slice.metadata.namespace.as_deref()?, labels.get(SERVICE_LABEL)?))
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let selector =
        service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).filter(|selector| !selector.is_empty());
    let labels = pod.metadata.labels.as_ref();
    let has = |(key, value): (&String, &String)| labels.and_then(|labels| labels.get(key)) == Some(value);
    service.metadata.namespace == pod.metadata.namespace && selector.is_some_and(|selector| selector.iter().all(has))
}

impl Controller {
    fn pod_changed(&self, event: &Event<Pod>) {
        let states: Vec<&Pod> = match event {
            Event::Updated { old, new } if !objects::matters(old, new) => return,
            Event::Updated { old, new } => vec![&**old, &**new],
            Event::Added { object, .. } | Event::Deleted { object, .. } => vec![&**object],
        };
        let namespace = event.object().metadata.namespace.as_deref().unwrap_or_default();
        for service in self.services.namespaced(namespace).list() {
            if states.iter().any(|pod| selects(&service, pod)) {
                self.queue.add(object_key(&service.metadata));
            }
        }
    }

    async fn sync(&self, key: &str) -> Result<(), Error> {
        let (namespace, name) = split_key(key);
        let namespace = namespace.unwrap_or_default();
        let Some(service) = self.services.get(key) else {
            // The slices go with their owner, through the garbage collector; Endpoints have none.
            return delete(&Api::<Endpoints>::namespaced(&self.client, namespace), name).await;
        };
        let has_selector =
            service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_some_and(|it| !it.is_empty());
        if !has_selector || service.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let mut pods = self.pods.namespaced(namespace).list();
        pods.retain(|pod| selects(&service, pod));
        pods.sort_by_key(|pod| pod.metadata.name.clone());
        let endpoints = self.sync_endpoints(key, &service, &pods).await;
        let slices = self.sync_slices(key, &service, &pods).await;
        endpoints.and(slices)
    }

    async fn sync_endpoints(&self, key: &str, service: &Service, pods: &[Arc<Pod>]) -> Result<(), Error> {
        let api: Api<Endpoints> =
            Api::namespaced(&self.client, service.metadata.namespace.as_deref().unwrap_or_default());
        let wanted = endpoints_of(service, pods);
        let Some(known) = self.endpoints.get(key) else {
            return api.create(&wanted).await.map(|_created| ());
        };
        if known.subsets == wanted.subsets && known.metadata.labels == wanted.metadata.labels {
            return Ok(());
        }
        let mut updated = Endpoints::clone(&known);
        updated.subsets = wanted.subsets;
        updated.metadata.labels = wanted.metadata.labels;
        updated.metadata.annotations = wanted.metadata.annotations;
        api.update(&updated).await.map(|_updated| ())
    }

    async fn sync_slices(&self, key: &str, service: &Service, pods: &[Arc<Pod>]) -> Result<(), Error> {
        let api: Api<EndpointSlice> =
            Api::namespaced(&self.slice_client, service.metadata.namespace.as_deref().unwrap_or_default());
        let mut known: BTreeMap<String, Arc<EndpointSlice>> = BTreeMap::new();
        for slice in self.slices.by_index(BY_SERVICE, key) {
            known.insert(slice.metadata.name.clone().unwrap_or_default(), slice);
        }
        let mut known = known.into_values();
        for wanted in slices_of(service, pods) {
            match known.next() {
                None => drop(api.create(&wanted).await?),
                Some(known) if same(&known, &wanted) => {}
                Some(known) => {
                    let mut updated = EndpointSlice::clone(&known);
                    updated.endpoints = wanted.endpoints;
                    updated.ports = wanted.ports;
                    updated.metadata.labels = wanted.metadata.labels;
                    updated.metadata.annotations = wanted.metadata.annotations;
                    api.update(&updated).await?;
                }
            }
        }
        for surplus in known {
            delete(&api, surplus.metadata.name.as_deref().unwrap_or_default()).await?;
        }
        Ok(())
    }
}

fn same(known: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    known.endpoints == wanted.endpoints
        && known.ports == wanted.ports
        && known.metadata.labels == wanted.metadata.labels
}

async fn delete<K: corral_kube_client::Object>(api: &Api<K>, name: &str) -> Result<(), Error> {
    match api.delete(name, &DeleteParams::default()).await {
        Err(error) if !error.is_not_found() => Err(error),
        _deleted_or_gone => Ok(()),
    }
}
