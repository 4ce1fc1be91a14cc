//! What the client does with backing images.

use longhorn_api::BackingImage;
use longhorn_api::kinds::backing_image::BackingImageState;
use longhorn_api::kinds::backing_image_data_source::BackingImageDataSourceType;
use longhorn_api::kinds::volume::DataEngine;

use super::{Failed, User};
use crate::file_server;

impl User {
    /// As the user interface does: an address, how many copies, and where.
    pub(super) async fn create_image(&self, name: &str, mebibytes: u32, copies: u32, tag: &str) -> Result<(), Failed> {
        let mut image = BackingImage::default();
        image.metadata.name = Some(name.to_owned());
        image.spec.data_engine = DataEngine::V1;
        image.spec.source_type = BackingImageDataSourceType::Download;
        image.spec.source_parameters.insert("url", file_server::url(name, mebibytes));
        image.spec.min_number_of_copies = copies.into();
        if !tag.is_empty() {
            image.spec.node_selector = [tag.to_owned()].into_iter().collect();
        }
        let images = self.api::<BackingImage>();
        let created = || async { images.create(&image).await.is_ok() || images.get(name).await.is_ok() };
        self.wait_until(&format!("backing image {name} exists"), created).await?;
        let is_ready = || async {
            let Ok(image) = images.get(name).await else { return false };
            let files = image.status.disk_file_status_map.values();
            files.filter(|file| file.state == BackingImageState::Ready).count() >= copies as usize
        };
        self.wait_until(&format!("backing image {name} is on {copies} disks"), is_ready).await
    }
}
