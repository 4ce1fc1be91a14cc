//! Where a test's store lies: a directory in the real world, or a bucket of an S3 server in a simulated one.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use corral_core::{Attachments, Options, ProcessSpec};
use corral_object_store::BucketStore;
use longhorn_backupstore::{Backupstore, Behaviour, Context, Credentials};
use tempfile::TempDir;

/// Address of the server's pod, and its port.
pub const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 1, 0, 9), 9000);
/// The bucket and the path in it.
pub const BUCKET: &str = "backups";
pub const PATH: &str = "store/";

/// A place for a store.
pub enum Place {
    /// A directory of the machine that runs the test.
    Directory(TempDir),
    /// A bucket behind a server.
    Bucket(Arc<BucketStore>),
}

impl Place {
    pub fn address(&self) -> String {
        match self {
            Place::Directory(directory) => format!("vfs://{}", directory.path().display()),
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
            Place::Bucket(store) => store.insert(BUCKET, &format!("{PATH}{path}"), content),
        }
    }

    pub fn bucket(&self) -> &Arc<BucketStore> {
        match self {
            Place::Bucket(store) => store,
            Place::Directory(_) => panic!("a directory has no bucket"),
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

/// Runs a test over a directory in the real world, and over a bucket in a simulated one.
pub fn everywhere<F: Future<Output = ()> + Send + 'static>(test: impl Fn(Place) -> F) {
    host::real::block_on(test(Place::Directory(tempfile::tempdir().expect("a directory"))));
    in_simulation(1, test);
}

/// Runs a test over a bucket in a simulated world; gives the digest of the run.
pub fn in_simulation<F: Future<Output = ()> + Send + 'static>(seed: u64, test: impl Fn(Place) -> F) -> u128 {
    let store = BucketStore::new();
    let body = test(Place::Bucket(Arc::clone(&store)));
    let outcome = corral_core::run(Options::new(seed), async move {
        store.create_bucket(BUCKET);
        serve(store);
        body.await;
    });
    let digest = outcome.digest;
    outcome.unwrap();
    digest
}

fn serve(store: Arc<BucketStore>) {
    let world = corral_core::world();
    let spec = ProcessSpec {
        name: "minio".to_owned(),
        machine: world.add_machine("store").id,
        address: SERVER.0,
        hostname: "minio".to_owned(),
        arguments: vec!["minio".to_owned()],
        environment: BTreeMap::new(),
        attachments: Attachments::default(),
    };
    let address = SocketAddr::from(SERVER);
    let main = async move { i32::from(corral_object_store::serve(store, address).await.is_err()) };
    drop(world.spawn_process(spec, Box::pin(main)));
}
