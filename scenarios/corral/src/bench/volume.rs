//! A replicated volume: an engine, three replicas on machines of their own, and a user of its block device.

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use corral_core::{Attachments, Options, ProcessSpec, run, world};
use corral_disk::{Disk, DiskOptions, Mounts};
use futures_util::future::join_all;
use host::time::sleep;
use longhorn_api::Build;
use longhorn_engine::{BlockDevice, Device, Engine};

use super::{Figure, Scale, each};

const VOLUME: &str = "vol-1";
const SIZE: u64 = 64 << 20;
const PAGE: u64 = 4096;
const REPLICA_PORT: u16 = 10_000;
/// How many accesses are under way at once: what fio's jobs of Longhorn's own benchmark have.
const DEPTH: u64 = 16;

/// A machine with a disk, and on it a process.
struct Machine {
    id: corral_core::MachineId,
    address: Ipv4Addr,
    disk: Arc<Disk>,
}

impl Machine {
    fn new(number: u8) -> Machine {
        let id = world().add_machine(&format!("machine-{number}")).id;
        let disk = Disk::create(&world(), id, "root", DiskOptions::default());
        Machine { id, address: Ipv4Addr::new(10, 0, 0, number), disk }
    }

    fn start(&self, arguments: &str, main: corral_core::Main) -> Arc<corral_core::Process> {
        let spec = ProcessSpec {
            name: "longhorn".into(),
            machine: self.id,
            address: self.address,
            hostname: "machine".into(),
            arguments: std::iter::once("longhorn").chain(arguments.split_whitespace()).map(str::to_owned).collect(),
            environment: Default::default(),
            attachments: Attachments::default().with(Arc::new(Mounts::new(self.disk.clone()))),
        };
        world().spawn_process(spec, main)
    }

    fn longhorn(&self, arguments: &str) {
        self.start(arguments, Box::pin(longhorn_engine::main(Engine::of(Build::default()))));
    }
}

/// What is done to each page.
#[derive(Clone, Copy, PartialEq)]
enum Access {
    Write,
    Read,
}

/// So many accesses to a volume of three replicas that is written full, at most [`DEPTH`] of them at once.
fn use_volume(count: u64, access: Access) {
    run(Options::new(1), async move {
        let user = Machine::new(1);
        let replicas: Vec<Machine> = (2..5).map(Machine::new).collect();
        let mut addresses = String::new();
        for machine in &replicas {
            machine.longhorn(&format!(
                "--volume-name {VOLUME} replica /replica --size {SIZE} --disableRevCounter \
                 --replica-instance-name {VOLUME}-r --snapshot-max-count 250 --snapshot-max-size 0 \
                 --sync-agent-port-count 7 --listen 0.0.0.0:{REPLICA_PORT}"
            ));
            addresses += &format!(" --replica tcp://{}:{REPLICA_PORT}", machine.address);
        }
        sleep(std::time::Duration::from_secs(1)).await;
        user.longhorn(&format!(
            "--engine-instance-name {VOLUME}-e-0 controller {VOLUME} --frontend tgt-blockdev --disableRevCounter \
             --size {SIZE} --current-size {SIZE} --engine-replica-timeout 8 --file-sync-http-client-timeout 30 \
             --snapshot-max-count 250 --snapshot-max-size 0{addresses} --listen 0.0.0.0:10001"
        ));
        sleep(std::time::Duration::from_secs(2)).await;
        let program = async move {
            let device = Device::open(VOLUME).await.expect("an attached volume");
            let page = Bytes::from(vec![7; PAGE as usize]);
            let work = (0..DEPTH).map(|lane| {
                let (device, page) = (&device, page.clone());
                async move {
                    for turn in (lane..count).step_by(DEPTH as usize) {
                        let offset = turn * PAGE % SIZE;
                        match access {
                            Access::Write => device.write_at(offset, page.clone()).await.expect("written"),
                            Access::Read => {
                                let read = device.read_at(offset, PAGE as u32).await.expect("read");
                                assert_eq!(read.len() as u64, PAGE);
                            }
                        }
                    }
                }
            });
            join_all(work).await;
            0
        };
        let end = user.start("user", Box::pin(program)).wait().await;
        assert_eq!(end.code(), 0, "the volume's user failed");
    })
    .unwrap();
}

/// 4 KiB to and from a volume of three replicas.
pub fn accesses(scale: Scale) -> Vec<Figure> {
    let write = each(scale.of(200_000), |count| use_volume(count, Access::Write));
    let read = each(scale.of(200_000), |count| use_volume(count, Access::Read));
    vec![
        Figure::at_least("4 KiB writes to three replicas", 1.0 / write.as_secs_f64(), "writes/s", 50_000.0),
        Figure::at_least("4 KiB reads from three replicas", 1.0 / read.as_secs_f64(), "reads/s", 100_000.0),
    ]
}
