//! All disks of a run: who is told when a process ends or a machine changes, and the private roots of processes that were given none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use corral_core::journal::End;
use corral_core::{Kernel, Machine, MachineState, Process, ProcessId, World};

use crate::disk::Disk;
use crate::mounts::Mounts;
use crate::options::DiskOptions;

/// The disks of a run: a kernel of its world.
#[derive(Default)]
pub(crate) struct Disks {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    disks: BTreeMap<u64, Weak<Disk>>,
    /// On which disks a live process has, or had, handles.
    used_by: BTreeMap<ProcessId, BTreeMap<u64, Weak<Disk>>>,
    roots: BTreeMap<ProcessId, Arc<Mounts>>,
    last: u64,
}

/// The disks of this world; registered with it when first asked for.
pub(crate) fn disks(world: &World) -> Arc<Disks> {
    world.try_extension().unwrap_or_else(|| {
        let disks = world.extension(Disks::default);
        world.add_kernel(disks.clone());
        disks
    })
}

impl Disks {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the disk that is made for this number.
    pub(crate) fn add(&self, make: impl FnOnce(u64) -> Disk) -> Arc<Disk> {
        let mut inner = self.inner();
        inner.disks.retain(|_, disk| disk.strong_count() > 0);
        inner.last += 1;
        let disk = Arc::new(make(inner.last));
        inner.disks.insert(disk.id, Arc::downgrade(&disk));
        disk
    }

    /// Those that are still there, in the order in which they were made.
    pub(crate) fn all(&self) -> Vec<Arc<Disk>> {
        self.inner().disks.values().filter_map(Weak::upgrade).collect()
    }

    /// Notes that a process opens something on a disk.
    pub(crate) fn note_use(&self, process: ProcessId, disk: &Arc<Disk>) {
        let mut inner = self.inner();
        inner.used_by.entry(process).or_default().entry(disk.id).or_insert_with(|| Arc::downgrade(disk));
    }

    /// What a process sees: what it was given, or an empty root of its own.
    pub(crate) fn mounts_of(&self, world: &World, process: &Process) -> Arc<Mounts> {
        if let Some(mounts) = process.spec.attachments.get::<Mounts>() {
            return mounts;
        }
        if let Some(root) = self.inner().roots.get(&process.id) {
            return root.clone();
        }
        let name = format!("root of process {}", process.id.0);
        let root = Disk::create(world, process.spec.machine, &name, DiskOptions::ephemeral());
        let mounts = Arc::new(Mounts::new(root));
        self.inner().roots.insert(process.id, mounts.clone());
        mounts
    }
}

impl Kernel for Disks {
    fn process_ended(&self, process: &Process, _end: &End) {
        let (used, root) = {
            let mut inner = self.inner();
            (inner.used_by.remove(&process.id), inner.roots.remove(&process.id))
        };
        for disk in used.into_iter().flat_map(BTreeMap::into_values).filter_map(|disk| disk.upgrade()) {
            disk.process_ended(process.id);
        }
        drop(root);
    }

    fn machine_changed(&self, machine: &Machine, state: MachineState) {
        let disks: Vec<_> = self.inner().disks.values().filter_map(Weak::upgrade).collect();
        for disk in disks.into_iter().filter(|disk| disk.machine() == machine.id) {
            disk.machine_changed(state);
        }
    }
}
