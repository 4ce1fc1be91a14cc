//! What an engine is to the host: a mirror over its replicas' volumes, and the name under which the host finds it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fabric::{Exported, Operation, RemoteVolume};

/// How the host reaches an engine (`pkg/types/types.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frontend {
    /// Not at all.
    None,
    /// As a block device, over the network.
    BlockDevice,
    /// Over the network.
    Fabric,
    /// As a block device of the pod's own.
    Ublk,
}

impl Frontend {
    /// The frontend of this name.
    pub fn named(name: &str) -> Option<Frontend> {
        Some(match name {
            "" => Frontend::None,
            "spdk-tcp-blockdev" => Frontend::BlockDevice,
            "spdk-tcp-nvmf" => Frontend::Fabric,
            "ublk" => Frontend::Ublk,
            _ => return None,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Frontend::None => "",
            Frontend::BlockDevice => "spdk-tcp-blockdev",
            Frontend::Fabric => "spdk-tcp-nvmf",
            Frontend::Ublk => "ublk",
        }
    }

    /// Where the host finds the volume.
    pub fn endpoint(self, volume: &str, name: &str, ip: &str, port: i32) -> String {
        match self {
            Frontend::None => String::new(),
            Frontend::BlockDevice | Frontend::Ublk => format!("/dev/longhorn/{volume}"),
            Frontend::Fabric => format!("nvmf://{ip}:{port}/{name}"),
        }
    }
}

/// Replicas' volumes with one content. One that fails a write is out for good.
pub(super) struct Mirror {
    state: Mutex<State>,
}

struct State {
    volumes: Vec<(String, Arc<RemoteVolume>)>,
    /// Which one is read from next.
    turn: usize,
}

impl Mirror {
    /// A mirror over these.
    pub fn new(volumes: Vec<(String, Arc<RemoteVolume>)>) -> Self {
        Self { state: Mutex::new(State { volumes, turn: 0 }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a replica is in it, has not been given up, and has this size.
    pub fn has(&self, name: &str, bytes: u64) -> bool {
        let is_it = |(member, volume): &(String, Arc<RemoteVolume>)| {
            member == name && volume.is_there() && volume.bytes() == bytes
        };
        self.state().volumes.iter().any(is_it)
    }

    /// Takes a replica out.
    pub fn remove(&self, name: &str) {
        self.state().volumes.retain(|(member, _)| member != name);
    }

    /// Puts another connection in a replica's place.
    pub fn replace(&self, name: &str, volume: Arc<RemoteVolume>) {
        self.remove(name);
        self.state().volumes.push((name.to_owned(), volume));
    }

    async fn read(&self, operation: Operation) -> io::Result<Vec<u8>> {
        let (volumes, turn) = {
            let mut state = self.state();
            state.turn = state.turn.wrapping_add(1);
            (state.volumes.clone(), state.turn)
        };
        let mut last = io::Error::from(io::ErrorKind::NotConnected);
        for (_, volume) in volumes.iter().cycle().skip(turn % volumes.len().max(1)).take(volumes.len()) {
            match volume.run(operation.clone()).await {
                Ok(data) => return Ok(data),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn on_all(&self, operation: Operation) -> io::Result<Vec<u8>> {
        let volumes = self.state().volumes.clone();
        let all = volumes.iter().map(|(_, volume)| volume.run(operation.clone()));
        let results = futures_util::future::join_all(all).await;
        let mut outcome = Err(io::Error::from(io::ErrorKind::NotConnected));
        let some_succeeded = results.iter().any(Result::is_ok);
        for ((name, _), result) in volumes.iter().zip(results) {
            match result {
                Ok(_) => outcome = Ok(Vec::new()),
                // The last one that is left is not put out: the error is the host's to see.
                Err(_) if some_succeeded => self.remove(name),
                Err(error) if outcome.is_err() => outcome = Err(error),
                Err(_) => {}
            }
        }
        outcome
    }
}

impl Exported for Mirror {
    fn bytes(&self) -> u64 {
        self.state().volumes.iter().map(|(_, volume)| volume.bytes()).min().unwrap_or(0)
    }

    async fn run(&self, operation: Operation) -> io::Result<Vec<u8>> {
        match operation {
            Operation::KeepAlive => Ok(Vec::new()),
            Operation::Read { .. } => self.read(operation).await,
            Operation::Write { .. } | Operation::Flush => self.on_all(operation).await,
        }
    }
}
