//! The namespace controller: empties a namespace that is being deleted, and then lets it go.
//!
//! It waits 5 s after each change of the namespace, so that no deletion takes less. Then it deletes the collections of every namespaced
//! resource, looks what is left, writes that into the namespace's conditions, and, if nothing is, removes the finalizer `kubernetes` through
//! `/finalize`. While pods take their grace it comes back after half the longest grace; other remains are looked at again with back-off.
//! Source: kubernetes pkg/controller/namespace (namespace_controller.go, deletion/namespaced_resources_deleter.go, status_condition_utils.go).

use std::collections::BTreeMap;
use std::time::Duration;

use corral_kube_client::{
    Api, Client, ClientOptions, DeleteParams, Error, InformerOptions, ListParams, MetadataObject, SharedInformer, Stop,
    WorkQueue, object_key, reads,
};
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::discovery::{ApiResourceInfo, Discovery};

/// The finalizer in a namespace's spec that this controller owns.
pub const NAMESPACE_FINALIZER: &str = "kubernetes";

/// How the controller works. The defaults are kube-controller-manager's.
#[derive(Clone, Debug)]
pub struct NamespaceControllerOptions {
    /// Time between a change of a namespace and the work on it.
    pub deletion_delay: Duration,
    /// How many namespaces are worked on at once.
    pub workers: usize,
    /// Time between two looks at a namespace that has not changed.
    pub resync_period: Duration,
}

impl Default for NamespaceControllerOptions {
    fn default() -> NamespaceControllerOptions {
        NamespaceControllerOptions {
            deletion_delay: Duration::from_secs(5),
            workers: 10,
            resync_period: Duration::from_secs(300),
        }
    }
}

/// What is left in a namespace.
#[derive(Debug, Default, PartialEq, Eq)]
struct Remains {
    /// Objects left, by resource.
    resources: BTreeMap<String, usize>,
    /// Objects that wait for a finalizer, by finalizer.
    finalizers: BTreeMap<String, usize>,
    /// Seconds that the slowest pod may still take.
    estimate_seconds: i64,
    /// What could not be deleted or listed.
    failures: Vec<String>,
}

/// Why a namespace was not finished.
enum Unfinished {
    /// Something is left in it.
    Remains {
        /// When it should be gone.
        estimate_seconds: i64,
    },
    /// A request failed.
    Failed(Error),
}

impl From<Error> for Unfinished {
    fn from(error: Error) -> Unfinished {
        Unfinished::Failed(error)
    }
}

struct Controller {
    client: Client,
    namespaces: SharedInformer<Namespace>,
    queue: WorkQueue<String>,
}

/// Runs the controller against a server until told to stop.
///
/// # Errors
/// The server's address is none.
pub async fn run(server: &str, options: NamespaceControllerOptions, stop: Stop) -> Result<(), Error> {
    // "Very chatty": the flag's 20 a second times 20, its burst of 30 times 100. Source: cmd/kube-controller-manager/app/core.go.
    let client =
        Client::new(server, ClientOptions::limited("kube-controller-manager/namespace-controller", 400.0, 3000))?;
    let namespaces: SharedInformer<Namespace> =
        SharedInformer::new(Api::all(&client), InformerOptions::resync(options.resync_period));
    let queue = WorkQueue::default();
    let (handler_queue, delay) = (queue.clone(), options.deletion_delay);
    namespaces.add_handler(move |event| {
        let namespace = event.object();
        if namespace.metadata.deletion_timestamp.is_some() && !is_finalized(namespace) {
            handler_queue.add_after(object_key(&namespace.metadata), delay);
        }
    });
    namespaces.start(&stop);
    let controller = std::sync::Arc::new(Controller { client, namespaces, queue: queue.clone() });
    for _ in 0..options.workers {
        let controller = controller.clone();
        host::spawn(async move { controller.work().await });
    }
    stop.stopped().await;
    queue.shut_down();
    Ok(())
}

impl Controller {
    async fn work(&self) {
        while let Some(name) = self.queue.get().await {
            let within = format!("namespace-controller {name}");
            match reads::scope(within, self.sync(&name)).await {
                Ok(()) => self.queue.forget(&name),
                Err(Unfinished::Remains { estimate_seconds }) => {
                    let wait = Duration::from_secs(estimate_seconds.max(0) as u64 / 2 + 1);
                    self.queue.add_after(name.clone(), wait);
                }
                Err(Unfinished::Failed(error)) => {
                    tracing::warn!(%error, name, "cannot empty a namespace");
                    self.queue.add_rate_limited(name.clone());
                }
            }
            self.queue.done(&name);
        }
    }

    async fn sync(&self, name: &str) -> Result<(), Unfinished> {
        // The cache only says that there is something to do; what is there is asked of the server.
        if self.namespaces.lister().get(name).is_none() {
            return Ok(());
        }
        let api: Api<Namespace> = Api::all(&self.client);
        let Some(namespace) = api.get_opt(name).await? else { return Ok(()) };
        if namespace.metadata.deletion_timestamp.is_none() {
            return Ok(());
        }
        let namespace = self.mark_terminating(&api, namespace).await?;
        if is_finalized(&namespace) {
            return Ok(());
        }
        let remains = self.empty(&namespace).await?;
        let namespace = report(&api, namespace, &remains).await?;
        if let Some(failure) = remains.failures.first() {
            tracing::warn!(failure, name, "cannot delete all of a namespace");
        }
        if remains.estimate_seconds > 0 || !remains.resources.is_empty() || !remains.failures.is_empty() {
            return Err(Unfinished::Remains { estimate_seconds: remains.estimate_seconds });
        }
        finalize(&api, namespace).await?;
        Ok(())
    }

    async fn mark_terminating(&self, api: &Api<Namespace>, mut namespace: Namespace) -> Result<Namespace, Error> {
        let status = namespace.status.get_or_insert_default();
        if status.phase.as_deref() == Some("Terminating") {
            return Ok(namespace);
        }
        status.phase = Some("Terminating".to_owned());
        api.update_status(&namespace).await
    }

    /// Deletes everything in the namespace and says what is still there.
    async fn empty(&self, namespace: &Namespace) -> Result<Remains, Error> {
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        let discovery = Discovery::fetch(&self.client).await?;
        let mut remains = Remains::default();
        for resource in discovery.preferred(&["delete"]).filter(|resource| resource.namespaced) {
            if let Err(error) = self.empty_resource(name, resource, &mut remains).await {
                remains.failures.push(format!("{}: {error}", resource.descriptor.plural));
            }
        }
        Ok(remains)
    }

    async fn empty_resource(
        &self,
        namespace: &str,
        resource: &ApiResourceInfo,
        remains: &mut Remains,
    ) -> Result<(), Error> {
        let api: Api<MetadataObject> = Api::namespaced_of(&self.client, namespace, &resource.descriptor);
        let background = DeleteParams::background();
        if resource.supports(&["deletecollection"]) {
            api.delete_collection(&background, &ListParams::default()).await?;
        } else if resource.supports(&["list"]) {
            for object in api.list(&ListParams::default()).await?.items {
                let name = object.metadata.name.as_deref().unwrap_or_default();
                match api.delete(name, &background).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _deleted_or_gone => {}
                }
            }
        }
        if !resource.supports(&["list"]) {
            return Ok(());
        }
        let left = api.list(&ListParams::default()).await?.items;
        remains.count(resource, &left);
        Ok(())
    }
}

impl Remains {
    fn count(&mut self, resource: &ApiResourceInfo, left: &[MetadataObject]) {
        if left.is_empty() {
            return;
        }
        let descriptor = &resource.descriptor;
        let name = if descriptor.group.is_empty() {
            format!("{}.", descriptor.plural)
        } else {
            format!("{}.{}", descriptor.plural, descriptor.group)
        };
        self.resources.insert(name, left.len());
        for object in left {
            for finalizer in object.metadata.finalizers.iter().flatten() {
                *self.finalizers.entry(finalizer.clone()).or_default() += 1;
            }
        }
        if descriptor.group.is_empty() && &*descriptor.plural == "pods" {
            let graces = left.iter().filter_map(|pod| pod.metadata.deletion_grace_period_seconds);
            self.estimate_seconds = self.estimate_seconds.max(graces.max().unwrap_or(0));
        }
    }

    fn conditions(&self) -> [(&'static str, bool, &'static str, String); 3] {
        let (failed, content, finalizers) =
            (!self.failures.is_empty(), !self.resources.is_empty(), !self.finalizers.is_empty());
        [
            if failed {
                let failures = self.failures.join(", ");
                (
                    "NamespaceDeletionContentFailure",
                    true,
                    "ContentDeletionFailed",
                    format!("Failed to delete all resource types, {} remaining: {failures}", self.failures.len()),
                )
            } else {
                let done = "All content successfully deleted, may be waiting on finalization";
                ("NamespaceDeletionContentFailure", false, "ContentDeleted", done.to_owned())
            },
            if content {
                let some = counted(&self.resources, "has", "resource instances");
                (
                    "NamespaceContentRemaining",
                    true,
                    "SomeResourcesRemain",
                    format!("Some resources are remaining: {some}"),
                )
            } else {
                ("NamespaceContentRemaining", false, "ContentRemoved", "All content successfully removed".to_owned())
            },
            if finalizers {
                let some = counted(&self.finalizers, "in", "resource instances");
                (
                    "NamespaceFinalizersRemaining",
                    true,
                    "SomeFinalizersRemain",
                    format!("Some content in the namespace has finalizers remaining: {some}"),
                )
            } else {
                let done = "All content-preserving finalizers finished";
                ("NamespaceFinalizersRemaining", false, "ContentHasNoFinalizers", done.to_owned())
            },
        ]
    }
}

fn counted(counts: &BTreeMap<String, usize>, verb: &str, noun: &str) -> String {
    let each: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {verb} {count} {noun}")).collect();
    each.join(", ")
}

fn is_finalized(namespace: &Namespace) -> bool {
    namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref()).is_none_or(Vec::is_empty)
}

/// Writes what is left into the conditions, if that says anything new.
async fn report(api: &Api<Namespace>, mut namespace: Namespace, remains: &Remains) -> Result<Namespace, Error> {
    let discovery_is_fine =
        ("NamespaceDeletionDiscoveryFailure", false, "ResourcesDiscovered", "All resources successfully discovered");
    let parsing_is_fine = (
        "NamespaceDeletionGroupVersionParsingFailure",
        false,
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    );
    let fine = [discovery_is_fine, parsing_is_fine].map(|(kind, is, reason, text)| (kind, is, reason, text.to_owned()));
    let conditions = namespace.status.get_or_insert_default().conditions.get_or_insert_default();
    let mut changed = false;
    for (kind, is_true, reason, message) in fine.into_iter().chain(remains.conditions()) {
        let status = if is_true { "True" } else { "False" };
        let known = conditions.iter_mut().find(|condition| condition.type_ == kind);
        let same = |condition: &NamespaceCondition| {
            condition.status == status
                && condition.reason.as_deref() == Some(reason)
                && condition.message.as_deref() == Some(&message)
        };
        let new = || NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.clone()),
            last_transition_time: Some(Time(host::wall_clock::now())),
        };
        match known {
            Some(condition) if same(condition) => continue,
            Some(condition) => *condition = new(),
            None => conditions.push(new()),
        }
        changed = true;
    }
    if changed { api.update_status(&namespace).await } else { Ok(namespace) }
}

/// Removes this controller's finalizer.
async fn finalize(api: &Api<Namespace>, mut namespace: Namespace) -> Result<(), Error> {
    if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != NAMESPACE_FINALIZER);
    }
    match api.update_subresource("finalize", &namespace).await {
        Err(error) if !error.is_not_found() => Err(error),
        _done_or_gone => Ok(()),
    }
}
