//! An engine of the v2 data engine: a mirror (RAID 1) over replicas' exposed volumes, itself exposed to the host (`pkg/spdk/engine.go`).
//!
//! Engines are memory: after a restart of the pod there is none. A replica that cannot be reached when the engine is made, or is lost later,
//! has mode ERR for good; without any in mode RW the engine is in error.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use longhorn_rpc::spdkrpc as wire;
use longhorn_rpc::spdkrpc::ReplicaMode as Mode;
use tonic::Status;

use super::engine_frontend::{Frontend, Mirror};
use super::fabric::RemoteVolume;
use super::replica::{lock, qualified_name};
use super::service::Service;
use super::{VOLUME_HEAD, state as spdk_state};
use crate::clients;
use crate::process::state;
use crate::status::plain;

/// An engine that the service lists.
pub(super) struct Engine {
    pub name: String,
    pub volume_name: String,
    pub spec_bytes: u64,
    pub state: &'static str,
    pub error: String,
    pub frontend: Frontend,
    replicas: BTreeMap<String, Member>,
    endpoint: String,
    ip: String,
    target_ip: String,
    /// Where the host connects, and where the mirror is exposed: the same port, as both are in this pod.
    port: i32,
    mirror: Option<Arc<Mirror>>,
    head: Option<wire::Lvol>,
    snapshots: BTreeMap<String, wire::Lvol>,
}

/// A replica of an engine.
pub(super) struct Member {
    pub address: String,
    pub mode: Mode,
}

impl Engine {
    /// An engine that has not been made yet.
    pub fn new(name: &str, volume_name: &str, frontend: Frontend, spec_bytes: u64) -> Self {
        Self {
            name: name.to_owned(),
            volume_name: volume_name.to_owned(),
            spec_bytes,
            state: spdk_state::PENDING,
            error: String::new(),
            frontend,
            replicas: BTreeMap::new(),
            endpoint: String::new(),
            ip: String::new(),
            target_ip: String::new(),
            port: 0,
            mirror: None,
            head: None,
            snapshots: BTreeMap::new(),
        }
    }

    /// Whether it has been made, and the host is connected to it.
    pub fn is_made(&self) -> bool {
        self.port != 0
    }

    fn fail(&mut self, error: &str) {
        self.state = state::ERROR;
        self.error = error.to_owned();
    }

    /// Connects the replicas and exposes the mirror. What goes wrong puts it in error, and the answer says so.
    pub async fn create(&mut self, service: &Service, request: &wire::EngineCreateRequest) -> Result<(), Status> {
        if self.state != spdk_state::PENDING {
            return Err(plain(format!("invalid state {} for engine {} creation", self.state, self.name)));
        }
        match self.start(service, request).await {
            Ok(()) => {
                self.state = state::RUNNING;
                self.error.clear();
            }
            Err(error) => self.fail(&error),
        }
        Ok(())
    }

    async fn start(&mut self, service: &Service, request: &wire::EngineCreateRequest) -> Result<(), String> {
        let here = host::net::local_ip();
        let (initiator, target) = (host_of(&request.initiator_address), host_of(&request.target_address));
        let both_here = [&initiator, &target].into_iter().all(|ip| **ip == here.to_string());
        if !both_here {
            return Err(format!(
                "invalid initiator and target addresses for engine {} creation with initiator address {initiator} and target address {target}",
                self.name
            ));
        }
        (self.ip, self.target_ip) = (initiator, target);
        let mut addresses = request.replica_address_map.clone();
        if request.salvage_requested {
            addresses = salvage_candidates(addresses).await?;
        }
        self.connect_replicas(addresses).await?;
        self.update_from_replicas().await;
        self.expose(service, request.port_count, here).await
    }

    async fn connect_replicas(&mut self, addresses: BTreeMap<String, String>) -> Result<(), String> {
        let mut volumes = Vec::new();
        for (name, address) in addresses {
            let connected = connect(&name, &address).await;
            let mode = if connected.is_ok() { Mode::Rw } else { Mode::Err };
            volumes.extend(connected.ok().map(|volume| (name.clone(), Arc::new(volume))));
            self.replicas.insert(name, Member { address, mode });
        }
        if volumes.is_empty() {
            return Err(format!("failed to create raid bdev {}: no base bdevs", self.name));
        }
        self.mirror = Some(Arc::new(Mirror::new(volumes)));
        Ok(())
    }

    async fn expose(&mut self, service: &Service, port_count: i32, here: IpAddr) -> Result<(), String> {
        let Some(mirror) = self.mirror.clone().filter(|_| self.frontend != Frontend::None) else { return Ok(()) };
        if self.frontend == Frontend::Ublk {
            self.endpoint = self.frontend.endpoint(&self.volume_name, "", "", 0);
            return Ok(());
        }
        let (port, _) = lock(service.ports()).take(port_count).map_err(|error| error.to_string())?;
        self.port = port;
        let name = qualified_name(&self.name);
        let address = SocketAddr::new(here, u16::try_from(port).map_err(|error| error.to_string())?);
        service.target().expose(mirror, &name, address).await.map_err(|error| error.to_string())?;
        self.endpoint = self.frontend.endpoint(&self.volume_name, &name, &self.target_ip, port);
        Ok(())
    }

    /// Takes everything down.
    pub async fn delete(&mut self, service: &Service) -> Result<(), String> {
        service.target().stop_exposing(&qualified_name(&self.name)).await;
        self.endpoint.clear();
        if self.port != 0 {
            lock(service.ports()).give_back(self.port, self.port).map_err(|error| error.to_string())?;
            self.port = 0;
        }
        self.mirror = None;
        self.replicas.clear();
        if self.state == state::RUNNING {
            self.state = spdk_state::TERMINATING;
        }
        Ok(())
    }

    /// Looks at its replicas; true if something that watchers are to know has changed.
    pub async fn validate(&mut self, service: &Service) -> bool {
        if self.state != state::RUNNING {
            return false;
        }
        let before: Vec<Mode> = self.replicas.values().map(|member| member.mode).collect();
        let has_port = service.target().exposed_port(&qualified_name(&self.name)).await.map_or(0, i32::from);
        if has_port != self.port {
            self.fail(&format!("cannot find the NVMf subsystem for engine {}", self.name));
            return true;
        }
        let Some(mirror) = self.mirror.clone() else {
            self.fail(&format!("cannot find a raid bdev for engine {}", self.name));
            return true;
        };
        for (name, member) in &mut self.replicas {
            if member.mode != Mode::Err && !mirror.has(name, self.spec_bytes) {
                member.mode = Mode::Err;
            }
        }
        self.error.clear();
        if !self.replicas.values().any(|member| member.mode == Mode::Rw) {
            self.state = state::ERROR;
        }
        self.update_from_replicas().await;
        let after: Vec<Mode> = self.replicas.values().map(|member| member.mode).collect();
        before != after || self.state == state::ERROR
    }

    /// Takes snapshots and head from the replica whose ancestor is the oldest; a replica that cannot be asked is in mode ERR.
    async fn update_from_replicas(&mut self) {
        let mut answers = Vec::new();
        for (name, member) in &mut self.replicas {
            if member.mode != Mode::Rw {
                continue;
            }
            match replica_at(&member.address, name).await {
                Ok(replica) => answers.push(replica),
                Err(_) => member.mode = Mode::Err,
            }
        }
        let has_snapshots = answers.iter().any(|replica| !replica.snapshots.is_empty());
        let ancestor = |replica: &wire::Replica| match has_snapshots {
            true => replica.snapshots.values().find(|snapshot| snapshot.parent.is_empty()).cloned(),
            false => replica.head.clone(),
        };
        let dated = answers.into_iter().filter_map(|replica| {
            let created: jiff::Timestamp = ancestor(&replica)?.creation_time.parse().ok()?;
            Some((created, replica))
        });
        if let Some((_, oldest)) = dated.min_by_key(|(created, _)| *created) {
            (self.head, self.snapshots) = (oldest.head, oldest.snapshots);
        }
    }

    // ---- replicas

    /// Takes a replica out of the mirror.
    pub async fn remove_replica(&mut self, name: &str, address: &str) -> Result<(), String> {
        let by_address =
            || self.replicas.iter().find(|(_, member)| member.address == address).map(|(name, _)| name.clone());
        let name = match name {
            "" => by_address(),
            name => Some(name.to_owned()),
        };
        let engine = &self.name;
        let name = name.ok_or_else(|| {
            format!("cannot find replica name with address {address} for engine {engine} replica delete")
        })?;
        let member = self.replicas.get(&name).ok_or_else(|| {
            format!("cannot find replica {name} from the replica status map for engine {engine} replica delete")
        })?;
        if !address.is_empty() && member.address != address {
            let recorded = &member.address;
            return Err(format!(
                "replica {name} recorded address {recorded} does not match the input address {address} for engine {engine} replica delete"
            ));
        }
        if let Some(mirror) = &self.mirror {
            mirror.remove(&name);
        }
        self.replicas.remove(&name);
        Ok(())
    }

    /// Its replicas.
    pub fn members(&self) -> &BTreeMap<String, Member> {
        &self.replicas
    }

    /// Marks a replica as failed.
    pub fn fail_replica(&mut self, name: &str) {
        if let Some(member) = self.replicas.get_mut(name) {
            member.mode = Mode::Err;
        }
        if let Some(mirror) = &self.mirror {
            mirror.remove(name);
        }
    }

    /// Connects the replicas anew after their volumes were replaced.
    pub async fn reconnect(&mut self) {
        let Some(mirror) = &self.mirror else { return };
        for (name, member) in self.replicas.iter_mut().filter(|(_, member)| member.mode == Mode::Rw) {
            match connect(name, &member.address).await {
                Ok(volume) => mirror.replace(name, Arc::new(volume)),
                Err(_) => {
                    member.mode = Mode::Err;
                    mirror.remove(name);
                }
            }
        }
    }

    /// Learns what snapshots there are now.
    pub async fn refresh(&mut self) {
        self.update_from_replicas().await;
    }

    /// A snapshot, by name.
    pub fn snapshot(&self, name: &str) -> Option<&wire::Lvol> {
        self.snapshots.get(name)
    }

    /// Refuses to delete a snapshot that has several children, or is the newest data's parent.
    pub fn refuse_deletion(&self, name: &str) -> Result<(), String> {
        let engine = &self.name;
        let snapshot = self.snapshot(name);
        let snapshot = snapshot
            .ok_or_else(|| format!("engine {engine} does not contain snapshot {name} during snapshot deletion"))?;
        if snapshot.children.len() > 1 {
            let children = &snapshot.children;
            return Err(format!(
                "engine {engine} cannot delete snapshot {name} since it contains multiple children {children:?}"
            ));
        }
        if snapshot.children.contains_key(VOLUME_HEAD) {
            return Err(format!("engine {engine} cannot delete snapshot {name} since it is the parent of volume head"));
        }
        Ok(())
    }

    /// The engine as an answer.
    pub fn to_wire(&self) -> wire::Engine {
        wire::Engine {
            name: self.name.clone(),
            spec_size: self.spec_bytes,
            ip: self.ip.clone(),
            port: self.port,
            replica_address_map: self
                .replicas
                .iter()
                .map(|(name, member)| (name.clone(), member.address.clone()))
                .collect(),
            replica_mode_map: self.replicas.iter().map(|(name, member)| (name.clone(), member.mode.into())).collect(),
            head: self.head.clone(),
            snapshots: self.snapshots.clone(),
            frontend: self.frontend.name().to_owned(),
            endpoint: self.endpoint.clone(),
            state: self.state.to_owned(),
            error_msg: self.error.clone(),
            target_ip: self.target_ip.clone(),
            target_port: self.port,
            ..wire::Engine::default()
        }
    }
}

/// The host of `host:port`, or of what has no port.
fn host_of(address: &str) -> String {
    address.rsplit_once(':').map_or(address, |(host, _)| host).to_owned()
}

async fn connect(name: &str, address: &str) -> Result<RemoteVolume, String> {
    let address: SocketAddr = address.parse().map_err(|error| format!("{address}: {error}"))?;
    let volume = RemoteVolume::connect(address).await.map_err(|error| error.to_string())?;
    match volume.name() == qualified_name(name) {
        true => Ok(volume),
        false => Err(format!("found {} at {address}", volume.name())),
    }
}

/// What a replica's own service says of it.
async fn replica_at(address: &str, name: &str) -> Result<wire::Replica, Status> {
    let mut client = clients::spdk_beside(address)?;
    Ok(client.replica_get(wire::ReplicaGetRequest { name: name.to_owned() }).await?.into_inner())
}

/// Of the replicas that answer, those whose newest data takes the most space (`filterSalvageCandidates`).
async fn salvage_candidates(addresses: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let mut sizes = BTreeMap::new();
    for (name, address) in &addresses {
        if let Ok(replica) = replica_at(address, name).await {
            sizes.insert(name.clone(), replica.head.map_or(0, |head| head.actual_size));
        }
    }
    let largest = sizes.values().max().copied();
    let largest = largest.ok_or("failed to find any salvage candidate with volume head size")?;
    Ok(addresses.into_iter().filter(|(name, _)| sizes.get(name) == Some(&largest)).collect())
}
