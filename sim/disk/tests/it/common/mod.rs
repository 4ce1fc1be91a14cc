//! A machine with a disk, and processes that see it as their root.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corral_core::journal::{Event, Record};
use corral_core::{Attachments, Latency, Machine, MachineState, Options, Process, ProcessSpec, World, run, world};
use corral_disk::{Disk, DiskOptions, Mounts};

/// Error numbers by name.
pub mod errno {
    pub const EPERM: i32 = 1;
    pub const ENOENT: i32 = 2;
    pub const EIO: i32 = 5;
    pub const EBADF: i32 = 9;
    pub const EBUSY: i32 = 16;
    pub const EEXIST: i32 = 17;
    pub const EXDEV: i32 = 18;
    pub const ENOTDIR: i32 = 20;
    pub const EISDIR: i32 = 21;
    pub const EINVAL: i32 = 22;
    pub const EFBIG: i32 = 27;
    pub const ENOSPC: i32 = 28;
    pub const EROFS: i32 = 30;
    pub const ENAMETOOLONG: i32 = 36;
    pub const ENOTEMPTY: i32 = 39;
}

/// The error number of a result that has to be an error.
#[track_caller]
pub fn errno_of<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    result.expect_err("an error was expected").raw_os_error().expect("errors carry Linux's numbers")
}

/// A machine and its disk.
#[derive(Clone)]
pub struct Bench {
    pub world: Arc<World>,
    pub machine: Arc<Machine>,
    pub disk: Arc<Disk>,
    pub mounts: Mounts,
}

/// Quick, and of a size that tests can fill.
pub fn small_disk() -> DiskOptions {
    DiskOptions {
        capacity_bytes: 64 << 20,
        latency: Latency::fixed(Duration::from_micros(50)),
        bytes_per_second: None,
        ..DiskOptions::default()
    }
}

/// Runs a body in a fresh world with one machine and one disk.
pub fn with_disk<T, F>(seed: u64, options: DiskOptions, body: impl FnOnce(Bench) -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    run(Options::new(seed), async move { body(Bench::new(options)).await }).unwrap()
}

/// Runs a body as a process with a small disk as its root.
pub fn on_disk<T, F>(body: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    with_disk(1, small_disk(), |bench| async move { bench.run(async move { body().await }).await })
}

impl Bench {
    pub fn new(options: DiskOptions) -> Bench {
        let world = world();
        // A panic ends the process that asserts; its message would be lost with it.
        world.journal().subscribe(Arc::new(|record: &Record<'_>| {
            if let Event::Panicked { message, location } = &record.event {
                eprintln!("{message} ({location})");
            }
        }));
        let machine = world.add_machine("m1");
        let disk = Disk::create(&world, machine.id, "sda", options);
        let mounts = Mounts::new(disk.clone());
        Bench { world, machine, disk, mounts }
    }

    /// Begins a process on the machine.
    pub fn start(&self, main: impl Future<Output = ()> + Send + 'static) -> Arc<Process> {
        let spec = ProcessSpec {
            name: "p".into(),
            machine: self.machine.id,
            address: Ipv4Addr::new(10, 0, 0, 1),
            hostname: "p".into(),
            arguments: vec![],
            environment: BTreeMap::new(),
            attachments: Attachments::default().with(Arc::new(self.mounts.clone())),
        };
        self.world.spawn_process(
            spec,
            Box::pin(async move {
                main.await;
                0
            }),
        )
    }

    /// Runs a process to its end.
    pub async fn run<T: Send + 'static>(&self, main: impl Future<Output = T> + Send + 'static) -> T {
        let slot = Arc::new(Mutex::new(None));
        let result = slot.clone();
        let process = self.start(async move {
            let value = main.await;
            *result.lock().unwrap() = Some(value);
        });
        let end = process.wait().await;
        let value = slot.lock().unwrap().take();
        value.unwrap_or_else(|| panic!("the process ended by {end:?}"))
    }

    /// Cuts the power and switches it on again.
    pub fn power_cycle(&self) {
        self.world.set_machine_state(self.machine.id, MachineState::Off);
        self.world.set_machine_state(self.machine.id, MachineState::Running);
    }
}

/// Waits so many milliseconds.
pub async fn pause_ms(ms: u64) {
    corral_core::sleep(Duration::from_millis(ms)).await;
}
