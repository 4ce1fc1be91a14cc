//! What a container sees of disks: a root of its own, and its volumes.
//!
//! Everything lies on the machine's disks: a container's root below `/var/lib/containers`, emptyDir, ConfigMap and Secret volumes below
//! `/var/lib/kubelet/pods`, hostPath where it says. ConfigMaps and Secrets are written when the pod starts and not again.

use std::collections::BTreeMap;
use std::sync::Arc;

use corral_disk::{Disk, Mounts};
use corral_kube_client::Client;
use k8s_openapi::api::core::v1::{Container, KeyToPath, Pod, Volume};

use super::environment::{ConfigError, config_map_data, secret_data};

/// The disks of a machine, by where they are mounted; the root at `/`.
#[derive(Clone)]
pub(crate) struct MachineDisks {
    root: Arc<Disk>,
    /// Path without a slash at its end, and the disk mounted there.
    others: Vec<(String, Arc<Disk>)>,
}

impl MachineDisks {
    pub fn new(root: Arc<Disk>, others: Vec<(String, Arc<Disk>)>) -> MachineDisks {
        let mut others: Vec<(String, Arc<Disk>)> =
            others.into_iter().map(|(path, disk)| (path.trim_end_matches('/').to_owned(), disk)).collect();
        // The longest path first: it wins.
        others.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        MachineDisks { root, others }
    }

    /// What the machine's own processes see.
    pub fn mounts(&self) -> Mounts {
        let below_first = self.others.iter().rev();
        below_first
            .fold(Mounts::new(self.root.clone()), |mounts, (path, disk)| mounts.with_mount(path, disk.clone(), ""))
    }

    /// The disk that a path of the machine is on, and the path there.
    fn locate(&self, path: &str) -> (Arc<Disk>, String) {
        let below = |mount: &str| {
            let rest = path.strip_prefix(mount)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| rest.to_owned())
        };
        let found = self.others.iter().find_map(|(mount, disk)| Some((disk.clone(), below(mount)?)));
        found.unwrap_or_else(|| (self.root.clone(), path.to_owned()))
    }

    /// The disks, for whoever sets faults on them.
    pub fn disks(&self) -> Vec<(String, Arc<Disk>)> {
        std::iter::once(("/".to_owned(), self.root.clone())).chain(self.others.iter().cloned()).collect()
    }
}

/// A volume that is ready: a directory on a disk of the machine.
struct ReadyVolume {
    disk: Arc<Disk>,
    directory: String,
    read_only: bool,
}

/// The volumes of a pod.
pub(crate) struct Volumes {
    ready: BTreeMap<String, ReadyVolume>,
}

/// Where a pod's own directories are.
pub(crate) fn pod_directory(uid: &str) -> String {
    format!("/var/lib/kubelet/pods/{uid}")
}

/// Where a container's own files are.
pub(crate) fn container_directory(uid: &str, container: &str, attempt: u32) -> String {
    format!("/var/lib/containers/{uid}/{container}/{attempt}")
}

impl Volumes {
    /// Makes the volumes of a pod ready.
    pub async fn prepare(client: &Client, disks: &MachineDisks, pod: &Pod) -> Result<Volumes, ConfigError> {
        let mut ready = BTreeMap::new();
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        for volume in volumes {
            ready.insert(volume.name.clone(), prepare_one(client, disks, pod, volume).await?);
        }
        Ok(Volumes { ready })
    }

    /// What a container sees.
    pub fn mounts(
        &self,
        disks: &MachineDisks,
        uid: &str,
        container: &Container,
        attempt: u32,
        expand: impl Fn(&str) -> String,
    ) -> Result<Mounts, ConfigError> {
        let root = disks.root.clone();
        let own = container_directory(uid, &container.name, attempt);
        let mut mounts = Mounts::new(root.clone()).with_mount("/", root, &own);
        for mount in container.volume_mounts.iter().flatten() {
            let volume = self.ready.get(&mount.name);
            let volume = volume.ok_or_else(|| ConfigError(format!("cannot find volume {:?} to mount", mount.name)))?;
            let sub_path = mount.sub_path.clone().or_else(|| mount.sub_path_expr.as_deref().map(&expand));
            let directory = match sub_path.filter(|path| !path.is_empty()) {
                Some(path) => format!("{}/{path}", volume.directory),
                None => volume.directory.clone(),
            };
            mounts = if volume.read_only || mount.read_only == Some(true) {
                mounts.with_read_only_mount(&mount.mount_path, volume.disk.clone(), &directory)
            } else {
                mounts.with_mount(&mount.mount_path, volume.disk.clone(), &directory)
            };
        }
        Ok(mounts)
    }
}

async fn prepare_one(
    client: &Client,
    disks: &MachineDisks,
    pod: &Pod,
    volume: &Volume,
) -> Result<ReadyVolume, ConfigError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let own = format!("{}/volumes/{}", pod_directory(uid), volume.name);
    let on_root = |read_only| ReadyVolume { disk: disks.root.clone(), directory: own.clone(), read_only };
    if let Some(host_path) = &volume.host_path {
        let (disk, directory) = disks.locate(&host_path.path);
        return Ok(ReadyVolume { disk, directory, read_only: false });
    }
    if let Some(source) = &volume.config_map {
        let data = config_map_data(client, namespace, &source.name, source.optional == Some(true)).await?;
        let bytes = data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
        write_files(&disks.root, &own, bytes, source.items.as_deref())?;
        return Ok(on_root(true));
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let data = secret_data(client, namespace, name, source.optional == Some(true)).await?;
        write_files(&disks.root, &own, data.unwrap_or_default(), source.items.as_deref())?;
        return Ok(on_root(true));
    }
    if volume.empty_dir.is_some() || volume.projected.is_some() || volume.downward_api.is_some() {
        // Tokens and certificates of service accounts are not part of this world: a projected volume is empty.
        return disks.root.create_directories(&own).map(|()| on_root(false)).map_err(|error| on_disk(&own, &error));
    }
    Err(ConfigError(format!("volume {:?} is of a kind that this kubelet does not know", volume.name)))
}

fn on_disk(path: &str, error: &std::io::Error) -> ConfigError {
    ConfigError(format!("{path}: {error}"))
}

/// Writes each key as a file; with items, only those and under their paths.
fn write_files(
    disk: &Disk,
    directory: &str,
    data: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
) -> Result<(), ConfigError> {
    let chosen: Vec<(String, &[u8])> = match items {
        Some(items) if !items.is_empty() => {
            let chosen = items.iter().filter_map(|item| Some((item.path.clone(), data.get(&item.key)?.as_slice())));
            chosen.collect()
        }
        _ => data.iter().map(|(key, value)| (key.clone(), value.as_slice())).collect(),
    };
    disk.create_directories(directory).map_err(|error| on_disk(directory, &error))?;
    for (path, content) in chosen {
        let path = format!("{directory}/{path}");
        let parent = path.rsplit_once('/').map_or(directory, |(parent, _)| parent);
        disk.create_directories(parent).map_err(|error| on_disk(parent, &error))?;
        disk.put(&path, content).map_err(|error| on_disk(&path, &error))?;
    }
    Ok(())
}
