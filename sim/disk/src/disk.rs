//! A disk with its file system: making one, setting faults, and what the simulator itself may do with it without time passing.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use corral_core::journal::Journal;
use corral_core::{EventQueue, Machine, MachineId, MachineState, Nanos, ProcessId, World};

use crate::block::{PAGE, PAGE_BYTES};
use crate::content::Old;
use crate::errno::{Errno, Outcome};
use crate::fault::{Defect, FaultId, FaultKind, FaultRule};
use crate::inode::{InodeNumber, Kind, Metadata, ROOT};
use crate::journal::SyncedSize;
use crate::names::DirEntry;
use crate::options::{DiskOptions, FileSystem};
use crate::path::NormalPath;
use crate::power::CutSummary;
use crate::registry::disks;
use crate::state::{Moment, Space, State};

/// A disk of a machine, with a file system on it. It outlives processes and power cuts; processes reach it through their [`crate::Mounts`].
pub struct Disk {
    pub(crate) id: u64,
    name: String,
    machine: Arc<Machine>,
    queue: Arc<EventQueue>,
    journal: Arc<Journal>,
    epoch_ns: i128,
    granularity_ns: i128,
    state: Mutex<State>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "disk {} of {}", self.name, self.machine.name)
    }
}

impl Disk {
    /// A new, empty disk of a machine. Its random numbers are split from the seed by the names of machine and disk.
    pub fn create(world: &World, machine: MachineId, name: &str, options: DiskOptions) -> Arc<Disk> {
        let machine = world.machine(machine);
        let now = world.now();
        let epoch_ns = world.true_time_ns() - i128::from(now.0);
        let granularity_ns = options.time_granularity.as_nanos().max(1) as i128;
        let wall_ns = stamp(epoch_ns, &machine, now, granularity_ns);
        let chance = world.stream(&format!("disk/{}/{name}", machine.name));
        let timing = world.stream(&format!("disk/{}/{name}/timing", machine.name));
        let state = State::new(options, Moment { kernel: now, wall_ns }, chance, timing);
        disks(world).add(|id| Disk {
            id,
            name: name.to_owned(),
            machine,
            queue: world.queue().clone(),
            journal: world.journal().clone(),
            epoch_ns,
            granularity_ns,
            state: Mutex::new(state),
        })
    }

    /// The disk of this name, if it is still there.
    pub fn find(world: &World, name: &str) -> Option<Arc<Disk>> {
        disks(world).all().into_iter().find(|disk| disk.name == name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The machine it is in.
    pub fn machine(&self) -> MachineId {
        self.machine.id
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time now.
    pub(crate) fn now(&self) -> Nanos {
        self.queue.now()
    }

    /// The kernel's view of a point in time: it does not age while its machine is frozen.
    pub(crate) fn kernel_time(&self, state: &State, at: Nanos) -> Nanos {
        state.frozen_since.unwrap_or(at) - state.frozen_for
    }

    /// The moment that an operation now has.
    pub(crate) fn moment(&self, state: &State) -> Moment {
        let now = self.now();
        let wall_ns = stamp(self.epoch_ns, &self.machine, now, self.granularity_ns);
        Moment { kernel: self.kernel_time(state, now), wall_ns }
    }

    /// Mixes a file operation into the run's digest.
    pub(crate) fn fold(&self, operation: u64, subject: u64, detail: u64, outcome: Result<u64, Errno>) {
        let outcome = outcome.unwrap_or_else(|errno| u64::MAX - errno.0 as u64);
        let mixed = [operation, subject, detail, outcome]
            .into_iter()
            .fold(self.id, |mixed, value| (mixed.rotate_left(23) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        self.journal.fold(mixed);
    }

    /// The machine's power or pace changed.
    pub(crate) fn machine_changed(&self, to: MachineState) {
        let mut state = self.state();
        if !state.options.loses_power {
            return;
        }
        let now = self.now();
        match to {
            MachineState::Frozen => state.frozen_since = Some(now),
            MachineState::Off => {
                let at = self.kernel_time(&state, now);
                state.cut_power(at);
                let summary = state.last_cut.unwrap_or_default();
                self.fold(
                    CUT,
                    summary.entries_lost,
                    summary.pages_lost << 32 | summary.pages_torn,
                    Ok(summary.pages_kept),
                );
                end_freeze(&mut state, now);
            }
            MachineState::Running => end_freeze(&mut state, now),
        }
    }

    /// A process ended.
    pub(crate) fn process_ended(&self, process: ProcessId) {
        self.state().close_all_of(process);
    }

    // ---- faults

    /// Sets a fault. Whoever does so records it in the run's journal.
    pub fn set_fault(&self, rule: FaultRule) -> FaultId {
        let mut state = self.state();
        let now = self.moment(&state);
        state.settle(now.kernel);
        state.next_fault += 1;
        let id = FaultId(state.next_fault);
        self.fold(SET_FAULT, id.0, 0, Ok(0));
        match rule.kind {
            FaultKind::LatentSector { offset, len } => damage(&mut state, &rule, |data, sector| {
                let (from, end) = (offset / sector * sector, offset.saturating_add(len).next_multiple_of(sector));
                data.defects.push(Defect { fault: id, offset: from, len: end - from });
                let pages = data.pages.range_mut(from / PAGE..end.div_ceil(PAGE));
                pages.for_each(|(_, page)| page.cached_in = 0);
            }),
            FaultKind::BitRot { offset, bit } => damage(&mut state, &rule, |data, _| {
                let (index, byte) = (offset / PAGE, (offset % PAGE) as usize);
                match (data.dirty.get_mut(&index).map(|dirty| &mut dirty.old), data.pages.get_mut(&index)) {
                    (Some(Old::Block(block)), _) => block.flip(byte, bit),
                    (None, Some(page)) => {
                        page.block.flip(byte, bit);
                        page.cached_in = 0;
                    }
                    _ => {}
                }
            }),
            _ => drop(state.faults.insert(id, rule)),
        }
        id
    }

    /// Ends a fault: sectors can be read again, stalled operations go on. A flipped bit stays flipped.
    pub fn clear_fault(&self, id: FaultId) {
        let mut state = self.state();
        let now = self.moment(&state);
        state.settle(now.kernel);
        self.fold(CLEAR_FAULT, id.0, 0, Ok(0));
        state.faults.remove(&id);
        for inode in state.inodes.values_mut() {
            if let Kind::File(data) = &mut inode.kind {
                data.defects.retain(|defect| defect.fault != id);
            }
        }
        let stalled = std::mem::take(&mut state.stalled);
        drop(state);
        // Who is stalled by another fault waits again.
        stalled.into_values().for_each(std::task::Waker::wake);
    }

    // ---- what the simulator may do: no time passes, no fault strikes

    /// Creates whatever of a directory's path is missing, durably: how a machine is set up.
    ///
    /// # Errors
    /// ENOTDIR if a file is in the way, ENOSPC, EINVAL.
    pub fn create_directories(&self, path: &str) -> io::Result<()> {
        self.set_up(path, |state, path, now| state.create_directories(path, now).map(drop))
    }

    /// Writes a whole file, durably, with the directories above it.
    ///
    /// # Errors
    /// EISDIR, ENOTDIR, ENOSPC, EINVAL.
    pub fn put(&self, path: &str, content: &[u8]) -> io::Result<()> {
        self.set_up(path, |state, path, now| {
            let (parent, _) = crate::path::split(path).ok_or(Errno::EISDIR)?;
            state.create_directories(parent, now)?;
            let inode = match state.create_file(path, 0o644, now) {
                Err(Errno::EEXIST) => state.lookup(path)?,
                created => created?,
            };
            state.resize(inode, 0, now)?;
            if state.write(inode, path, 0, content, None, now)? < content.len() {
                return Err(Errno::ENOSPC);
            }
            let data = state.file_mut(inode)?;
            let size = SyncedSize { size: data.size, resizes: data.resizes };
            state.synced(inode, size, now.kernel, state.pending.last());
            Ok(())
        })
    }

    /// Makes a file of this size without data in it, durably, with the directories above it: what a machine has for a block device.
    ///
    /// # Errors
    /// EEXIST, ENOTDIR, EINVAL.
    pub fn put_hole(&self, path: &str, bytes: u64) -> io::Result<()> {
        self.set_up(path, |state, path, now| {
            let (parent, _) = crate::path::split(path).ok_or(Errno::EISDIR)?;
            state.create_directories(parent, now)?;
            let inode = state.create_file(path, 0o644, now)?;
            state.resize(inode, bytes, now)?;
            let data = state.file_mut(inode)?;
            let size = SyncedSize { size: data.size, resizes: data.resizes };
            state.synced(inode, size, now.kernel, state.pending.last());
            Ok(())
        })
    }

    fn set_up(&self, path: &str, action: impl FnOnce(&mut State, &str, Moment) -> Outcome<()>) -> io::Result<()> {
        let path = normal(path)?;
        let mut state = self.state();
        let now = self.moment(&state);
        state.settle(now.kernel);
        action(&mut state, &path, now)?;
        let upto = state.pending.last();
        state.commit(upto, now.kernel);
        Ok(())
    }

    /// The content of a file as processes see it.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EISDIR, EINVAL.
    pub fn contents(&self, path: &str) -> io::Result<Vec<u8>> {
        let path = normal(path)?;
        let state = self.state();
        let data = state.inode(state.lookup(&path)?).as_file()?;
        let mut content = vec![0; data.size as usize];
        data.read(0, &mut content);
        Ok(content)
    }

    /// Shows the data of a file as processes see it, page by page in order: where it begins, and 4096 bytes or nothing for zeros. What is not shown is
    /// a hole; in the last page the bytes behind the end are zeros.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EISDIR, EINVAL.
    pub fn visit_pages(&self, path: &str, mut visit: impl FnMut(u64, Option<&[u8; PAGE_BYTES]>)) -> io::Result<()> {
        let path = normal(path)?;
        let state = self.state();
        let data = state.inode(state.lookup(&path)?).as_file()?;
        data.pages.iter().for_each(|(number, page)| visit(number * PAGE, page.block.content()));
        Ok(())
    }

    /// What stat would answer.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EINVAL.
    pub fn stat(&self, path: &str) -> io::Result<Metadata> {
        let path = normal(path)?;
        let state = self.state();
        let number = state.lookup(&path)?;
        Ok(state.inode(number).metadata(number))
    }

    /// The names in a directory.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EINVAL.
    pub fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        let path = normal(path)?;
        let state = self.state();
        Ok(state.list(state.lookup(&path)?)?)
    }

    /// Every path but the root's, with what stat would answer, in the order of the paths.
    pub fn tree(&self) -> Vec<(String, Metadata)> {
        let state = self.state();
        let mut tree: Vec<_> =
            walk(&state).into_iter().map(|(path, number)| (path, state.inode(number).metadata(number))).collect();
        tree.sort_by(|left, right| left.0.cmp(&right.0));
        tree
    }

    /// A number of its own, as a file system's id is.
    pub(crate) fn number(&self) -> u64 {
        corral_core::journal::content_hash(format!("file system of {}:{}", self.machine.name, self.name).as_bytes())
    }

    /// What its file system promises.
    pub(crate) fn promises(&self) -> FileSystem {
        self.state().options.file_system
    }

    /// Its room.
    pub fn space(&self) -> Space {
        self.state().space()
    }

    /// Bytes of memory that the contents of its files take here, in the simulator.
    pub fn memory_bytes(&self) -> u64 {
        self.state().memory_bytes()
    }

    /// What the last power cut took; none if there was none.
    pub fn last_cut(&self) -> Option<CutSummary> {
        self.state().last_cut
    }

    /// ENOTDIR or ENOENT unless there is a directory.
    pub(crate) fn is_directory(&self, path: &str) -> Outcome<()> {
        let state = self.state();
        state.inode(state.lookup(path)?).as_directory().map(drop)
    }
}

/// Codes of what is folded into the digest here; see [`crate::device::Operation`] for the others.
const CUT: u64 = 101;
const SET_FAULT: u64 = 102;
const CLEAR_FAULT: u64 = 103;

fn stamp(epoch_ns: i128, machine: &Machine, now: Nanos, granularity_ns: i128) -> i128 {
    let exact = epoch_ns + i128::from(now.0) + i128::from(machine.clock().ahead_ns(now));
    exact - exact.rem_euclid(granularity_ns)
}

fn end_freeze(state: &mut State, now: Nanos) {
    if let Some(since) = state.frozen_since.take() {
        state.frozen_for += now.since(since);
    }
}

fn normal(path: &str) -> Outcome<String> {
    Ok(NormalPath::parse(path)?.text)
}

/// All paths and their inodes.
fn walk(state: &State) -> Vec<(String, InodeNumber)> {
    let mut found = Vec::new();
    let mut directories = vec![(String::new(), ROOT)];
    while let Some((path, number)) = directories.pop() {
        let Ok(directory) = state.inode(number).as_directory() else { continue };
        for (name, &inode) in &directory.entries {
            let path = format!("{path}/{name}");
            if state.inode(inode).is_directory() {
                directories.push((path.clone(), inode));
            }
            found.push((path, inode));
        }
    }
    found
}

/// Applies damage of the medium once to each file that has a matching name.
fn damage(state: &mut State, rule: &FaultRule, mut hit: impl FnMut(&mut crate::content::FileData, u64)) {
    let matching = walk(state).into_iter().filter(|(path, _)| rule.matches(path)).map(|(_, number)| number);
    let sector = u64::from(state.options.sector_bytes);
    for number in matching.collect::<BTreeSet<_>>() {
        if let Ok(data) = state.file_mut(number) {
            hit(data, sector);
        }
    }
}
