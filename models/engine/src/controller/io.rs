//! Reading, writing and unmapping, and what a failure of a replica means (control.go, replicator.go, multi_writer_at.go).

use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use host::time::Instant;
use longhorn_replica::NO_SPACE;
use longhorn_replica::data::{Failure, Processor};
use longhorn_rpc::ptypes;

use super::error::{NO_BACKEND, ReplicaFailure, is_existing_snapshot};
use super::{Controller, ControllerError, Mode, State};

/// The unit in which replicas know where data lies.
const SECTOR_BYTES: i64 = 4096;

/// What was read and written in a second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    began: Option<Instant>,
    second: u64,
    current: Totals,
    last: Totals,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    read: Direction,
    write: Direction,
}

#[derive(Clone, Copy, Debug, Default)]
struct Direction {
    bytes: u64,
    count: u64,
    latency_ns: u64,
}

impl Metrics {
    /// Upstream's timer turns the page every second; here whoever comes first in a new second does.
    fn turn(&mut self) {
        let second = self.began.get_or_insert_with(Instant::now).elapsed().as_secs();
        if second != self.second {
            self.last = if second == self.second + 1 { self.current } else { Totals::default() };
            self.current = Totals::default();
            self.second = second;
        }
    }
}

fn failures(failures: Vec<ReplicaFailure>) -> Result<(), ControllerError> {
    if failures.is_empty() { Ok(()) } else { Err(ControllerError::Replicas(failures)) }
}

impl Controller {
    /// Reads from one of the replicas in turn; from the next one if that fails.
    ///
    /// # Errors
    /// The range is not within the volume, or no replica could be read.
    pub async fn read(&self, offset: i64, size: u32) -> Result<Bytes, ControllerError> {
        let began = Instant::now();
        let (data, result) = {
            let state = self.0.state.read().await;
            check(&state, "Read", offset, i64::from(size))?;
            self.read_from(&state, offset, size).await
        };
        match result {
            Ok(()) => {
                self.record(true, data.len(), began);
                Ok(data)
            }
            Err(error) => self.handle(error).await.map(|()| data),
        }
    }

    async fn read_from(&self, state: &State, offset: i64, size: u32) -> (Bytes, Result<(), ControllerError>) {
        let readers = state.replicas.iter().filter(|replica| replica.mode == Mode::ReadWrite).count();
        if readers == 0 {
            return (Bytes::new(), Err(NO_BACKEND.into()));
        }
        let first = self.0.next_reader.fetch_add(1, Ordering::Relaxed).wrapping_add(1) % readers;
        let mut failed = Vec::new();
        for attempt in 0..readers {
            let nth = (first + attempt) % readers;
            let mut readers = state.replicas.iter().filter(|replica| replica.mode == Mode::ReadWrite);
            let Some(replica) = readers.nth(nth) else { continue };
            let Some(backend) = &replica.backend else { continue };
            match backend.data.read(offset, size).await {
                Ok(data) => return (data, failures(failed)),
                Err(error) => {
                    failed.push(ReplicaFailure { address: replica.address.clone(), text: error.to_string() });
                }
            }
        }
        (Bytes::from(vec![0; size as usize]), failures(failed))
    }

    /// Writes to all replicas, and waits for all.
    ///
    /// # Errors
    /// The range is not within the volume, all disks are full, or no replica is left that has all data.
    pub async fn write(&self, offset: i64, data: Bytes) -> Result<u32, ControllerError> {
        let (began, length) = (Instant::now(), data.len());
        let result = {
            let state = self.0.state.read().await;
            check(&state, "Write", offset, length as i64)?;
            if state.replicas.iter().any(|replica| replica.mode == Mode::WriteOnly) {
                self.write_whole_sectors(&state, offset, data).await
            } else {
                write_to_all(&state, offset, data).await
            }
        };
        match result {
            Ok(()) => self.record(false, length, began),
            Err(error) => self.handle(error).await?,
        }
        Ok(length as u32)
    }

    /// A replica that is being rebuilt has nothing to complete a sector with: that is done here, from one that has.
    async fn write_whole_sectors(&self, state: &State, offset: i64, data: Bytes) -> Result<(), ControllerError> {
        let end = offset + data.len() as i64;
        if data.is_empty() || (offset % SECTOR_BYTES == 0 && end % SECTOR_BYTES == 0) {
            return write_to_all(state, offset, data).await;
        }
        let first = offset / SECTOR_BYTES * SECTOR_BYTES;
        let last = (end + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
        let (sectors, read) = self.read_from(state, first, (last - first) as u32).await;
        read.map_err(|error| format!("failed to retrieve aligned sectors from RW replicas: {error}"))?;
        let mut sectors = BytesMut::from(sectors);
        let cut = (offset - first) as usize;
        sectors[cut..cut + data.len()].copy_from_slice(&data);
        write_to_all(state, first, sectors.freeze()).await
    }

    /// Frees a range on all replicas; returns how many bytes that gave. Nothing is freed during a rebuild.
    ///
    /// # Errors
    /// The range is not within the volume, the volume is being expanded, or no good replica is left.
    pub async fn unmap(&self, offset: i64, size: u32) -> Result<u32, ControllerError> {
        let result = {
            let state = self.0.state.write().await;
            check(&state, "unmap", offset, i64::from(size))?;
            if state.replicas.iter().any(|replica| replica.mode == Mode::WriteOnly) {
                tracing::warn!(offset, size, "cannot unmap while rebuilding is in progress");
                return Ok(0);
            }
            if state.is_expanding {
                let text = format!("cannot unmap {size} bytes at offset {offset} while expansion in is progress");
                return Err(text.into());
            }
            unmap_on_all(&state, offset, size).await
        };
        match result {
            Ok(freed) => Ok(freed),
            Err(error) => self.handle(error).await.map(|()| 0),
        }
    }

    /// Decides what failures of replicas mean, once the state can be had alone.
    pub(crate) async fn handle(&self, error: ControllerError) -> Result<(), ControllerError> {
        let mut state = self.0.state.write().await;
        self.handle_in(&mut state, error)
    }

    /// Replicas that failed are used no more. As long as a good one is left, the operation was good.
    pub(crate) fn handle_in(&self, state: &mut State, error: ControllerError) -> Result<(), ControllerError> {
        let ControllerError::Replicas(failures) = &error else { return Err(error) };
        let mut snapshot_exists = false;
        let mut full: Vec<&str> = Vec::new();
        for failure in failures {
            if is_existing_snapshot(&failure.text) {
                snapshot_exists = true;
            } else if self.tolerates_full_disks() && failure.text.contains(NO_SPACE) {
                full.push(&failure.address);
            } else {
                tracing::error!(address = failure.address, error = failure.text, "a replica failed");
                state.set_mode(&failure.address, Mode::Error);
            }
        }
        if !full.is_empty() && state.all_full(&full) {
            return Err(ControllerError::NoSpace);
        }
        let good_left = state.replicas.iter().any(|replica| replica.mode == Mode::ReadWrite);
        if good_left && !snapshot_exists { Ok(()) } else { Err(error) }
    }

    fn record(&self, is_read: bool, bytes: usize, began: Instant) {
        let mut metrics = self.0.metrics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        metrics.turn();
        let totals = if is_read { &mut metrics.current.read } else { &mut metrics.current.write };
        totals.bytes += bytes as u64;
        totals.count += 1;
        totals.latency_ns += began.elapsed().as_nanos() as u64;
    }

    /// What was read and written in the last whole second.
    pub(crate) fn metrics(&self) -> ptypes::Metrics {
        let mut metrics = self.0.metrics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        metrics.turn();
        let Totals { read, write } = metrics.last;
        ptypes::Metrics {
            read_throughput: read.bytes,
            write_throughput: write.bytes,
            read_latency: read.latency_ns.checked_div(read.count).unwrap_or_default(),
            write_latency: write.latency_ns.checked_div(write.count).unwrap_or_default(),
            read_iops: read.count,
            write_iops: write.count,
        }
    }
}

fn check(state: &State, what: &str, offset: i64, size: i64) -> Result<(), ControllerError> {
    if offset < 0 || offset.checked_add(size).is_none_or(|end| end > state.size) {
        let volume = state.size;
        return Err(format!("EOF: {what} of {size} bytes at offset {offset} is beyond volume size {volume}").into());
    }
    Ok(())
}

async fn write_to_all(state: &State, offset: i64, data: Bytes) -> Result<(), ControllerError> {
    if !state.replicas.iter().any(|replica| replica.mode == Mode::ReadWrite) {
        return Err(NO_BACKEND.into());
    }
    let mut answers = Vec::with_capacity(state.replicas.len());
    for replica in state.replicas.iter().filter(|replica| replica.mode != Mode::Error) {
        if let Some(backend) = &replica.backend {
            answers.push((replica, backend.data.begin_write(offset, data.clone())));
        }
    }
    let mut failed = Vec::new();
    for (replica, answer) in answers {
        let written = match answer {
            Ok(answer) => answer.wait().await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            failed.push(ReplicaFailure { address: replica.address.clone(), text: error.to_string() });
        }
    }
    failures(failed)
}

async fn unmap_on_all(state: &State, offset: i64, size: u32) -> Result<u32, ControllerError> {
    if !state.replicas.iter().any(|replica| replica.mode == Mode::ReadWrite) {
        return Err(NO_BACKEND.into());
    }
    let used = state.replicas.iter().filter(|replica| replica.mode != Mode::Error);
    let unmaps = used
        .filter_map(|replica| replica.backend.as_ref())
        .map(|backend| async move { (backend.address.clone(), backend.data.unmap(offset, size).await) });
    let mut freed = 0;
    let mut failed = Vec::new();
    for (address, result) in futures_util::future::join_all(unmaps).await {
        match result {
            Ok(bytes) => freed = bytes,
            Err(error) => failed.push(ReplicaFailure { address, text: error.to_string() }),
        }
    }
    failures(failed).map(|()| freed)
}

/// What clients of the frontend see.
impl Processor for Controller {
    async fn read(&self, offset: i64, size: u32) -> Result<Bytes, Failure> {
        Controller::read(self, offset, size).await.map_err(failure)
    }

    async fn write(&self, offset: i64, data: Bytes) -> Result<u32, Failure> {
        Controller::write(self, offset, data).await.map_err(failure)
    }

    async fn unmap(&self, offset: i64, size: u32) -> Result<u32, Failure> {
        Controller::unmap(self, offset, size).await.map_err(failure)
    }

    async fn ping(&self) -> Result<(), Failure> {
        Ok(())
    }
}

fn failure(error: ControllerError) -> Failure {
    match error {
        ControllerError::NoSpace => Failure::NoSpace,
        other => Failure::Error(other.to_string()),
    }
}
