//! A replica of the v2 data engine: a volume of the target and its snapshots, exposed while it runs (`pkg/spdk/replica.go`).
//!
//! The volume has the replica's name, a snapshot that name, `-snap-` and its own. What is known of them is read from the target when the replica
//! is found or made, and compared with it from then on; a difference that nobody asked for puts the replica in error.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use longhorn_rpc::spdkrpc as wire;
use tonic::Status;

use super::lvstore::{LvolInfo, TargetError};
use super::target::{LocalVolume, Target};
use super::{VOLUME_HEAD, state as spdk_state};
use crate::ports::Ports;
use crate::process::state;
use crate::status::plain;

/// Sizes are whole mebibytes.
const MIB: u64 = 1 << 20;

/// A replica that the service lists.
#[derive(Debug)]
pub(super) struct Replica {
    pub name: String,
    pub lvs_name: String,
    pub lvs_uuid: String,
    pub spec_bytes: u64,
    pub state: &'static str,
    pub error: String,
    ip: String,
    /// First and last; zero while it is not running.
    pub ports: (i32, i32),
    exposed: bool,
    /// The volume; none as long as it has not been looked at.
    pub head: Option<LvolInfo>,
    /// Snapshots by volume name.
    pub snapshots: BTreeMap<String, LvolInfo>,
    /// Its memory is to be made again from the target: it was in error when it was stopped.
    reconstruct: bool,
}

/// The name that a volume is exposed under.
pub(super) fn qualified_name(name: &str) -> String {
    format!("nqn.2023-01.io.longhorn.spdk:{name}")
}

/// The volume name of a snapshot.
pub(super) fn snapshot_lvol(replica: &str, snapshot: &str) -> String {
    format!("{replica}-snap-{snapshot}")
}

/// The snapshot that a volume name of a replica stands for.
fn snapshot_name<'a>(replica: &str, lvol: &'a str) -> &'a str {
    lvol.strip_prefix(&snapshot_lvol(replica, "")).unwrap_or(lvol)
}

fn is_snapshot_of(replica: &str, lvol: &str) -> bool {
    lvol.starts_with(&snapshot_lvol(replica, ""))
}

/// Whether a volume belongs to a replica, by its name.
pub(super) fn belongs_to(replica: &str, lvol: &str) -> bool {
    lvol.strip_prefix(replica).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

impl Replica {
    /// A replica that nobody has looked at yet.
    pub fn new(name: &str, lvs_name: &str, lvs_uuid: &str, bytes: u64) -> Self {
        Self {
            name: name.to_owned(),
            lvs_name: lvs_name.to_owned(),
            lvs_uuid: lvs_uuid.to_owned(),
            spec_bytes: bytes.next_multiple_of(MIB),
            state: spdk_state::PENDING,
            error: String::new(),
            ip: String::new(),
            ports: (0, 0),
            exposed: false,
            head: None,
            snapshots: BTreeMap::new(),
            reconstruct: false,
        }
    }

    fn fail(&mut self, error: &str) {
        self.state = state::ERROR;
        self.error = error.to_owned();
    }

    /// Compares it with the target's volumes. One that is looked at for the first time learns what it has, and is stopped.
    pub async fn sync(&mut self, target: &Target) {
        let lvols = target.lvols().await;
        let result = match self.state {
            spdk_state::PENDING => self.construct(&lvols),
            state::RUNNING => self.validate(&lvols, target).await,
            _ => return,
        };
        match result {
            Ok(()) if self.state == state::ERROR => {}
            Ok(()) => self.error.clear(),
            Err(error) => self.fail(&error),
        }
    }

    /// Learns once more what the target has of it, after a change that was asked for.
    pub(super) async fn reload(&mut self, target: &Target) -> Result<(), String> {
        self.construct(&target.lvols().await)
    }

    /// Learns what the target has of it.
    fn construct(&mut self, lvols: &BTreeMap<String, LvolInfo>) -> Result<(), String> {
        let head = self.valid_head(lvols)?.clone();
        self.snapshots = self.snapshots_in(lvols)?;
        self.head = Some(head);
        self.reconstruct = false;
        if self.state == spdk_state::PENDING {
            self.state = state::STOPPED;
        }
        Ok(())
    }

    fn valid_head<'a>(&self, lvols: &'a BTreeMap<String, LvolInfo>) -> Result<&'a LvolInfo, String> {
        let name = &self.name;
        let head = lvols.get(name).ok_or_else(|| format!("found nil head bdev lvol for replica {name}"))?;
        if head.snapshot {
            return Err(format!("found the head bdev lvol is a snapshot lvol for replica {name}"));
        }
        if head.lvs_uuid != self.lvs_uuid {
            let (found, recorded) = (&head.lvs_uuid, &self.lvs_uuid);
            return Err(format!(
                "found mismatching lvol LvsUUID {found} with recorded LvsUUID {recorded} for replica {name}"
            ));
        }
        if self.spec_bytes != 0 && head.bytes != self.spec_bytes {
            let (found, recorded) = (head.bytes, self.spec_bytes);
            return Err(format!(
                "found mismatching lvol spec size {found} with recorded spec size {recorded} for replica {name}"
            ));
        }
        Ok(head)
    }

    /// The tree of its snapshots, from the root.
    fn snapshots_in(&self, lvols: &BTreeMap<String, LvolInfo>) -> Result<BTreeMap<String, LvolInfo>, String> {
        let own = |lvol: &&LvolInfo| lvol.name == self.name || is_snapshot_of(&self.name, &lvol.name);
        let root = lvols.values().filter(own).find(|lvol| !is_snapshot_of(&self.name, &lvol.parent));
        let Some(root) = root else {
            return Err("cannot find the root of the replica during snapshot lvol map construction".to_owned());
        };
        let (mut found, mut queue) = (BTreeMap::new(), vec![root]);
        while let Some(lvol) = queue.pop() {
            if !is_snapshot_of(&self.name, &lvol.name) {
                continue;
            }
            let children = lvol.clones.iter().filter(|clone| belongs_to(&self.name, clone));
            queue.extend(children.filter_map(|child| lvols.get(child)));
            found.insert(lvol.name.clone(), lvol.clone());
        }
        Ok(found)
    }

    async fn validate(&mut self, lvols: &BTreeMap<String, LvolInfo>, target: &Target) -> Result<(), String> {
        let head = self.valid_head(lvols)?.clone();
        let snapshots = self.snapshots_in(lvols)?;
        if snapshots.len() != self.snapshots.len() {
            let (recorded, found) = (self.snapshots.len(), snapshots.len());
            return Err(format!(
                "replica current active snapshot lvol map length {recorded} is not the same as the latest snapshot lvol map length {found}"
            ));
        }
        for (name, recorded) in &self.snapshots {
            let found = snapshots.get(name).ok_or("cannot find the corresponding cur lvol")?;
            same_lvol(recorded, found)?;
        }
        let recorded = self.head.as_ref().ok_or("cannot find the corresponding prev lvol")?;
        same_lvol(recorded, &head)?;
        (self.head, self.snapshots) = (Some(head), snapshots);
        let exposed = target.exposed_port(&qualified_name(&self.name)).await.map(i32::from);
        let expected = self.exposed.then_some(self.ports.0);
        if exposed != expected {
            return Err(format!(
                "found mismatching between the actual exposed port {exposed:?} and the recorded port {expected:?} for replica {}",
                self.name
            ));
        }
        Ok(())
    }

    /// Makes its volume ready, takes ports and exposes it. What goes wrong puts it in error, and the answer says so.
    pub async fn create(
        &mut self,
        target: &Arc<Target>,
        port_count: i32,
        ports: &std::sync::Mutex<Ports>,
    ) -> Result<(), Status> {
        match self.state {
            state::RUNNING => {
                return Err(Status::already_exists(format!("replica {} already exists and running", self.name)));
            }
            spdk_state::PENDING | state::STOPPED => {}
            other => return Err(plain(format!("invalid state {other} for replica {} creation", self.name))),
        }
        match self.start(target, port_count, ports).await {
            Ok(()) => self.error.clear(),
            Err(error) => self.fail(&error),
        }
        Ok(())
    }

    async fn start(
        &mut self,
        target: &Arc<Target>,
        port_count: i32,
        ports: &std::sync::Mutex<Ports>,
    ) -> Result<(), String> {
        self.check_lvstore(target).await?;
        self.prepare_head(target).await.map_err(|error| error.to_string())?;
        if self.state == state::STOPPED || self.reconstruct {
            self.construct(&target.lvols().await)?;
        }
        let head = target.lvol(&self.lvs_uuid, &self.name).await.map_err(|error| error.to_string())?;
        let ip = host::net::local_ip();
        self.ip = ip.to_string();
        self.ports = lock(ports).take(port_count).map_err(|error| error.to_string())?;
        self.expose(target, &head, ip).await?;
        self.head = Some(head);
        self.exposed = true;
        self.state = state::RUNNING;
        Ok(())
    }

    async fn check_lvstore(&mut self, target: &Target) -> Result<(), String> {
        let found = match self.lvs_uuid.is_empty() {
            false => target.lvstore(&self.lvs_uuid).await,
            true => target.lvstore_named(&self.lvs_name).await,
        };
        let lvstore = found.map_err(|error| error.to_string())?;
        if self.lvs_name.is_empty() {
            self.lvs_name.clone_from(&lvstore.name);
        }
        if self.lvs_uuid.is_empty() {
            self.lvs_uuid.clone_from(&lvstore.uuid);
        }
        if (&self.lvs_name, &self.lvs_uuid) != (&lvstore.name, &lvstore.uuid) {
            return Err(format!(
                "found mismatching between the actual lvstore name {} with UUID {} and the recorded lvstore name {} with UUID {} during replica {} creation",
                lvstore.name, lvstore.uuid, self.lvs_name, self.lvs_uuid, self.name
            ));
        }
        Ok(())
    }

    /// Sees to it that there is a volume to expose: the one that is there, a clone of the newest snapshot, or a new one.
    async fn prepare_head(&mut self, target: &Target) -> Result<(), TargetError> {
        let lvols = target.lvols().await;
        if self.valid_head(&lvols).is_ok() {
            return Ok(());
        }
        if let Ok(invalid) = target.lvol(&self.lvs_uuid, &self.name).await {
            target.delete_lvol(&invalid.uuid).await?;
        }
        match self.newest_snapshot() {
            Some(snapshot) => target.clone_lvol(&snapshot.uuid, &self.name).await,
            None => target.create_lvol(&self.lvs_uuid, &self.name, self.spec_bytes).await,
        }
    }

    fn newest_snapshot(&self) -> Option<&LvolInfo> {
        self.head.as_ref().and_then(|head| self.snapshots.get(&head.parent))
    }

    /// Exposes the volume at its first port, in place of what may be exposed under its name.
    pub(super) async fn expose(&mut self, target: &Arc<Target>, head: &LvolInfo, ip: IpAddr) -> Result<(), String> {
        let name = qualified_name(&self.name);
        target.stop_exposing(&name).await;
        let volume = LocalVolume { target: target.clone(), lvol: head.uuid.clone(), bytes: head.bytes };
        let port = u16::try_from(self.ports.0).map_err(|error| error.to_string())?;
        let exposed = target.expose(Arc::new(volume), &name, SocketAddr::new(ip, port)).await;
        exposed.map_err(|error| error.to_string())
    }

    /// Whether it is exposed.
    pub(super) fn is_exposed(&self) -> bool {
        self.exposed
    }

    /// Stops it; with `clean_up`, deletes its volumes too. What goes wrong puts it in error.
    pub async fn delete(
        &mut self,
        target: &Target,
        clean_up: bool,
        ports: &std::sync::Mutex<Ports>,
    ) -> Result<(), Status> {
        let was_in_error = self.state == state::ERROR;
        let result = self.stop(target, clean_up, ports).await;
        match &result {
            Ok(()) if clean_up => self.state = spdk_state::TERMINATING,
            Ok(()) => self.state = state::STOPPED,
            Err(error) if !was_in_error => self.fail(error),
            Err(_) => {}
        }
        if self.state != state::ERROR {
            self.error.clear();
        }
        self.reconstruct |= was_in_error;
        result.map_err(plain)
    }

    async fn stop(&mut self, target: &Target, clean_up: bool, ports: &std::sync::Mutex<Ports>) -> Result<(), String> {
        if self.exposed {
            target.stop_exposing(&qualified_name(&self.name)).await;
            self.exposed = false;
        }
        if self.ports.0 != 0 {
            lock(ports).give_back(self.ports.0, self.ports.1).map_err(|error| error.to_string())?;
            self.ports = (0, 0);
        }
        if !clean_up {
            return Ok(());
        }
        self.delete_lvols(target).await.map_err(|error| error.to_string())
    }

    /// Deletes its volumes, children before their parents.
    async fn delete_lvols(&self, target: &Target) -> Result<(), TargetError> {
        loop {
            let lvols = target.lvols().await;
            let own: Vec<_> = lvols
                .values()
                .filter(|lvol| lvol.lvs_uuid == self.lvs_uuid && belongs_to(&self.name, &lvol.name))
                .collect();
            let names: BTreeSet<&String> = own.iter().map(|lvol| &lvol.name).collect();
            let Some(leaf) = own.iter().find(|lvol| !lvol.clones.iter().any(|clone| names.contains(clone))) else {
                return Ok(());
            };
            target.delete_lvol(&leaf.uuid).await?;
        }
    }

    /// The replica as an answer.
    pub fn to_wire(&self) -> wire::Replica {
        wire::Replica {
            name: self.name.clone(),
            lvs_name: self.lvs_name.clone(),
            lvs_uuid: self.lvs_uuid.clone(),
            spec_size: self.spec_bytes,
            ip: self.ip.clone(),
            port_start: self.ports.0,
            port_end: self.ports.1,
            head: self.head.as_ref().map(|head| self.lvol_to_wire(head)),
            snapshots: self
                .snapshots
                .iter()
                .map(|(name, lvol)| (snapshot_name(&self.name, name).to_owned(), self.lvol_to_wire(lvol)))
                .collect(),
            state: self.state.to_owned(),
            error_msg: self.error.clone(),
            ..wire::Replica::default()
        }
    }

    fn lvol_to_wire(&self, lvol: &LvolInfo) -> wire::Lvol {
        let name_of = |lvol: &str| match lvol == self.name {
            true => VOLUME_HEAD.to_owned(),
            false => snapshot_name(&self.name, lvol).to_owned(),
        };
        let attribute = |name: &str| lvol.attributes.get(name).cloned().unwrap_or_default();
        let children = lvol.clones.iter().filter(|clone| belongs_to(&self.name, clone));
        wire::Lvol {
            name: name_of(&lvol.name),
            uuid: lvol.uuid.clone(),
            spec_size: lvol.bytes,
            actual_size: lvol.allocated_bytes,
            parent: snapshot_name(&self.name, &lvol.parent).to_owned(),
            children: children.map(|child| (name_of(child), true)).collect(),
            creation_time: lvol.created.clone(),
            user_created: attribute(USER_CREATED) == "true",
            snapshot_timestamp: attribute(SNAPSHOT_TIMESTAMP),
            snapshot_checksum: attribute(SNAPSHOT_CHECKSUM),
        }
    }
}

/// Attributes of snapshots (go-spdk-helper `spdk/client`).
pub(super) const USER_CREATED: &str = "user_created";
pub(super) const SNAPSHOT_TIMESTAMP: &str = "snapshot_timestamp";
const SNAPSHOT_CHECKSUM: &str = "snapshot_checksum";

fn same_lvol(recorded: &LvolInfo, found: &LvolInfo) -> Result<(), String> {
    let essence =
        |lvol: &LvolInfo| (lvol.name.clone(), lvol.uuid.clone(), lvol.bytes, lvol.parent.clone(), lvol.clones.clone());
    if essence(recorded) == essence(found) {
        return Ok(());
    }
    Err(format!("found mismatching lvol {found:?} with recorded prev lvol {recorded:?}"))
}

pub(super) fn lock(ports: &std::sync::Mutex<Ports>) -> std::sync::MutexGuard<'_, Ports> {
    ports.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
