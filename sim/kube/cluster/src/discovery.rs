//! What the API server serves: which resources there are, and where an owner reference points to.
//!
//! Source: client-go discovery (ServerPreferredResources, SupportsAllVerbs) and restmapper. The classic documents are read, one for each
//! group and version.

use corral_kube_client::{Client, Error, ResourceDescriptor};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResource, APIResourceList};
use serde::de::DeserializeOwned;

/// One resource of the server, in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiResourceInfo {
    /// Where it lives.
    pub descriptor: ResourceDescriptor,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What may be asked of it.
    pub verbs: Vec<String>,
    /// Whether this is the version to be used when none is asked for.
    pub preferred: bool,
}

impl ApiResourceInfo {
    /// Whether all of these verbs are served.
    pub fn supports(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|known| known == verb))
    }
}

/// All resources of a server at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    resources: Vec<ApiResourceInfo>,
}

impl Discovery {
    /// Asks the server.
    ///
    /// # Errors
    /// A document that cannot be had or read. Unlike the real one, one broken group fails all: no aggregated server is part of this world.
    pub async fn fetch(client: &Client) -> Result<Discovery, Error> {
        let mut discovery = Discovery::default();
        discovery.read_version(client, "", "v1", true).await?;
        let groups: APIGroupList = document(client, "/apis").await?;
        for group in groups.groups {
            let preferred = group.preferred_version.as_ref().map(|preferred| preferred.version.clone());
            for version in &group.versions {
                let is_preferred = preferred.as_ref().is_none_or(|preferred| *preferred == version.version);
                discovery.read_version(client, &group.name, &version.version, is_preferred).await?;
            }
            discovery.settle_preferences(&group.name);
        }
        Ok(discovery)
    }

    async fn read_version(
        &mut self,
        client: &Client,
        group: &str,
        version: &str,
        preferred: bool,
    ) -> Result<(), Error> {
        let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let list: APIResourceList = document(client, &path).await?;
        // Subresources are listed as `pods/status`.
        let whole = list.resources.into_iter().filter(|resource| !resource.name.contains('/'));
        self.resources.extend(whole.map(|resource| info(group, version, resource, preferred)));
        Ok(())
    }

    /// A resource that the group's preferred version lacks is preferred in the first version that has it.
    fn settle_preferences(&mut self, group: &str) {
        let of_group = |resource: &ApiResourceInfo| &*resource.descriptor.group == group;
        for index in 0..self.resources.len() {
            let resource = &self.resources[index];
            let same = |other: &ApiResourceInfo| {
                of_group(other) && other.descriptor.plural == resource.descriptor.plural && other.preferred
            };
            if of_group(resource) && !self.resources.iter().any(same) {
                self.resources[index].preferred = true;
            }
        }
    }

    /// Each resource in its preferred version, if it serves all of these verbs.
    pub fn preferred<'a>(&'a self, verbs: &'a [&'a str]) -> impl Iterator<Item = &'a ApiResourceInfo> {
        self.resources.iter().filter(move |resource| resource.preferred && resource.supports(verbs))
    }

    /// The resource of a kind in the version that a reference names.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<&ApiResourceInfo> {
        self.resources
            .iter()
            .find(|resource| &*resource.descriptor.kind == kind && resource.descriptor.api_version() == api_version)
    }
}

async fn document<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T, Error> {
    let body = client.get_raw(path).await?;
    serde_json::from_slice(&body).map_err(|source| Error::Decode { what: path.to_owned(), source })
}

fn info(group: &str, version: &str, resource: APIResource, preferred: bool) -> ApiResourceInfo {
    // A resource may say that it is of another group or version than the document's; built-in ones never do for their main resource.
    ApiResourceInfo {
        descriptor: ResourceDescriptor::new(group, version, &resource.kind, &resource.name),
        namespaced: resource.namespaced,
        verbs: resource.verbs,
        preferred,
    }
}
