//! The binary, run as the manager runs it: a process of its own, with arguments and environment, whose output streams
//! and status are read. The store holds what the real Longhorn v1.9.2 wrote.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corral_core::{Attachments, Options, ProcessSpec, run};
use corral_object_store::{BucketStore, Effect, ErrorCode, Fault, OperationKind};
use host::process::{Command, Programs, program};
use host::time::Instant;
use longhorn_api::{Build, Release};
use longhorn_engine::Engine;

const STORE: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 1, 0, 9), 9000);
const TARGET: &str = "s3://backups@us-east-1/store/";
const BINARY: &str = "/host/var/lib/longhorn/engine-binaries/longhornio-longhorn-engine-v1.8.0/longhorn";
const VOLUME_DIRECTORY: &str = "backupstore/volumes/35/21/golden-vol/";

/// What a run of the binary left.
#[derive(Clone, Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
    took: Duration,
}

impl Ran {
    /// All that the manager searches for "cannot find".
    fn everything(&self) -> String {
        format!("output {}, stderr {}", self.stdout, self.stderr)
    }
}

/// A store with the golden content, filled once.
fn golden(stores: &[&str]) -> Arc<BucketStore> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../backupstore/tests/golden/backupstores.tar.zst");
    let packed =
        std::fs::File::open(path).unwrap_or_else(|error| panic!("the golden data must be there: {path}: {error}"));
    let unpacked = ruzstd::decoding::StreamingDecoder::new(packed).expect("a zstd frame");
    let store = BucketStore::new();
    for entry in tar::Archive::new(unpacked).entries().expect("a tar archive") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").to_str().expect("readable").trim_start_matches("./").to_owned();
        let Some((name, below)) = path.split_once('/') else { continue };
        if entry.header().entry_type().is_file() && stores.contains(&name) {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("its content");
            store.insert("backups", &format!("store/{below}"), content);
        }
    }
    store
}

fn spec(name: &str, address: Ipv4Addr, attachments: Attachments) -> ProcessSpec {
    let world = corral_core::world();
    ProcessSpec {
        name: name.to_owned(),
        machine: world.add_machine(name).id,
        address,
        hostname: name.to_owned(),
        arguments: vec![name.to_owned()],
        environment: BTreeMap::new(),
        attachments,
    }
}

/// In a fresh world with the store's server, runs the binary once for each list of arguments, one after the other.
fn run_all(store: &Arc<BucketStore>, calls: &[Vec<String>]) -> Vec<Ran> {
    let (store, calls) = (Arc::clone(store), calls.to_vec());
    run(Options::new(1), async move {
        let world = corral_core::world();
        let serve = async move { i32::from(corral_object_store::serve(store, SocketAddr::from(STORE)).await.is_err()) };
        drop(world.spawn_process(spec("minio", STORE.0, Attachments::default()), Box::pin(serve)));
        let engine = Engine::of(Build::published(Release::V1_8_0));
        let binary = program(move || longhorn_engine::main(engine.clone()));
        let programs = Programs { by_path: BTreeMap::from([(BINARY.to_owned(), binary)]) };
        let results = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&results);
        let manager = async move {
            for call in calls {
                let ran = call_binary(call).await;
                collected.lock().expect("no panic").push(ran);
            }
            0
        };
        let attachments = Attachments::default().with(Arc::new(programs));
        world.spawn_process(spec("manager", Ipv4Addr::new(10, 1, 0, 1), attachments), Box::pin(manager)).wait().await;
        Arc::try_unwrap(results).expect("the manager has ended").into_inner().expect("no panic")
    })
    .unwrap()
}

async fn call_binary(arguments: Vec<String>) -> Ran {
    let began = Instant::now();
    let command = Command::new(BINARY)
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_ENDPOINTS", format!("http://{}:{}", STORE.0, STORE.1));
    let output = command.output().await.expect("the binary is there");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ran { code: output.status.code, stdout: text(output.stdout), stderr: text(output.stderr), took: began.elapsed() }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(|word| word.replace("TARGET", TARGET)).collect()
}

fn call(store: &Arc<BucketStore>, line: &str) -> Ran {
    run_all(store, &[words(line)]).remove(0)
}

/// A transcript for people: the command, its status, and both streams, without what chance decides.
fn transcript(store: &Arc<BucketStore>, lines: &[&str]) -> String {
    let calls: Vec<_> = lines.iter().map(|line| words(line)).collect();
    let mut text = String::new();
    for (line, ran) in lines.iter().zip(run_all(store, &calls)) {
        text += &format!("$ longhorn {line}\n{}", ran.stdout);
        let errors = ran.stderr.lines().filter(|line| !line.contains("level=info"));
        for line in errors {
            let (_, after_time) = line.split_once("level=").expect("a log line");
            text += &format!("! level={after_time}\n");
        }
        text += &format!("= {}\n\n", ran.code);
    }
    text
}

#[test]
fn what_the_manager_asks_of_volumes_and_backups() {
    let store = golden(&["backupstore-lz4"]);
    insta::assert_snapshot!(transcript(
        &store,
        &[
            "backup ls --volume-only TARGET",
            "backup ls --volume golden-vol TARGET",
            "backup inspect-volume TARGET?volume=golden-vol",
            "backup inspect TARGET?backup=backup-two&volume=golden-vol",
            "backup inspect TARGET?backup=backup-two\\u0026volume=golden-vol",
            "backup inspect TARGET?backup=none&volume=golden-vol",
            "backup head TARGET?backup=none&volume=golden-vol",
            "backup inspect-volume TARGET?volume=no-vol",
            "backup cleanup-all-mounts",
        ]
    ));
    let head = call(&store, "backup head TARGET?volume=golden-vol");
    let expected = store.object("backups", &format!("store/{VOLUME_DIRECTORY}volume.cfg")).expect("there").modified;
    assert_eq!(head.stdout, format!("{{\n\t\"ModificationTime\": \"{expected}\"\n}}\n"));
}

#[test]
fn what_the_manager_asks_of_backing_images_and_system_backups() {
    let store = golden(&["backupstore-backingimage"]);
    insta::assert_snapshot!(transcript(
        &store,
        &[
            "backup ls-backing-image TARGET",
            "backup inspect-backing-image TARGET?backingImage=bi-golden",
            "backup inspect-backing-image TARGET?backingImage=none",
            "system-backup list TARGET",
            "system-backup get-config TARGETbackupstore/system-backups/v1.9.2/sysbk-1",
            "system-backup get-config TARGETbackupstore/system-backups/v1.9.2/none",
            "system-backup delete TARGETbackupstore/system-backups/v1.9.2/sysbk-1",
            "system-backup list TARGET",
            "backup rm-backing-image TARGET?backingImage=bi-golden",
            "backup ls-backing-image TARGET",
        ]
    ));
    assert!(store.objects("backups", "").is_empty());
}

#[test]
fn what_is_wrong_with_a_command_line_is_said_as_upstream_says_it() {
    let store = golden(&["backupstore-lz4"]);
    insta::assert_snapshot!(transcript(
        &store,
        &[
            "backup ls",
            "backup ls --volume .. TARGET",
            "backup ls --nope TARGET",
            "backup rm --volume x TARGET",
            "backup inspect TARGET",
            "backup nope",
            "nope",
            "--nope backup ls",
            "backup inspect-backing-image",
            "system-backup list",
            "system-backup upload a",
            "system-backup get-config TARGET",
            "version --client-only",
            "version",
            "backup ls nfs://server:/path",
        ]
    ));
}

#[test]
fn deletions_wait_for_their_lock_and_leave_no_block_behind() {
    let store = golden(&["backupstore-lz4"]);
    let ran = call(&store, "backup rm TARGET?backup=backup-one&volume=golden-vol");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    assert!(ran.took > Duration::from_secs(2), "{:?}", ran.took);
    let blocks = || store.objects("backups", "store/").iter().filter(|object| object.key.ends_with(".blk")).count();
    assert_eq!(blocks(), 7, "of the eight, one was needed by the first backup alone");
    let ran = call(&store, "backup rm --volume golden-vol TARGET");
    assert_eq!((ran.code, blocks(), store.objects("backups", "").len()), (0, 0, 0), "{}", ran.stderr);
    assert_eq!(call(&store, "backup rm --volume golden-vol TARGET").code, 0, "what is gone is deleted");
}

#[test]
fn a_refused_lock_may_look_like_an_absent_backup_to_the_manager() {
    let rival = format!("store/{VOLUME_DIRECTORY}locks/lock-0123456789ab4def.lck");
    let held = r#"{"Name":"lock-0123456789ab4def","Type":1,"Acquired":true}"#;
    let line = "backup rm TARGET?backup=backup-one&volume=golden-vol";
    let store = golden(&["backupstore-lz4"]);
    let fresh = |name: &str, content: &str| {
        // The simulated clock begins in 2026; a lock must be dated by it.
        let (store, name, content) = (Arc::clone(&store), name.to_owned(), content.to_owned());
        run(Options::new(1), async move { store.insert("backups", &name, content) }).unwrap();
    };
    fresh(&rival, held);
    let ran = call(&store, line);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.starts_with("failed to acquire lock "), "{}", ran.stdout);
    assert!(!ran.everything().contains("cannot find"), "{}", ran.everything());

    // A third lock that is listed but gone when it is to be read: its warning is in what the manager searches.
    fresh(&rival.replace("0123456789ab4def", "ffffffffffff4fff"), held);
    let fault = Fault::new(Effect::Refuse(ErrorCode::NoSuchKey)).on([OperationKind::Head]).key("*ffffffffffff4fff*");
    store.add_fault(fault);
    let ran = call(&store, line);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("level=warning msg=\"Failed to load lock") && ran.everything().contains("cannot find"));
    assert!(store.object("backups", &format!("store/{VOLUME_DIRECTORY}backups/backup_backup-one.cfg")).is_some());
}

#[test]
fn a_store_that_refuses_makes_every_command_fail_with_its_answer() {
    let store = golden(&["backupstore-lz4"]);
    store.add_fault(Fault::new(Effect::Refuse(ErrorCode::AccessDenied)));
    for line in ["backup ls --volume-only TARGET", "backup ls-backing-image TARGET", "system-backup list TARGET"] {
        let ran = call(&store, line);
        assert_eq!(ran.code, 1, "{line}");
        assert!(ran.everything().contains("AccessDenied"), "{line}: {}", ran.everything());
    }
}
