//! The upgrade step of a starting manager: it waits for the managers of other releases to be gone, then one manager at a time, under a
//! lease, brings what is stored to its own release (`upgrade/upgrade.go`, `upgrade/util/util.go`).
//!
//! All reads are direct. A walk of one release to the next collects its changes in memory, lists and changes everything it will write
//! before it writes the first object, and writes kind by kind in the order in which Go walks a map: any. What fails ends the process;
//! the kubelet starts it again, and another manager gets the lease and may fail in the same way.
//!
//! Fault model: nothing is undone. A walk that died between two writes begins anew, and whoever loses the lease while it walks goes on
//! with its start, while the walk goes on beside it. An object that was written between the listing and the writing is a conflict, and
//! ends the process too.

mod path;
mod resources;
mod version;
mod walk_1_7_to_1_8;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use corral_kube_client::{Api, Client, ClientOptions, Election, ElectionConfig, ListParams, Stop};
use host::random::Stream;
use k8s_openapi::api::core::v1::Pod;
use longhorn_api::{API_VERSION, Build, Setting, labels, names, settings};

pub use version::Version;

use crate::arguments::Arguments;
use crate::pods;
use crate::runtime::settings::setting_object;
use crate::runtime::{Context, Error, Result};
use resources::Resources;

/// One manager changes everything: it may ask faster than a controller (`config.QPS`, `config.Burst`).
const REQUESTS_PER_SECOND: f64 = 1000.0;
const BURST: u32 = 1000;
/// How often and how many times a manager looks whether those of other releases are gone.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const LOOKS: u32 = 600;
/// The container whose image tells the release of a manager's pod.
const MANAGER_CONTAINER: &str = "longhorn-manager";

/// The step of one manager.
pub struct Upgrade {
    client: Client,
    namespace: String,
    build: Build,
    image: String,
    node: String,
    checks_path: bool,
    random: Mutex<Stream>,
}

impl Upgrade {
    /// The step of the manager with these arguments; nothing is asked before [`Upgrade::run`].
    pub fn new(server: &str, arguments: &Arguments, build: Build) -> Result<Arc<Self>> {
        let options = ClientOptions::limited("longhorn-manager/upgrade", REQUESTS_PER_SECOND, BURST);
        Ok(Arc::new(Self {
            client: Client::new(server, options)?,
            namespace: arguments.namespace.clone(),
            build,
            image: arguments.manager_image.clone(),
            node: arguments.node_name.clone(),
            checks_path: arguments.upgrade_version_check,
            random: Mutex::new(host::random::stream("upgrade")),
        }))
    }

    /// Does it; an error means that the manager cannot start.
    pub async fn run(self: &Arc<Self>) -> Result<()> {
        self.check_path().await?;
        self.wait_for_other_releases().await?;
        let before = self.current_version().await?;
        if let (Some(before), Some(mine)) = (&before, self.version())
            && *before >= mine
        {
            tracing::info!(
                "Skip the leader election for the upgrade since the current Longhorn system is already up to date"
            );
            return Ok(());
        }
        self.lead().await
    }

    /// Walks under the lease. Whoever loses the lease does not wait for the walk's end, and takes it for done.
    async fn lead(self: &Arc<Self>) -> Result<()> {
        let mut config = ElectionConfig::new(&self.namespace, names::UPGRADE_LEASE, &self.node);
        config.release_on_cancel = true;
        let done = Stop::new();
        let outcome: Arc<Mutex<Option<Result<()>>>> = Arc::default();
        let walk = {
            let (upgrade, done, outcome) = (self.clone(), done.clone(), outcome.clone());
            move |_lost: Stop| async move {
                tracing::info!("Start upgrading");
                let result = upgrade.upgrade().await;
                match &result {
                    Ok(()) => tracing::info!("Finish upgrading"),
                    Err(error) => tracing::error!("Upgrade failed: {error}"),
                }
                *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                done.stop();
            }
        };
        Election::new(&self.client, config).run(&done, walk).await;
        outcome.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(Ok(()))
    }

    async fn upgrade(&self) -> Result<()> {
        self.upgrade_api_version().await.context(|| "upgrade API version failed")?;
        self.upgrade_resources().await.context(|| "upgrade resources failed")
    }

    /// Notes which API version is stored. Only the one that all modelled releases have can be found.
    async fn upgrade_api_version(&self) -> Result<()> {
        let settings = self.api::<Setting>();
        let stored =
            settings.get_opt(settings::CRD_API_VERSION).await?.map(|setting| setting.value).unwrap_or_default();
        match stored.as_str() {
            API_VERSION => Ok(()),
            "" => {
                if settings.get_opt(settings::DEFAULT_ENGINE_IMAGE).await?.is_some() {
                    // Upstream refuses nothing here: it wraps an error that is none.
                    return Ok(());
                }
                match settings.create(&setting_object(settings::CRD_API_VERSION, API_VERSION)).await {
                    Err(error) if !error.is_already_exists() => {
                        Err(error).context(|| "cannot create CRDAPIVersionSetting")
                    }
                    _ => Ok(()),
                }
            }
            other => Err(Error::message(format!("unrecognized CRD API version {other}"))),
        }
    }

    /// The spec pass, the status pass, the settings that are no more, and the note of the release.
    async fn upgrade_resources(&self) -> Result<()> {
        let Some(before) = self.current_version().await? else {
            tracing::info!("Skipping walking through the resource upgrade path for fresh Longhorn installation");
            return Ok(());
        };
        let walks = before < Version::of(1, 8, 0) && self.version().is_some_and(|mine| mine >= Version::first_of(1, 8));
        let mut specs = Resources::new(&self.client, &self.namespace);
        if walks {
            tracing::info!("Walking through the resource upgrade path v1.7.x to v1.8.0");
            walk_1_7_to_1_8::specs(self, &mut specs).await?;
        }
        specs.write_specs(self).await?;
        let mut statuses = Resources::new(&self.client, &self.namespace);
        if walks {
            tracing::info!("Walking through the resource status upgrade path v1.7.x to v1.8.0");
            walk_1_7_to_1_8::statuses(self, &mut statuses).await?;
        }
        statuses.write_statuses(self).await?;
        self.delete_removed_settings().await?;
        self.note_version().await
    }

    async fn delete_removed_settings(&self) -> Result<()> {
        let api = self.api::<Setting>();
        for setting in api.list(&ListParams::default()).await?.items {
            let name = setting.metadata.name.as_deref().unwrap_or_default();
            let is_known = settings::definition(name).is_some_and(|known| known.is_in(self.build.release()));
            if !is_known {
                tracing::info!("Deleting removed setting: {name}");
                api.delete(name, &Default::default()).await?;
            }
        }
        Ok(())
    }

    /// Sets `current-longhorn-version`: once with the annotation that lets it past the check for people, and once without.
    async fn note_version(&self) -> Result<()> {
        let (api, name) = (self.api::<Setting>(), settings::CURRENT_LONGHORN_VERSION);
        let mine = self.build.release().name();
        let Some(mut setting) = api.get_opt(name).await? else {
            api.create(&setting_object(name, mine)).await?;
            return Ok(());
        };
        if setting.value == mine {
            return Ok(());
        }
        setting.value = mine.to_owned();
        let annotations = setting.metadata.annotations.get_or_insert_default();
        annotations.insert(labels::UPDATE_SETTING_FROM_LONGHORN.to_owned(), String::new());
        let mut setting = api.update(&setting).await?;
        if let Some(annotations) = &mut setting.metadata.annotations {
            annotations.remove(labels::UPDATE_SETTING_FROM_LONGHORN);
        }
        api.update(&setting).await?;
        Ok(())
    }

    /// Waits until no manager's pod has another image than this one's: a pod that terminates counts as long as it is listed.
    async fn wait_for_other_releases(&self) -> Result<()> {
        tracing::info!("Waiting for old Longhorn manager pods to be fully removed");
        let api: Api<Pod> = Api::namespaced(&self.client, &self.namespace);
        let selection = ListParams::default().labels(&format!("{}={}", pods::APP.0, pods::APP.1));
        for _look in 0..LOOKS {
            let managers = api.list(&selection).await?.items;
            let Some((pod, image)) = managers.iter().find_map(|pod| self.other_image(pod).map(|image| (pod, image)))
            else {
                return Ok(());
            };
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            tracing::info!("Found old longhorn manager: {name} with image {image}");
            host::time::sleep(LOOK_INTERVAL).await;
        }
        Err(Error::message("timed out while waiting for old Longhorn manager pods to be fully removed"))
    }

    fn other_image<'a>(&self, pod: &'a Pod) -> Option<&'a str> {
        let containers = &pod.spec.as_ref()?.containers;
        let image = containers.iter().find(|container| container.name == MANAGER_CONTAINER)?.image.as_deref()?;
        (image != self.image).then_some(image)
    }

    /// The release that the stored objects are of; none in a fresh installation.
    async fn current_version(&self) -> Result<Option<Version>> {
        let setting = self.api::<Setting>().get_opt(settings::CURRENT_LONGHORN_VERSION).await?;
        let Some(value) = setting.map(|setting| setting.value).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        // Upstream compares texts, of which one that is no version comes before all that are.
        Ok(Some(Version::parse(&value).unwrap_or_default()))
    }

    /// The release of this manager.
    fn version(&self) -> Option<Version> {
        Version::parse(self.build.release().name())
    }

    fn api<K: corral_kube_client::Object<DynamicType = ()>>(&self) -> Api<K> {
        Api::namespaced(&self.client, &self.namespace)
    }

    /// The items in the order in which Go would walk a map of them: any.
    fn in_map_order<T>(&self, items: impl IntoIterator<Item = T>) -> Vec<T> {
        let mut items: Vec<T> = items.into_iter().collect();
        self.random.lock().unwrap_or_else(PoisonError::into_inner).shuffle(&mut items);
        items
    }
}
