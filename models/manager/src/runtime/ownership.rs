//! Which manager works on an object (`controller/controller_manager.go`, `datastore/longhorn.go`).
//!
//! An object with a preferred owner belongs to it; without one, or while it is unavailable, whoever has it keeps it; while its owner
//! is unavailable too, every healthy manager takes it, and the write of `status.ownerID` decides: a conflict means that another was
//! first. There is no fencing: a former owner acts on its cache until that shows the new one.
//!
//! Objects of backups additionally belong to nodes on which the default engine image is ready, because working on them means to run
//! the engine binary. System backups and restores mean that too, but upstream does not ask there (defect c2).

use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::engine_image::EngineImageState;
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{
    BackingImage, BackingImageDataSource, BackingImageManager, Backup, BackupBackingImage, BackupTarget, BackupVolume,
    CustomResource, Defect, Engine, EngineImage, InstanceManager, Orphan, Replica, SystemBackup, SystemRestore, Volume,
    names, settings,
};

use super::datastore::Datastore;
use super::error::{Context, Result};
use super::store::Store;

/// The three clauses of the ownership rule. `unavailable` says so of a node's name; an empty name is unavailable.
pub fn is_responsible(me: &str, preferred: &str, current: &str, unavailable: impl Fn(&str) -> bool) -> bool {
    let unavailable = |node: &str| node.is_empty() || unavailable(node);
    let is_preferred = me == preferred;
    let continues = current == me && unavailable(preferred);
    let new_owner_needed = unavailable(current) && unavailable(preferred);
    is_preferred || continues || new_owner_needed
}

/// The rule's extension by the readiness of the default engine image.
pub fn is_responsible_with_engine_image(
    responsible: bool,
    is_owner: bool,
    owner_is_ready: bool,
    i_am_ready: bool,
) -> bool {
    i_am_ready && (responsible || is_owner || !owner_is_ready)
}

/// A kind whose status names the manager that works on it.
pub trait Owned: CustomResource {
    /// The node of that manager.
    fn owner(&self) -> &str;

    /// Names another one.
    fn set_owner(&mut self, node: &str);
}

macro_rules! owned {
    ($($kind:ty),*) => { $(
        impl Owned for $kind {
            fn owner(&self) -> &str {
                &self.status.owner_id
            }

            fn set_owner(&mut self, node: &str) {
                self.status.owner_id = node.to_owned();
            }
        }
    )* };
}

owned!(
    BackingImage,
    BackingImageDataSource,
    BackingImageManager,
    Backup,
    BackupBackingImage,
    BackupTarget,
    BackupVolume,
    Engine,
    EngineImage,
    InstanceManager,
    Orphan,
    Replica,
    SystemBackup,
    SystemRestore,
    Volume
);

/// Makes `me` the owner in the API, unless it is already. None if another manager was first.
pub async fn take<K: Owned>(store: &Store<K>, mut object: K, me: &str) -> Result<Option<K>> {
    if object.owner() == me {
        return Ok(Some(object));
    }
    object.set_owner(me);
    match store.update_status(&object).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_conflict() => Ok(None),
        Err(error) => Err(error),
    }
}

impl Datastore {
    /// Whether nobody works for this node: it is gone, Kubernetes says that it is not ready, or it has no manager.
    pub fn is_node_unavailable(&self, name: &str) -> bool {
        let Some(node) = self.nodes.find(name) else { return true };
        let ready = node.status.conditions.condition("Ready");
        ready.status == ConditionStatus::False
            && matches!(ready.reason.as_str(), "KubernetesNodeGone" | "KubernetesNodeNotReady" | "ManagerPodMissing")
    }

    /// Whether `me` works on an object that prefers the manager of one node.
    pub fn is_responsible_on(&self, me: &str, preferred: &str, current: &str) -> bool {
        is_responsible(me, preferred, current, |node| self.is_node_unavailable(node))
    }

    /// Whether `me` works on an object that prefers nobody.
    pub fn is_responsible_for(&self, me: &str, current: &str) -> bool {
        is_responsible(me, "", current, |node| self.is_node_unavailable(node))
    }

    /// Whether `me` works on a backup, a backup volume or a backup target. An error if the engine image is not known yet.
    pub fn is_responsible_for_backups(&self, me: &str, current: &str) -> Result<bool> {
        let image = self.existing_setting_value(settings::DEFAULT_ENGINE_IMAGE)?;
        let responsible = self.is_responsible_for(me, current);
        let owner_is_ready = self.is_engine_image_ready(&image, current)?;
        let i_am_ready = self.is_engine_image_ready(&image, me)?;
        Ok(is_responsible_with_engine_image(responsible, me == current, owner_is_ready, i_am_ready))
    }

    /// Whether `me` may take a system backup or restore that is new: the first step runs the engine binary. With defect c2 nobody asks. An
    /// error if the engine image is not known yet.
    pub fn may_begin_on_system(&self, me: &str) -> Result<bool> {
        if self.build.has(Defect::FoundWithoutBinary) {
            return Ok(true);
        }
        self.is_engine_image_ready(&self.existing_setting_value(settings::DEFAULT_ENGINE_IMAGE)?, me)
    }

    /// Whether `me` works on an engine image: as long as no node has it, whoever comes first; then a node that has it.
    pub fn is_responsible_for_engine_image(&self, me: &str, engine_image: &EngineImage) -> Result<bool> {
        let (image, current) = (&engine_image.spec.image, engine_image.status.owner_id.as_str());
        let responsible = self.is_responsible_for(me, current);
        if self.ready_nodes_with_engine_image(image)?.is_empty() {
            return Ok(responsible);
        }
        let owner_is_ready = self.is_engine_image_ready(image, current)?;
        let i_am_ready = self.is_engine_image_ready(image, me)?;
        Ok(is_responsible_with_engine_image(responsible, me == current, owner_is_ready, i_am_ready))
    }

    /// Whether `me` works on a volume or an engine of this image: the preferred node's manager if that node has the image, else whoever
    /// has it (`VolumeController.isResponsibleFor`, `EngineController.isResponsibleFor`). An image without a name is on no node.
    pub fn is_responsible_for_instance(
        &self,
        me: &str,
        preferred: &str,
        current: &str,
        image: &str,
        engine: &DataEngine,
    ) -> Result<bool> {
        let responsible = is_responsible(me, preferred, current, |node| self.is_node_unavailable(node));
        let v1 = *engine != DataEngine::V2;
        if image.is_empty() || (v1 && self.ready_nodes_with_engine_image(image)?.is_empty()) {
            return Ok(responsible);
        }
        let preferred_is_ready = self.is_data_engine_image_ready(image, engine, preferred)?;
        let owner_is_ready = self.is_data_engine_image_ready(image, engine, current)?;
        let i_am_ready = self.is_data_engine_image_ready(image, engine, me)?;
        let continues = !preferred_is_ready && me == current;
        let new_owner_needed = !preferred_is_ready && !owner_is_ready;
        Ok(i_am_ready && (responsible || continues || new_owner_needed))
    }

    /// Whether the binary of `image` is on `node`; never on no node (`CheckEngineImageReadiness`).
    pub fn is_engine_image_ready(&self, image: &str, node: &str) -> Result<bool> {
        if node.is_empty() {
            return Ok(false);
        }
        let engine_image = self.engine_image_of(image)?;
        Ok(is_being_deployed(&engine_image)
            && engine_image.status.node_deployment_map.get(node) == Some(&true)
            && self.nodes.find(node).is_some())
    }

    /// Names of the ready nodes that have the binary of `image`, in an order that means nothing.
    pub fn ready_nodes_with_engine_image(&self, image: &str) -> Result<Vec<String>> {
        let engine_image = self.engine_image_of(image)?;
        if !is_being_deployed(&engine_image) {
            return Ok(Vec::new());
        }
        let deployed = |node: &String| engine_image.status.node_deployment_map.get(node) == Some(&true);
        Ok(self.ready_nodes().into_iter().filter(deployed).collect())
    }

    /// Names of the nodes whose Ready condition holds, in an order that means nothing.
    pub fn ready_nodes(&self) -> Vec<String> {
        let nodes = self.nodes.list();
        let ready =
            nodes.iter().filter(|node| node.status.conditions.condition("Ready").status == ConditionStatus::True);
        ready.filter_map(|node| node.metadata.name.clone()).collect()
    }

    fn engine_image_of(&self, image: &str) -> Result<std::sync::Arc<EngineImage>> {
        self.engine_images.get(&names::engine_image(image)).context(|| format!("failed to get engine image {image}"))
    }
}

fn is_being_deployed(engine_image: &EngineImage) -> bool {
    matches!(engine_image.status.state, EngineImageState::Deployed | EngineImageState::Deploying)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the nodes a, b and c, c is down.
    fn down(node: &str) -> bool {
        node == "c"
    }

    #[test]
    fn without_a_preferred_owner_whoever_has_it_keeps_it() {
        assert!(is_responsible("a", "", "a", down));
        assert!(!is_responsible("b", "", "a", down));
    }

    #[test]
    fn an_object_without_a_living_owner_is_everybodys() {
        for me in ["a", "b"] {
            assert!(is_responsible(me, "", "", down));
            assert!(is_responsible(me, "", "c", down));
            assert!(is_responsible(me, "c", "c", down));
        }
    }

    #[test]
    fn a_preferred_owner_takes_it_back() {
        assert!(is_responsible("a", "a", "b", down));
        assert!(!is_responsible("b", "a", "b", down), "the owner gives it up as soon as the preferred one lives");
        assert!(is_responsible("b", "c", "b", down), "but keeps it while that one is down");
        assert!(!is_responsible("a", "c", "b", down));
    }

    #[test]
    fn a_node_without_the_binary_takes_nothing_and_loses_what_it_has() {
        let rule = is_responsible_with_engine_image;
        assert!(!rule(true, true, false, false));
        assert!(rule(false, false, false, true), "the owner cannot work: any node that can takes over");
        assert!(!rule(false, false, true, true));
        assert!(rule(true, false, true, true) && rule(false, true, true, true));
    }
}
