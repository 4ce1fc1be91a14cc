//! Operations that the golden data does not show.

use host::fs;
use longhorn_replica::format::{BackingFile, Directory, Options, Replica};
use longhorn_replica::{ReplicaState, Server};

use crate::support::{shape, simulated};

const SIZE: i64 = 1 << 20;

async fn fresh(name: &str, options: Options) -> Replica {
    Replica::open(&Directory::new(format!("/disk/{name}")), SIZE, options).await.expect("created")
}

async fn read(replica: &Replica, offset: u64, length: usize) -> Vec<u8> {
    let mut buffer = vec![0xee; length];
    replica.read_at(&mut buffer, offset).await.expect("readable");
    buffer
}

#[test]
fn odd_writes_change_only_what_they_cover() {
    simulated(|| async {
        let replica = fresh("r", Options::default()).await;
        let mut expected = vec![0; SIZE as usize];
        let writes =
            [(10, 100), (4000, 200), (8192, 1), (12_287, 2), (20_000, 20_000), (0, 4096), (SIZE as usize - 1, 1)];
        for (index, (offset, length)) in writes.into_iter().enumerate() {
            let bytes = vec![index as u8 + 1; length];
            replica.write_at(&bytes, offset as u64).await.expect("a write");
            expected[offset..offset + length].copy_from_slice(&bytes);
        }
        assert!(read(&replica, 0, SIZE as usize).await == expected);
        assert_eq!(replica.revision().await, writes.len() as i64);
    });
}

#[test]
fn beyond_the_end_nothing_is_read_or_written() {
    simulated(|| async {
        let replica = fresh("r", Options::default()).await;
        let mut buffer = [0; 4096];
        let error = replica.read_at(&mut buffer, SIZE as u64).await.expect_err("there is nothing");
        assert_eq!(error.to_string(), "unexpected EOF");
        let (count, error) = replica.write_at(&buffer, SIZE as u64 - 2048).await.expect_err("there is no room");
        assert_eq!(
            (count, error.to_string().as_str()),
            (0, "write of 4096 bytes at offset 1046528 is beyond volume size 1048576")
        );
        replica.write_at(&buffer, u64::MAX - 100).await.expect_err("not even near the end of numbers");
        replica.read_at(&mut buffer, u64::MAX - 100).await.expect_err("not even near the end of numbers");
    });
}

#[test]
fn a_backing_file_lies_below_all_layers() {
    simulated(|| async {
        let image: Vec<u8> = (0..65_536_u32).map(|index| (index / 4096 + 1) as u8).collect();
        fs::create_dir_all("/disk/image").await.expect("a directory");
        fs::write("/disk/image/backing", &image).await.expect("an image");
        let backing = BackingFile::find("/disk/image").await.expect("an image");
        let mut replica = fresh("r", Options { backing: Some(backing), ..Options::default() }).await;
        assert_eq!(read(&replica, 4096, 4096).await, [2; 4096]);
        replica.write_at(&[0xaa; 100], 4096).await.expect("a write");
        replica.snapshot("one", true, "2026-11-20T17:29:19Z", None).await.expect("a snapshot");
        replica.write_at(&[0xbb; 4096], 8192).await.expect("a write");
        let expected = [vec![0xaa; 100], vec![2; 3996], vec![0xbb; 4096], vec![4; 4096]].concat();
        assert_eq!(read(&replica, 4096, 3 * 4096).await, expected);
        assert_eq!(read(&replica, 65_536, 4096).await, [0; 4096], "behind the image there are zeros");
        replica.close().await.expect("closed");

        let directory = Directory::new("/disk/r");
        let snapshot = Replica::open_snapshot(&directory, "one").await.expect("a snapshot");
        assert_eq!(read(&snapshot, 8192, 4096).await, [3; 4096]);
        let meta = &shape(&directory).await["volume.meta"];
        assert!(meta.contains(r#""BackingFilePath":"/disk/image/backing""#), "{meta}");
        let compared = snapshot.compare("one", None, 2 << 20).await.expect("a comparison");
        assert_eq!(compared.len(), 1, "the image itself is not part of a backup");
        let data = snapshot.data(true).await.expect("a layout");
        assert_eq!(data.len(), 1, "with the image all is data: {data:?}");
    });
}

#[test]
fn images_of_other_kinds_are_refused() {
    simulated(|| async {
        fs::write("/disk/q", b"QFI\xfb and so on").await.expect("an image");
        let error = BackingFile::find("/disk/q").await.expect_err("not raw");
        assert_eq!(error.to_string(), "format qcow2 of the backing file /disk/q is not supported");
        fs::write("/disk/odd", &[1; 700]).await.expect("an image");
        let error = BackingFile::find("/disk/odd").await.expect_err("odd");
        assert!(error.to_string().contains("should be a multiple of 512 bytes"), "{error}");
        BackingFile::find("/disk/none").await.expect_err("nothing there");
    });
}

#[test]
fn unmapping_frees_and_older_data_shows_again_after_a_reload() {
    simulated(|| async {
        let mut replica = fresh("r", Options::default()).await;
        replica.write_at(&[1; 8192], 0).await.expect("a write");
        replica.snapshot("one", true, "2026-11-20T17:29:19Z", None).await.expect("a snapshot");
        replica.write_at(&[2; 8192], 0).await.expect("a write");
        assert_eq!(replica.unmap_at(8000, 10).await.expect("unmapped"), 0, "no whole sector");
        assert_eq!(replica.unmap_at(8192, 0).await.expect("unmapped"), 8192);
        assert_eq!(read(&replica, 0, 8192).await, [0; 8192]);
        let reloaded = replica.reload().await.expect("reloaded");
        assert_eq!(read(&reloaded, 0, 8192).await, [1; 8192]);
    });
}

#[test]
fn states_follow_the_replica() {
    simulated(|| async {
        let server = Server::new(Directory::new("/disk/r"), Options::default());
        assert_eq!(server.status().await.0, ReplicaState::Initial);
        server.create(SIZE).await.expect("created");
        server.create(2 * SIZE).await.expect("created already");
        let (state, info) = server.status().await;
        assert_eq!((state, info.size, info.dirty), (ReplicaState::Closed, SIZE, false));
        assert_eq!(
            server.set_rebuilding(true).await.expect_err("closed").to_string(),
            "cannot set rebuilding=true from state closed"
        );
        server.open().await.expect("opened");
        assert_eq!(server.status().await.0, ReplicaState::Open);
        assert_eq!(server.open().await.expect_err("twice").to_string(), "replica is already open");
        server.replica().await.as_ref().expect("open").write_at(&[1; 512], 0).await.expect("a write");
        assert_eq!(server.status().await.0, ReplicaState::Dirty);
        server.set_rebuilding(true).await.expect("marked");
        server.reload().await.expect("reloaded");
        assert_eq!(server.status().await.0, ReplicaState::Rebuilding);
        server.set_rebuilding(false).await.expect("no longer");
        server.close().await.expect("closed");
        assert_eq!(server.status().await.0, ReplicaState::Closed);
    });
}

#[test]
fn snapshots_are_limited_and_named_once() {
    simulated(|| async {
        let mut replica = fresh("r", Options { snapshot_max_count: 2, ..Options::default() }).await;
        let created = "2026-11-20T17:29:19Z";
        replica.snapshot("one", true, created, None).await.expect("a snapshot");
        let error = replica.snapshot("one", true, created, None).await.expect_err("twice");
        assert_eq!(error.to_string(), "snapshot volume-snap-one.img is already existing");
        replica.snapshot("two", true, created, None).await.expect("a snapshot");
        let error = replica.snapshot("three", true, created, None).await.expect_err("too many");
        assert_eq!(error.to_string(), "too many active disks: 3");
        let error = replica.remove_disk("volume-head-002.img", false).await.expect_err("the head");
        assert_eq!(error.to_string(), "cannot delete the active differencing disk");
        replica.remove_disk("volume-snap-nothing.img", true).await.expect_err("not there");
    });
}
