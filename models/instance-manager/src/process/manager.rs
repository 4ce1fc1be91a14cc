//! The table of processes (`pkg/process/process_manager.go`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host::process::Signal;
use host::random::Stream;
use longhorn_api::{Build, Release};
use longhorn_rpc::process_manager as wire;
use tokio::sync::mpsc;
use tonic::Status;

use super::conditions;
use super::one::{Process, Updates};
use crate::broadcast::Broadcaster;
use crate::ports::{PortError, Ports};
use crate::status::plain;
use crate::uuid::random_uuid;

/// The process manager of a pod. Copies are the same one.
#[derive(Clone)]
pub struct Manager(Arc<Inner>);

struct Inner {
    says_uuid: bool,
    broadcaster: Broadcaster<wire::ProcessResponse>,
    table: Mutex<Table>,
}

pub(super) struct Table {
    pub processes: BTreeMap<String, Arc<Process>>,
    ports: Ports,
    random: Stream,
    /// What processes wrote that are not in the table any more, by name: their log files, which stay as long as the pod.
    logs: BTreeMap<String, Vec<u8>>,
}

impl Manager {
    /// An empty process manager over these ports.
    pub fn new(build: &Build, ports: Ports) -> Self {
        let manager = Self(Arc::new(Inner {
            // Answers say UUIDs since longhorn-instance-manager v1.9.0-rc2, which is younger than longhorn-manager 00886872c.
            says_uuid: build.release().at_least(Release::V1_9_2),
            broadcaster: Broadcaster::default(),
            table: Mutex::new(Table {
                processes: BTreeMap::new(),
                ports,
                random: host::random::stream("process-manager"),
                logs: BTreeMap::new(),
            }),
        }));
        host::spawn(conditions::check_mounts(manager.clone()));
        manager
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom a process tells that it changed: everybody who watches.
    pub(super) fn updates(&self) -> Updates {
        let manager = self.clone();
        Arc::new(move |process| manager.tell(process))
    }

    /// Tells everybody who watches how a process is; one that is not in the table is gone.
    pub(super) fn tell(&self, process: &Process) {
        let deleted = !self.table().processes.contains_key(&process.name);
        self.0.broadcaster.send(&wire::ProcessResponse { deleted, ..self.response(process) });
    }

    pub(super) fn response(&self, process: &Process) -> wire::ProcessResponse {
        process.to_response(self.0.says_uuid)
    }

    /// What changes from now on.
    pub fn watch(&self) -> mpsc::Receiver<wire::ProcessResponse> {
        self.0.broadcaster.subscribe()
    }

    /// Starts a process. One whose program cannot be started is in the table too, in error.
    ///
    /// # Errors
    /// A name that is taken; no name, no program; no ports.
    pub async fn create(&self, spec: wire::ProcessSpec) -> Result<wire::ProcessResponse, Status> {
        if spec.name.is_empty() || spec.binary.is_empty() {
            return Err(Status::invalid_argument("missing required argument"));
        }
        let process = {
            let mut table = self.table();
            if table.processes.contains_key(&spec.name) {
                return Err(Status::already_exists(format!("process {} already exists", spec.name)));
            }
            let process = table.make(spec)?;
            table.processes.insert(process.name.clone(), process.clone());
            process
        };
        self.tell(&process);
        if process.start(&self.updates()).await.is_err() {
            self.tell(&process);
        }
        Ok(self.response(&process))
    }

    /// Asks a process to stop and answers at once; it goes from the table when it has ended.
    ///
    /// # Errors
    /// No such process, or none with this UUID.
    pub fn delete(&self, name: &str, uuid: &str) -> Result<wire::ProcessResponse, Status> {
        let process = self.find(name)?;
        // Older releases' requests have no such field.
        if self.0.says_uuid && !uuid.is_empty() && process.uuid != uuid {
            return Err(Status::not_found(format!("cannot find process {name} with UUID {uuid}")));
        }
        process.stop(Signal::Interrupt, &self.updates());
        let response = wire::ProcessResponse { deleted: true, ..self.response(&process) };
        if self.table().lists(&process) {
            host::spawn(self.clone().forget_when_stopped(process));
        }
        Ok(response)
    }

    /// A process that does not end within a minute, and so is killed just then, stays until somebody deletes it again.
    async fn forget_when_stopped(self, process: Arc<Process>) {
        if !process.stops_in_time().await && !process.is_stopped() {
            return;
        }
        {
            let mut table = self.table();
            if table.lists(&process) {
                table.processes.remove(&process.name);
                table.give_back_ports(&process);
                table.logs.insert(process.name.clone(), process.log());
            }
        }
        self.tell(&process);
    }

    pub(super) fn find(&self, name: &str) -> Result<Arc<Process>, Status> {
        let found = self.table().processes.get(name).cloned();
        found.ok_or_else(|| Status::not_found(format!("cannot find process {name}")))
    }

    /// A process.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn get(&self, name: &str) -> Result<wire::ProcessResponse, Status> {
        self.find(name).map(|process| self.response(&process))
    }

    /// All processes by name.
    pub fn list(&self) -> BTreeMap<String, wire::ProcessResponse> {
        let processes: Vec<_> = self.table().processes.values().cloned().collect();
        processes.iter().map(|process| (process.name.clone(), self.response(process))).collect()
    }

    /// The lines that processes of this name wrote.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn log(&self, name: &str) -> Result<Vec<String>, Status> {
        let log = self.find(name)?.log();
        Ok(String::from_utf8_lossy(&log).lines().map(str::to_owned).collect())
    }

    /// Asks all processes to stop and waits up to a minute: what the pod does when it is told to stop.
    pub async fn shut_down(&self) {
        let names: Vec<_> = self.table().processes.keys().cloned().collect();
        for name in names {
            // It may have gone since.
            let _ = self.delete(&name, "");
        }
        for _ in 0..super::WAIT_COUNT {
            if self.table().processes.is_empty() {
                return;
            }
            host::time::sleep(super::WAIT_INTERVAL).await;
        }
    }
}

impl Table {
    /// A process of this description, with ports of its own, not yet in the table.
    pub fn make(&mut self, spec: wire::ProcessSpec) -> Result<Arc<Process>, Status> {
        let uuid = random_uuid(&mut self.random);
        if spec.port_args.len() > usize::try_from(spec.port_count).unwrap_or(0) {
            let arguments = spec.port_args.join(" ");
            return Err(plain(format!("too many port args [{arguments}] for port count {}", spec.port_count)));
        }
        let ports = self.take_ports(&spec)?;
        let log_before = match self.processes.get(&spec.name) {
            Some(earlier) => earlier.log(),
            None => self.logs.remove(&spec.name).unwrap_or_default(),
        };
        Ok(Process::new(spec, uuid, ports, log_before))
    }

    fn take_ports(&mut self, spec: &wire::ProcessSpec) -> Result<(i32, i32), Status> {
        let count = spec.port_count;
        if count == 0 {
            return Ok((0, 0));
        }
        let failed = |why: String| plain(format!("cannot allocate {count} ports for {}: {why}", spec.name));
        if count < 0 {
            return Err(failed(format!("invalid port count {count}")));
        }
        self.ports.take(count).map_err(|error: PortError| failed(format!("failed to allocate {count} ports: {error}")))
    }

    /// Whether the table has this very process under its name.
    pub fn lists(&self, process: &Arc<Process>) -> bool {
        self.processes.get(&process.name).is_some_and(|listed| listed.uuid == process.uuid)
    }

    pub fn give_back_ports(&mut self, process: &Process) {
        let given = self.ports.give_back(process.ports.0, process.ports.1);
        debug_assert!(given.is_ok(), "ports were taken from here: {given:?}");
    }
}
