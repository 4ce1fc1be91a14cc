//! Where a test's store lies: a directory in the real world, or a bucket of an S3 server in a simulated one.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use corral_core::{Attachments, Options, ProcessSpec};
use corral_disk::{Disk, DiskOptions, Mounts};
use corral_object_store::BucketStore;
use futures_util::FutureExt;
use longhorn_backupstore::{Backupstore, Behaviour, Context, Credentials};
use tempfile::TempDir;

/// Address of the server's pod, and its port.
pub const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 1, 0, 9), 9000);
/// The bucket and the path in it.
pub const BUCKET: &str = "backups";
pub const PATH: &str = "store/";
/// The directory on the simulated disk.
const DIRECTORY: &str = "/target";

/// A place for a store.
pub enum Place {
    /// A directory of the machine that runs the test.
    Directory(TempDir),
    /// A directory of a simulated disk, which is the test process's own root.
    Disk(Arc<Disk>),
    /// A bucket behind a server.
    Bucket(Arc<BucketStore>),
}

impl Place {
    pub fn address(&self) -> String {
        match self {
            Place::Directory(directory) => format!("vfs://{}", directory.path().display()),
            Place::Disk(_) => format!("vfs://{DIRECTORY}"),
            Place::Bucket(_) => format!("s3://{BUCKET}@us-east-1/{PATH}"),
        }
    }

    pub fn of_backup(&self, backup: &str, volume: &str) -> String {
        format!("{}?backup={backup}&volume={volume}", self.address())
    }

    pub fn of_image(&self, image: &str) -> String {
        format!("{}?backingImage={image}", self.address())
    }

    pub async fn open(&self, behaviour: Behaviour) -> Backupstore {
        self.open_with(&Context::new(behaviour)).await
    }

    pub async fn open_with(&self, context: &Context) -> Backupstore {
        Backupstore::open(&self.address(), &credentials(), context).await.expect("the target is there")
    }

    /// All files of the store, by path below the target.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        match self {
            Place::Directory(directory) => super::files_below(directory.path()),
            Place::Disk(disk) => {
                let tree = disk.tree().into_iter().filter(|(_, metadata)| !metadata.is_dir);
                let below = tree.filter_map(|(path, _)| Some((path.strip_prefix(DIRECTORY)?[1..].to_owned(), path)));
                below.map(|(name, path)| (name, disk.contents(&path).expect("a file"))).collect()
            }
            Place::Bucket(store) => {
                let objects = store.objects(BUCKET, PATH).into_iter();
                objects.map(|object| (object.key[PATH.len()..].to_owned(), object.bytes.to_vec())).collect()
            }
        }
    }

    pub fn names(&self) -> Vec<String> {
        self.files().into_keys().collect()
    }

    pub fn blocks(&self) -> usize {
        self.names().iter().filter(|name| name.ends_with(".blk")).count()
    }

    pub fn text(&self, path: &str) -> String {
        String::from_utf8(self.files()[path].clone()).expect("text")
    }

    pub fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let content = content.as_ref().to_vec();
        match self {
            Place::Directory(directory) => {
                super::unpack(&BTreeMap::from([(path.to_owned(), content)]), directory.path());
            }
            Place::Disk(disk) => {
                let path = format!("{DIRECTORY}/{path}");
                disk.create_directories(path.rsplit_once('/').expect("an absolute path").0).expect("directories");
                disk.put(&path, &content).expect("a file");
            }
            Place::Bucket(store) => store.insert(BUCKET, &format!("{PATH}{path}"), content),
        }
    }

    pub fn bucket(&self) -> &Arc<BucketStore> {
        match self {
            Place::Bucket(store) => store,
            Place::Directory(_) | Place::Disk(_) => panic!("a directory has no bucket"),
        }
    }

    /// A path for a local file of the test's own.
    pub fn local(&self, name: &str) -> String {
        match self {
            Place::Directory(directory) => directory.path().join(name).to_str().expect("readable").to_owned(),
            Place::Disk(_) | Place::Bucket(_) => format!("/{name}"),
        }
    }
}

pub fn credentials() -> Credentials {
    let (address, port) = SERVER;
    let variables = [
        ("AWS_ACCESS_KEY_ID", "key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ("AWS_ENDPOINTS", format!("http://{address}:{port}")),
    ];
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Runs a test over a directory in the real world, over one of a simulated disk, and over a bucket of a simulated
/// server.
pub fn everywhere<F, T>(test: T)
where
    F: Future<Output = ()> + Send + 'static,
    T: Fn(Place) -> F + Clone + Send + 'static,
{
    host::real::block_on(test(Place::Directory(tempfile::tempdir().expect("a directory"))));
    simulate(1, {
        let test = test.clone();
        move |disk| test(Place::Disk(disk))
    });
    in_simulation(1, test);
}

/// Runs a test over a bucket in a simulated world; gives the digest of the run.
pub fn in_simulation<F, T>(seed: u64, test: T) -> u128
where
    F: Future<Output = ()> + Send + 'static,
    T: FnOnce(Place) -> F + Send + 'static,
{
    simulate(seed, move |_| {
        let store = BucketStore::new();
        store.create_bucket(BUCKET);
        spawn("minio", SERVER.0, Attachments::default(), {
            let store = Arc::clone(&store);
            async move { i32::from(corral_object_store::serve(store, SocketAddr::from(SERVER)).await.is_err()) }
        });
        test(Place::Bucket(store))
    })
}

/// Runs a test as a process of a simulated world, with the disk that is its root.
pub fn on_disk<F, T>(test: T)
where
    F: Future<Output = ()> + Send + 'static,
    T: FnOnce(Arc<Disk>) -> F + Send + 'static,
{
    simulate(1, test);
}

fn simulate<F, T>(seed: u64, test: T) -> u128
where
    F: Future<Output = ()> + Send + 'static,
    T: FnOnce(Arc<Disk>) -> F + Send + 'static,
{
    let outcome = corral_core::run(Options::new(seed), async move {
        let world = corral_core::world();
        let disk = Disk::create(&world, world.add_machine("client").id, "root", DiskOptions::default());
        let mounts = Attachments::default().with(Arc::new(Mounts::new(Arc::clone(&disk))));
        let failure = Arc::new(Mutex::new(None));
        let body = {
            let (failure, test) = (Arc::clone(&failure), test(disk));
            async move {
                let result = AssertUnwindSafe(test).catch_unwind().await;
                *failure.lock().expect("no panic") = result.err().map(message);
                0
            }
        };
        spawn("client", Ipv4Addr::new(10, 1, 0, 1), mounts, body).wait().await;
        let failure = failure.lock().expect("no panic").take();
        assert_eq!(failure, None, "the test failed in the simulated world");
    });
    let digest = outcome.digest;
    outcome.unwrap();
    digest
}

fn message(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => other.downcast_ref::<&str>().copied().unwrap_or("a panic without words").to_owned(),
    }
}

fn spawn(
    name: &str,
    address: Ipv4Addr,
    attachments: Attachments,
    main: impl Future<Output = i32> + Send + 'static,
) -> Arc<corral_core::Process> {
    let world = corral_core::world();
    let machine = world.machine_named(name).unwrap_or_else(|| world.add_machine(name)).id;
    let spec = ProcessSpec {
        name: name.to_owned(),
        machine,
        address,
        hostname: name.to_owned(),
        arguments: vec![name.to_owned()],
        environment: BTreeMap::new(),
        attachments,
    };
    world.spawn_process(spec, Box::pin(main))
}
