//! The tables of replicas and engines, and their comparison with the target every three seconds (`pkg/spdk/server.go`).
//!
//! The comparison finds logical volumes that no replica stands for, whoever made them, and lists them as replicas that are stopped: so replicas come
//! back after a restart of the pod, and so do those whose volume was deleted while the machine was away. It tells nobody who watches. A replica
//! that is stopped without being cleaned up stays in the table, since its volume stays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as PlainMutex};
use std::time::Duration;

use longhorn_api::{Build, Release};
use longhorn_rpc::spdkrpc as wire;
use tokio::sync::{Mutex, mpsc};
use tonic::Status;

use super::engine::Engine;
use super::engine_frontend::Frontend;
use super::replica::{Replica, belongs_to};
use super::target::Target;
use crate::broadcast::Broadcaster;
use crate::ports::Ports;
use crate::status::plain;

/// How often the tables are compared with the target (`MonitorInterval`).
const MONITOR_INTERVAL: Duration = Duration::from_secs(3);
/// How long a request to add a disk waits for the comparison that finds what is on it.
const SCAN_TIMEOUT: Duration = Duration::from_secs(180);

type Table<T> = Mutex<BTreeMap<String, Arc<Mutex<T>>>>;

/// The SPDK service of a pod. Copies are the same one.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    release: Release,
    target: Arc<Target>,
    ports: PlainMutex<Ports>,
    replicas: Table<Replica>,
    engines: Table<Engine>,
    replica_updates: Broadcaster<()>,
    engine_updates: Broadcaster<()>,
}

/// Which volume names are taken for replicas' since v1.9.0: they end in `-r-` and eight letters or digits.
fn is_probably_replica(name: &str) -> bool {
    name.rsplit_once("-r-").is_some_and(|(volume, suffix)| {
        !volume.is_empty() && suffix.len() == 8 && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

impl Service {
    /// An empty service over these ports.
    pub fn new(build: &Build, ports: Ports) -> Self {
        let service = Self(Arc::new(Inner {
            release: build.release(),
            target: Arc::new(Target::new()),
            ports: PlainMutex::new(ports),
            replicas: Table::default(),
            engines: Table::default(),
            replica_updates: Broadcaster::default(),
            engine_updates: Broadcaster::default(),
        }));
        host::spawn(service.clone().monitor());
        service
    }

    pub(super) fn target(&self) -> &Arc<Target> {
        &self.0.target
    }

    pub(super) fn ports(&self) -> &PlainMutex<Ports> {
        &self.0.ports
    }

    async fn monitor(self) {
        let mut interval = host::time::interval_at(host::time::Instant::now() + MONITOR_INTERVAL, MONITOR_INTERVAL);
        loop {
            interval.tick().await;
            self.compare().await;
        }
    }

    /// Compares the tables with the target.
    async fn compare(&self) {
        let replicas = self.find_replicas().await;
        for replica in replicas {
            replica.lock().await.sync(self.target()).await;
        }
        let engines: Vec<_> = self.0.engines.lock().await.values().cloned().collect();
        for engine in engines {
            if engine.lock().await.validate(self).await {
                self.0.engine_updates.send(&());
            }
        }
    }

    /// Lists volumes that no replica stands for, and forgets replicas that have no volume; gives all that are listed.
    async fn find_replicas(&self) -> Vec<Arc<Mutex<Replica>>> {
        let mut table = self.0.replicas.lock().await;
        let lvols = self.target().lvols().await;
        for lvol in lvols.values() {
            let named_so = self.0.release.before(Release::V1_9_2) || is_probably_replica(&lvol.name);
            if lvol.snapshot || !named_so || table.contains_key(&lvol.name) {
                continue;
            }
            let found = Replica::new(&lvol.name, &lvol.lvs_name, &lvol.lvs_uuid, lvol.bytes);
            table.insert(lvol.name.clone(), Arc::new(Mutex::new(found)));
        }
        // Since v1.8.0 a replica without its newest volume stays as long as it has a snapshot.
        let any_will_do = self.0.release.at_least(Release::V1_8_0_RC1);
        table.retain(|replica, _| {
            lvols.contains_key(replica) || any_will_do && lvols.keys().any(|lvol| belongs_to(replica, lvol))
        });
        table.values().cloned().collect()
    }

    // ---- disks

    /// Adds a disk. Since v1.9.2 the answer waits until what is on it has been found.
    pub(super) async fn add_disk(&self, request: &wire::DiskCreateRequest) -> Result<wire::Disk, Status> {
        let disk = self.create_disk(request).await?;
        if self.0.release.at_least(Release::V1_9_2) {
            host::time::sleep(MONITOR_INTERVAL).await;
            // A target that does not answer in time is looked at again by the monitor.
            let _ = host::time::timeout(SCAN_TIMEOUT, self.compare()).await;
        }
        Ok(disk)
    }

    // ---- replicas

    async fn find_replica(&self, name: &str) -> Option<Arc<Mutex<Replica>>> {
        self.0.replicas.lock().await.get(name).cloned()
    }

    pub(super) async fn replica(&self, name: &str, during: &str) -> Result<Arc<Mutex<Replica>>, Status> {
        let found = self.find_replica(name).await;
        found.ok_or_else(|| Status::not_found(format!("cannot find replica {name}{during}")))
    }

    /// Starts a replica: one that is listed, or a new one.
    ///
    /// # Errors
    /// No name, no lvstore; it runs already.
    pub async fn create_replica(&self, request: &wire::ReplicaCreateRequest) -> Result<wire::Replica, Status> {
        let name = &request.name;
        if name.is_empty() {
            return Err(Status::invalid_argument("replica name is required"));
        }
        if request.lvs_name.is_empty() && request.lvs_uuid.is_empty() {
            return Err(Status::invalid_argument("lvs name or lvs UUID are required"));
        }
        if !request.backing_image_name.is_empty() {
            self.put_in_table(name, self.replica_or_new(request).await?).await;
            return Err(Status::not_found("failed to find the backing image in the spdk server"));
        }
        let replica = self.replica_or_new(request).await?;
        let (result, answer) = {
            let mut replica = replica.lock().await;
            let result = replica.create(self.target(), request.port_count, self.ports()).await;
            (result, replica.to_wire())
        };
        if result.is_ok() {
            self.0.replica_updates.send(&());
        }
        self.put_in_table(name, replica).await;
        result.map(|()| answer)
    }

    async fn replica_or_new(&self, request: &wire::ReplicaCreateRequest) -> Result<Arc<Mutex<Replica>>, Status> {
        if let Some(listed) = self.find_replica(&request.name).await {
            return Ok(listed);
        }
        let lvstore = match request.lvs_uuid.as_str() {
            "" => self.target().lvstore_named(&request.lvs_name).await,
            uuid => self.target().lvstore(uuid).await,
        };
        lvstore.map_err(plain)?;
        let replica = Replica::new(&request.name, &request.lvs_name, &request.lvs_uuid, request.spec_size);
        Ok(Arc::new(Mutex::new(replica)))
    }

    /// A replica that was asked for is listed whatever came of it, in place of one that the comparison found meanwhile.
    async fn put_in_table(&self, name: &str, replica: Arc<Mutex<Replica>>) {
        self.0.replicas.lock().await.insert(name.to_owned(), replica);
    }

    /// Stops a replica. Only with `clean_up` its volumes are deleted, and only then does it leave the table. One that is not listed is deleted.
    ///
    /// # Errors
    /// What the target says.
    pub async fn delete_replica(&self, name: &str, clean_up: bool) -> Result<(), Status> {
        let Some(replica) = self.find_replica(name).await else { return Ok(()) };
        let (before, result, after) = {
            let mut replica = replica.lock().await;
            let before = (replica.state, replica.ports);
            let result = replica.delete(self.target(), clean_up, self.ports()).await;
            (before, result, (replica.state, replica.ports))
        };
        if before != after {
            self.0.replica_updates.send(&());
        }
        if result.is_ok() && clean_up {
            self.0.replicas.lock().await.remove(name);
        }
        result
    }

    /// All replicas by name.
    pub async fn replicas(&self) -> BTreeMap<String, wire::Replica> {
        let replicas: Vec<_> = self.0.replicas.lock().await.iter().map(|(name, r)| (name.clone(), r.clone())).collect();
        let mut answers = BTreeMap::new();
        for (name, replica) in replicas {
            answers.insert(name, replica.lock().await.to_wire());
        }
        answers
    }

    /// Told of changes of replicas.
    pub fn watch_replicas(&self) -> mpsc::Receiver<()> {
        self.0.replica_updates.subscribe()
    }

    pub(super) fn replica_changed(&self) {
        self.0.replica_updates.send(&());
    }

    // ---- engines

    pub(super) async fn engine(&self, name: &str, during: &str) -> Result<Arc<Mutex<Engine>>, Status> {
        let found = self.0.engines.lock().await.get(name).cloned();
        found.ok_or_else(|| Status::not_found(format!("cannot find engine {name}{during}")))
    }

    /// Starts an engine.
    ///
    /// # Errors
    /// No name, size or frontend; it runs already.
    pub async fn create_engine(&self, request: &wire::EngineCreateRequest) -> Result<wire::Engine, Status> {
        let name = &request.name;
        if name.is_empty() || request.volume_name.is_empty() {
            return Err(Status::invalid_argument("engine name and volume name are required"));
        }
        if request.spec_size == 0 {
            return Err(Status::invalid_argument("engine spec size is required"));
        }
        let ublk = self.0.release.at_least(Release::V1_9_0_DEV_00886872C);
        let frontend = Frontend::named(&request.frontend).filter(|frontend| ublk || *frontend != Frontend::Ublk);
        let frontend = frontend.ok_or_else(|| Status::invalid_argument("engine frontend is required"))?;
        let engine = {
            let mut engines = self.0.engines.lock().await;
            let engine = engines.entry(name.clone()).or_insert_with(|| {
                Arc::new(Mutex::new(Engine::new(name, &request.volume_name, frontend, request.spec_size)))
            });
            engine.clone()
        };
        let mut engine = engine.lock().await;
        if engine.is_made() && request.initiator_address == request.target_address {
            return Err(Status::already_exists(format!("engine {name} already exists")));
        }
        engine.create(self, request).await?;
        self.0.engine_updates.send(&());
        Ok(engine.to_wire())
    }

    /// Takes an engine down; one that is not listed is deleted.
    ///
    /// # Errors
    /// What the target says; the engine is in error.
    pub async fn delete_engine(&self, name: &str) -> Result<(), Status> {
        let Ok(engine) = self.engine(name, "").await else { return Ok(()) };
        {
            let mut engine = engine.lock().await;
            if let Err(error) = engine.delete(self).await {
                engine.state = crate::process::state::ERROR;
                engine.error.clone_from(&error);
                return Err(plain(error));
            }
        }
        self.0.engine_updates.send(&());
        self.0.engines.lock().await.remove(name);
        Ok(())
    }

    /// All engines by name.
    pub async fn engines(&self) -> BTreeMap<String, wire::Engine> {
        let engines: Vec<_> = self.0.engines.lock().await.iter().map(|(name, e)| (name.clone(), e.clone())).collect();
        let mut answers = BTreeMap::new();
        for (name, engine) in engines {
            answers.insert(name, engine.lock().await.to_wire());
        }
        answers
    }

    /// Told of changes of engines.
    pub fn watch_engines(&self) -> mpsc::Receiver<()> {
        self.0.engine_updates.subscribe()
    }

    pub(super) fn engine_changed(&self) {
        self.0.engine_updates.send(&());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_that_may_be_replicas_are_known_by_their_names() {
        assert!(is_probably_replica("pvc-1-r-1a2B3c4d"));
        assert!(
            ["pvc-1-r-1a2b3c4", "-r-12345678", "pvc-1", "v-r-1234567-"].iter().all(|name| !is_probably_replica(name))
        );
    }
}
