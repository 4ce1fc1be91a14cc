//! Damaged and foreign directories: an error that names the file, and nothing is lost.

use host::fs;
use longhorn_replica::format::{Directory, Options, Replica};
use longhorn_replica::{ReplicaState, Server};

use crate::support::{shape, simulated};

const SIZE: i64 = 1 << 20;

/// A closed replica with one snapshot.
async fn replica(name: &str) -> Directory {
    let directory = Directory::new(format!("/disk/{name}"));
    let mut replica = Replica::open(&directory, SIZE, Options::default()).await.expect("created");
    replica.write_at(&[1; 4096], 0).await.expect("a write");
    replica.snapshot("one", true, "2026-11-20T17:29:19Z", None).await.expect("a snapshot");
    replica.write_at(&[2; 4096], 4096).await.expect("a write");
    replica.close().await.expect("closed");
    directory
}

async fn opened(directory: &Directory) -> Result<Replica, String> {
    Replica::open(directory, SIZE, Options::default()).await.map_err(|error| error.to_string())
}

#[test]
fn broken_metadata_is_an_error_and_loses_nothing() {
    simulated(|| async {
        let cases: [(&str, &[u8], &str); 6] = [
            ("volume.meta", b"{\"Size\":104", "invalid metadata file /disk/0/volume.meta: unexpected EOF"),
            (
                "volume.meta",
                b"\x00\xff garbage",
                "invalid metadata file /disk/1/volume.meta: expected value at line 1 column 1",
            ),
            ("volume-snap-one.img.meta", b"", "invalid metadata file /disk/2/volume-snap-one.img.meta: EOF"),
            (
                "volume-snap-one.img.meta",
                b"[]",
                "invalid metadata file /disk/3/volume-snap-one.img.meta: cannot unmarshal array",
            ),
            (
                "volume-head-001.img.meta",
                b"{\"Parent\":7}",
                "invalid metadata file /disk/4/volume-head-001.img.meta: invalid type: integer `7`, expected a string at line 1 column 11",
            ),
            ("revision.counter", b"many", "failed to parse revision counter file: invalid number \"many\""),
        ];
        for (index, (file, content, expected)) in cases.into_iter().enumerate() {
            let directory = replica(&index.to_string()).await;
            fs::write(&directory.path(file), content).await.expect("damaged");
            let before = shape(&directory).await;
            assert_eq!(opened(&directory).await.expect_err(file), expected);
            if file == "volume.meta" {
                let server = Server::new(directory.clone(), Options::default());
                assert_eq!(server.status().await.0, ReplicaState::Error);
            }
            assert_eq!(shape(&directory).await, before, "{file}");
        }
    });
}

#[test]
fn lost_volume_metadata_is_made_again() {
    simulated(|| async {
        for (name, content) in [("missing", None), ("empty", Some(""))] {
            let directory = replica(name).await;
            match content {
                Some(content) => fs::write(&directory.path("volume.meta"), content.as_bytes()).await.expect("emptied"),
                None => fs::remove_file(&directory.path("volume.meta")).await.expect("removed"),
            }
            let replica = opened(&directory).await.expect("it opens all the same");
            let mut buffer = [0; 8192];
            replica.read_at(&mut buffer, 0).await.expect("readable");
            assert_eq!((buffer[0], buffer[4096]), (1, 2));
        }
    });
}

#[test]
fn broken_chains_are_an_error() {
    simulated(|| async {
        let directory = replica("loop").await;
        let meta = directory.path("volume-snap-one.img.meta");
        fs::write(&meta, br#"{"Parent":"volume-head-001.img"}"#).await.expect("damaged");
        let error = opened(&directory).await.expect_err("a loop");
        assert_eq!(error, "the parents of volume-head-001.img form a loop at volume-head-001.img");

        let directory = replica("orphan").await;
        fs::write(&directory.path("volume-snap-one.img.meta"), br#"{"Parent":"volume-snap-zero.img"}"#)
            .await
            .expect("damaged");
        assert_eq!(
            opened(&directory).await.expect_err("no parent"),
            "failed to find metadata for volume-snap-zero.img"
        );

        let directory = replica("no-image").await;
        fs::remove_file(&directory.path("volume-snap-one.img")).await.expect("removed");
        let error = opened(&directory).await.expect_err("no image");
        assert_eq!(error, "open /disk/no-image/volume-snap-one.img: no such file or directory");

        let directory = replica("no-head").await;
        fs::write(&directory.path("volume.meta"), br#"{"Size":1048576}"#).await.expect("damaged");
        assert_eq!(opened(&directory).await.expect_err("no head"), "failed to find the volume's head");
    });
}

#[test]
fn foreign_directories_are_left_alone() {
    simulated(|| async {
        fs::create_dir_all("/disk/foreign").await.expect("a directory");
        fs::write("/disk/foreign/photo.jpg", b"not ours").await.expect("a file");
        let directory = Directory::new("/disk/foreign");
        let server = Server::new(directory.clone(), Options::default());
        assert_eq!(server.status().await.0, ReplicaState::Initial);
        server.open().await.expect_err("there is no replica");
        assert_eq!(fs::read("/disk/foreign/photo.jpg").await.expect("there"), b"not ours");
        Replica::open_snapshot(&directory, "one").await.expect_err("no snapshot");
        let error = Server::new(Directory::new("/nowhere/r"), Options::default()).create(SIZE).await;
        assert_eq!(error.expect_err("no place").to_string(), "mkdir /nowhere/r: no such file or directory");
    });
}
