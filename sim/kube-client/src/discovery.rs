//! Which resources a server serves: what the garbage collector and the namespace controller go by.
//! Source: client-go discovery/discovery_client.go (ServerPreferredResources).

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIGroupList, APIResourceList};
use serde::Deserialize;

use crate::client::{Call, Client};
use crate::error::{Error, Result};
use crate::resource::ResourceDescriptor;

/// A resource that a server serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServedResource {
    /// Where it lives.
    pub resource: ResourceDescriptor,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: Vec<String>,
}

impl ServedResource {
    /// Whether all of these can be done.
    pub fn supports(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|served| served == verb))
    }
}

/// What was found, and which group versions could not be asked.
#[derive(Debug, Default)]
pub struct Discovered {
    /// One entry a group and resource, at the group's preferred version where that has it; without subresources.
    pub resources: Vec<ServedResource>,
    /// Group versions that did not answer; their resources are missing above.
    pub failed: Vec<(String, Error)>,
}

#[derive(Deserialize)]
struct CoreVersions {
    #[serde(default)]
    versions: Vec<String>,
}

/// Asks the server for its resources.
pub async fn discover(client: &Client) -> Result<Discovered> {
    let core: CoreVersions = client.decode(Call::get("/api".into()), "APIVersions").await?;
    let groups: APIGroupList = client.decode(Call::get("/apis".into()), "APIGroupList").await?;
    let mut discovered = Discovered::default();
    let core = core.versions.into_iter().map(|version| (format!("/api/{version}"), String::new(), version));
    let named = groups.groups.iter().flat_map(versions_of);
    let mut known = BTreeSet::new();
    for (path, group, version) in core.chain(named) {
        match client.decode::<APIResourceList>(Call::get(path.clone()), "APIResourceList").await {
            Ok(list) => discovered.add(&mut known, &group, &version, list),
            Err(error) => discovered.failed.push((path, error)),
        }
    }
    Ok(discovered)
}

/// The versions of a group, the preferred one first.
fn versions_of(group: &APIGroup) -> impl Iterator<Item = (String, String, String)> {
    let preferred = group.preferred_version.as_ref();
    let others = group.versions.iter().filter(move |version| Some(*version) != preferred);
    preferred
        .into_iter()
        .chain(others)
        .map(|version| (format!("/apis/{}", version.group_version), group.name.clone(), version.version.clone()))
}

impl Discovered {
    fn add(&mut self, known: &mut BTreeSet<(String, String)>, group: &str, version: &str, list: APIResourceList) {
        for found in list.resources {
            if found.name.contains('/') || !known.insert((group.to_owned(), found.name.clone())) {
                continue;
            }
            self.resources.push(ServedResource {
                resource: ResourceDescriptor::new(group, version, &found.kind, &found.name),
                namespaced: found.namespaced,
                verbs: found.verbs,
            });
        }
    }
}
