//! What a walk changes, in memory: each kind is listed when the walk first asks for it, changed there, and written at the end
//! (`ListAndUpdate…InProvidedCache`, `UpdateResources`, `UpdateResourcesStatus` in `upgrade/util/util.go`).

use std::collections::BTreeMap;

use corral_kube_client::{Api, Client, ListParams};
use longhorn_api::{
    BackingImage, BackingImageDataSource, Backup, BackupBackingImage, BackupVolume, CustomResource, SystemBackup,
    Volume,
};

use super::Upgrade;
use crate::runtime::backups::name;
use crate::runtime::{Error, Result};

/// The objects of one kind by name, as the walk wants them.
pub struct Kind<K> {
    api: Api<K>,
    objects: Option<BTreeMap<String, K>>,
}

impl<K: CustomResource> Kind<K> {
    fn new(client: &Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), objects: None }
    }

    /// The objects, listed now if nobody asked before.
    pub async fn objects(&mut self) -> Result<&mut BTreeMap<String, K>> {
        if self.objects.is_none() {
            let listed = self.api.list(&ListParams::default()).await?.items;
            self.objects = Some(listed.into_iter().map(|object| (name(object.meta()).to_owned(), object)).collect());
        }
        Ok(self.objects.get_or_insert_default())
    }

    /// Writes spec and metadata of what differs from a new listing. An object that was written since the first listing differs too, and
    /// is a conflict.
    async fn write_specs(&self) -> Result<()> {
        let Some(objects) = &self.objects else { return Ok(()) };
        for existing in self.api.list(&ListParams::default()).await?.items {
            let Some(wanted) = objects.get(name(existing.meta())) else { continue };
            let mut comparable = wanted.clone();
            comparable.status_mut().clone_from(existing.status());
            if comparable != existing {
                self.api.update(wanted).await?;
            }
        }
        Ok(())
    }

    /// Writes the status of every object that is still there, changed or not.
    async fn write_statuses(&self) -> Result<()> {
        let Some(objects) = &self.objects else { return Ok(()) };
        for existing in self.api.list(&ListParams::default()).await?.items {
            if let Some(wanted) = objects.get(name(existing.meta())) {
                self.api.update_status(wanted).await?;
            }
        }
        Ok(())
    }
}

macro_rules! kinds {
    ($($(#[$meta:meta])* $field:ident: $kind:ty = $variant:ident $(with $status:ident)?,)*) => {
        /// The kinds that walks change.
        pub struct Resources {
            $( $(#[$meta])* pub $field: Kind<$kind>, )*
        }

        #[derive(Clone, Copy)]
        enum Name {
            $( $variant, )*
        }

        impl Resources {
            /// Nothing is listed yet.
            pub fn new(client: &Client, namespace: &str) -> Self {
                Self { $( $field: Kind::new(client, namespace), )* }
            }

            /// The kinds that were listed, in the order in which Go walks a map.
            fn listed(&self, upgrade: &Upgrade) -> Vec<Name> {
                let mut listed = Vec::new();
                $( if self.$field.objects.is_some() { listed.push(Name::$variant); } )*
                upgrade.in_map_order(listed)
            }

            /// Writes what changed in specs, labels and owners.
            pub async fn write_specs(&self, upgrade: &Upgrade) -> Result<()> {
                for kind in self.listed(upgrade) {
                    match kind {
                        $( Name::$variant => self.$field.write_specs().await?, )*
                    }
                }
                Ok(())
            }

            /// Writes statuses.
            pub async fn write_statuses(&self, upgrade: &Upgrade) -> Result<()> {
                for kind in self.listed(upgrade) {
                    match kind {
                        $( Name::$variant => kinds!(@status self $field $variant $($status)?), )*
                    }
                }
                Ok(())
            }
        }
    };
    (@status $self:ident $field:ident $variant:ident status) => { $self.$field.write_statuses().await? };
    (@status $self:ident $field:ident $variant:ident) => {
        return Err(Error::message(concat!("resource kind ", stringify!($variant), " is not able to updated")))
    };
}

kinds! {
    /// Volumes.
    volumes: Volume = Volume,
    /// BackupVolumes.
    backup_volumes: BackupVolume = BackupVolume,
    /// Backups.
    backups: Backup = Backup with status,
    /// Backups of backing images.
    backup_backing_images: BackupBackingImage = BackupBackingImage,
    /// Sources of backing images.
    backing_image_data_sources: BackingImageDataSource = BackingImageDataSource,
    /// SystemBackups.
    system_backups: SystemBackup = SystemBackup,
    /// BackingImages.
    backing_images: BackingImage = BackingImage with status,
}
