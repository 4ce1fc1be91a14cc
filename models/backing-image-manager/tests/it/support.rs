//! Machines with a disk each, the processes on them, and what they fetch from.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corral_core::{Attachments, Options, Process, ProcessSpec, world};
use corral_disk::{Disk, DiskOptions, Mounts};
use corral_object_store::BucketStore;
use host::net::TcpListener;
use host::time::sleep;
use http::{Method, Response, header};
use longhorn_api::{Build, Release};
use longhorn_backing_image_manager::BackingImageManager;
use longhorn_backing_image_manager::info::DataSourceInfo;
use longhorn_rpc::Channel;
use longhorn_rpc::bimrpc::backing_image_manager_service_client::BackingImageManagerServiceClient;
use longhorn_rpc::bimrpc::{
    BackingImageSpec, BackingImageStatus, BackupCreateRequest, BackupStatusRequest, BackupStatusResponse, FetchRequest,
    GetRequest, SyncRequest,
};
use sha2::{Digest, Sha512};

pub const NAME: &str = "parrot";
pub const UUID: &str = "1a2b3c4d";
pub const DIRECTORY: &str = "/backing-images/parrot-1a2b3c4d";
pub const BUCKET: &str = "backups";

const WEB: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 1, 0, 8)), 80);
const STORE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 1, 0, 9)), 9000);

pub type Client = BackingImageManagerServiceClient<Channel>;

/// Runs a scene under a seed; gives the run's digest.
pub fn simulate<F: Future<Output = ()> + Send + 'static>(seed: u64, scene: F) -> u128 {
    let outcome = corral_core::run(Options::new(seed), scene);
    let digest = outcome.digest;
    outcome.unwrap();
    digest
}

/// An image of 5 MiB and a half, most of it holes.
pub fn image() -> Vec<u8> {
    let mut image = vec![0; (5 << 20) + (512 << 10)];
    for (index, byte) in image[8192..900_000].iter_mut().enumerate() {
        *byte = (index % 251) as u8 + 1;
    }
    let end = image.len();
    image[end - 512..].fill(7);
    image
}

pub fn checksum(content: &[u8]) -> String {
    hex::encode(Sha512::digest(content))
}

/// A machine with a disk for Longhorn.
pub struct Machine {
    pub number: u8,
    pub disk: Arc<Disk>,
}

impl Machine {
    pub fn new(number: u8) -> Machine {
        let world = world();
        let machine = world.add_machine(&format!("machine-{number}")).id;
        let disk = Disk::create(&world, machine, &format!("data-{number}"), DiskOptions::default());
        let config = format!(r#"{{"diskUUID":"disk-{number}"}}"#);
        disk.put("/longhorn-disk.cfg", config.as_bytes()).expect("an empty disk");
        Machine { number, disk }
    }

    pub fn manager_address(&self) -> String {
        format!("10.0.{}.1:8000", self.number)
    }

    pub fn source_address(&self) -> String {
        format!("10.0.{}.2:8000", self.number)
    }

    /// Starts a process of the image in a pod of its own.
    pub fn start(&self, pod: u8, build: &Build, arguments: &[&str]) -> Arc<Process> {
        let world = world();
        let address = Ipv4Addr::new(10, 0, self.number, pod);
        let machine = self.disk.machine();
        let root = Disk::create(&world, machine, &format!("root-{}-{pod}", self.number), DiskOptions::default());
        let mounts = Mounts::new(root).with_mount("/data", self.disk.clone(), "/");
        let mut all = vec!["backing-image-manager".to_owned(), "--debug".to_owned()];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let spec = ProcessSpec {
            name: format!("{}-{}-{pod}", arguments[0], self.number),
            machine,
            address,
            hostname: format!("pod-{}-{pod}", self.number),
            arguments: all,
            environment: BTreeMap::from([("POD_IP".to_owned(), address.to_string())]),
            attachments: Attachments::default().with(Arc::new(mounts)),
        };
        world
            .spawn_process(spec, Box::pin(longhorn_backing_image_manager::main(BackingImageManager::of(build.clone()))))
    }

    pub fn start_manager(&self, build: &Build) -> Arc<Process> {
        self.start(1, build, &["daemon", "--listen", "0.0.0.0:8000", "--sync-listen", "0.0.0.0:8001"])
    }

    pub fn start_source(&self, build: &Build, kind: &str, more: &[&str]) -> Arc<Process> {
        let mut arguments = vec!["data-source", "--listen", "0.0.0.0:8000", "--sync-listen", "0.0.0.0:8001"];
        arguments.extend(["--name", NAME, "--uuid", UUID, "--source-type", kind]);
        arguments.extend(more);
        self.start(2, build, &arguments)
    }

    /// A client of the manager that waits for it to come.
    pub fn client(&self) -> Client {
        Client::new(Channel::new(self.manager_address()).wait_for_ready().timeout(Duration::from_secs(60)))
    }

    /// How the data source's file is; none before the data source answers.
    pub async fn source_info(&self) -> Option<DataSourceInfo> {
        let client = host::http::Client::new();
        let url = format!("http://{}/v1/file", self.source_address());
        let request = http::Request::builder().uri(url).body(host::http::empty()).expect("a request");
        let answer = client.send(request).await.ok().filter(|answer| answer.status().is_success())?;
        let body = host::http::collect(answer.into_body(), 1 << 20).await.ok()?;
        Some(serde_json::from_slice(&body).expect("a data source's answer"))
    }

    /// Waits until the data source's file is in one of these states.
    pub async fn wait_for_source(&self, states: &[&str], seconds: u32) -> DataSourceInfo {
        let mut last = None;
        for _ in 0..seconds {
            sleep(Duration::from_secs(1)).await;
            last = self.source_info().await;
            if let Some(info) = last.take_if(|info| states.contains(&info.file.state.as_str())) {
                return info;
            }
        }
        panic!("the data source's file is {last:?}, not {states:?}, after {seconds} s");
    }

    /// The image's file on the disk.
    pub fn file(&self) -> Vec<u8> {
        self.disk.contents(&format!("{DIRECTORY}/backing")).expect("the image's file")
    }

    /// Brings the image onto this machine by a download.
    pub async fn download(&self, build: &Build) -> Client {
        self.start_source(build, "download", &["--parameters", "url=http://10.1.0.8/image"]);
        self.start_manager(build);
        let mut client = self.client();
        self.wait_for_source(&["ready-for-transfer"], 30).await;
        self.fetch(&mut client, &self.source_address()).await;
        wait_for(&mut client, "ready", 30).await;
        client
    }

    /// Has the manager take over a data source's file, or what is on the disk.
    pub async fn fetch(&self, client: &mut Client, source: &str) {
        let request = FetchRequest { spec: Some(spec()), data_source_address: source.to_owned() };
        client.fetch(request).await.expect("begun");
    }
}

pub fn spec() -> BackingImageSpec {
    let image = image();
    BackingImageSpec {
        name: NAME.to_owned(),
        uuid: UUID.to_owned(),
        size: image.len() as i64,
        checksum: checksum(&image),
        ..Default::default()
    }
}

/// The image's state at a manager, once it is this.
pub async fn wait_for(client: &mut Client, state: &str, seconds: u32) -> BackingImageStatus {
    let mut last = None;
    for _ in 0..seconds {
        let request = GetRequest { name: NAME.to_owned(), uuid: UUID.to_owned() };
        last = client.get(request).await.expect("known").into_inner().status;
        if let Some(status) = last.take_if(|status| status.state == state) {
            return status;
        }
        sleep(Duration::from_secs(1)).await;
    }
    panic!("the image is {last:?}, not {state}, after {seconds} s");
}

/// Has a manager get the image from another.
pub async fn sync(to: &mut Client, from: &Machine) {
    to.sync(SyncRequest { spec: Some(spec()), from_address: from.manager_address() }).await.expect("begun");
}

/// Serves the image over HTTP; `stall` stops in the middle.
pub fn start_web_server(stall: bool) {
    spawn("web", WEB, async move {
        let listener = TcpListener::bind(WEB).await.expect("a free port");
        host::http::serve(listener, move |request, _| async move {
            let image = Bytes::from(image());
            let mut answer = Response::new(host::http::empty());
            answer.headers_mut().insert(header::CONTENT_LENGTH, image.len().into());
            if request.method() == Method::GET {
                let (sender, body) = host::http::channel(2);
                *answer.body_mut() = body;
                host::spawn(async move {
                    for (index, piece) in image.chunks(100_000).enumerate() {
                        if stall && index == 10 {
                            std::future::pending::<()>().await;
                        }
                        let _ = sender.send(image.slice_ref(piece)).await;
                    }
                });
            }
            answer
        })
        .await;
    });
}

/// Starts an S3 server with an empty bucket.
pub fn start_store() -> Arc<BucketStore> {
    let store = BucketStore::new();
    store.create_bucket(BUCKET);
    let served = store.clone();
    spawn("minio", STORE, async move {
        corral_object_store::serve(served, STORE).await.expect("a free port");
    });
    store
}

pub fn backup_target() -> String {
    format!("s3://{BUCKET}@us-east-1/store/")
}

pub fn credential() -> BTreeMap<String, String> {
    let pairs =
        [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_ENDPOINTS", "http://10.1.0.9:9000")];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

pub fn backup_request() -> BackupCreateRequest {
    BackupCreateRequest {
        name: NAME.to_owned(),
        uuid: UUID.to_owned(),
        checksum: checksum(&image()),
        backup_target: backup_target(),
        labels: vec!["colour=green".to_owned()],
        credential: credential(),
        compression_method: "lz4".to_owned(),
        concurrent_limit: 2,
        parameters: BTreeMap::new(),
    }
}

pub async fn backup_status(client: &mut Client) -> BackupStatusResponse {
    let request = BackupStatusRequest { name: NAME.to_owned() };
    client.backup_status(request).await.expect("a status").into_inner()
}

fn spawn(name: &str, address: SocketAddr, main: impl Future<Output = ()> + Send + 'static) {
    let world = world();
    let machine = world.add_machine(name);
    let SocketAddr::V4(address) = address else { panic!("an IPv4 address") };
    let spec = ProcessSpec {
        name: name.into(),
        machine: machine.id,
        address: *address.ip(),
        hostname: name.into(),
        arguments: vec![name.into()],
        environment: BTreeMap::default(),
        attachments: Attachments::default(),
    };
    world.spawn_process(
        spec,
        Box::pin(async move {
            main.await;
            0
        }),
    );
}

pub fn published(release: Release) -> Build {
    Build::published(release)
}
