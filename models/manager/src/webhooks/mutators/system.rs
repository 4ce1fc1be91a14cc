//! The mutators of nodes and engine images.

use longhorn_api::go::List;
use longhorn_api::kinds::node::{DiskDriver, DiskType};
use longhorn_api::{EngineImage, Node, labels, names};
use serde_json::json;

use super::{Patch, put_finalizer, put_labels};
use crate::runtime::backups::name;

/// A Node's tags are sorted and there once; disks say of which type they are.
pub fn node(patch: &mut Patch, node: &Node) {
    put_tags(patch, "/spec/tags", &node.spec.tags);
    if node.spec.disks.is_nil() {
        patch.replace("/spec/disks", json!({}));
    }
    for (disk_name, disk) in &node.spec.disks {
        let path = format!("/spec/disks/{disk_name}");
        put_tags(patch, &format!("{path}/tags"), &disk.tags);
        if disk.disk_type == DiskType::Unset {
            patch.replace(format!("{path}/diskType"), "filesystem");
        } else if disk.disk_type == DiskType::Block && disk.disk_driver == DiskDriver::None {
            patch.replace(format!("{path}/diskDriver"), "auto");
        }
    }
    put_finalizer(patch, &node.metadata);
}

fn put_tags(patch: &mut Patch, path: &str, tags: &List<String>) {
    if tags.is_nil() {
        return patch.replace(path, json!([]));
    }
    let mut sorted: Vec<&String> = tags.iter().collect();
    sorted.sort();
    sorted.dedup();
    if !sorted.is_empty() {
        patch.replace(path, json!(sorted));
    }
}

/// A new EngineImage is named after its image.
pub fn engine_image(patch: &mut Patch, engine_image: &EngineImage, created: bool) {
    put_finalizer(patch, &engine_image.metadata);
    if !created {
        return;
    }
    let image = engine_image.spec.image.trim();
    if image != engine_image.spec.image {
        patch.replace("/spec/image", image);
    }
    let right_name = names::engine_image(image);
    if right_name != name(&engine_image.metadata) {
        patch.replace("/metadata/name", right_name.as_str());
    }
    let of_engine_image = labels::of_engine_image(&right_name);
    put_labels(
        patch,
        &engine_image.metadata,
        of_engine_image.iter().map(|(key, value)| (key.as_str(), value.as_str())),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_sorted_once() {
        let mut object = Node::default();
        object.spec.tags = ["b", "a", "b"].into_iter().map(str::to_owned).collect();
        let mut patch = Patch::default();
        node(&mut patch, &object);
        let operations = patch.operations();
        assert_eq!(operations[0], json!({"op": "replace", "path": "/spec/tags", "value": ["a", "b"]}));
        assert_eq!(operations[1]["value"], json!({}), "no disks");
    }

    #[test]
    fn an_engine_image_is_named_after_its_image() {
        let mut object = EngineImage::default();
        object.spec.image = " longhornio/longhorn-engine:v1.8.0".to_owned();
        let mut patch = Patch::default();
        engine_image(&mut patch, &object, true);
        let paths: Vec<&str> = patch.operations().iter().map(|operation| operation["path"].as_str().unwrap()).collect();
        assert_eq!(paths, ["/metadata/finalizers", "/spec/image", "/metadata/name", "/metadata/labels"]);
        assert_eq!(patch.operations()[2]["value"], names::engine_image("longhornio/longhorn-engine:v1.8.0"));
    }
}
