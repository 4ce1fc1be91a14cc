//! Directories and names: create, list, remove, rename, hard links, and Linux's errors for what is impossible.

use crate::common::errno::*;
use crate::common::{errno_of, on_disk, small_disk, with_disk};
use corral_disk::{OpenOptions, fs};

#[test]
fn directories_are_made_listed_and_removed() {
    on_disk(|| async {
        fs::create_dir("/a").await.unwrap();
        assert_eq!(errno_of(fs::create_dir("/a").await), EEXIST);
        assert_eq!(errno_of(fs::create_dir("/").await), EEXIST);
        assert_eq!(errno_of(fs::create_dir("/missing/b").await), ENOENT);
        fs::create_dir_all("/a/b/c").await.unwrap();
        fs::create_dir_all("/a/b/c").await.unwrap();
        fs::create_dir_all("relative/d").await.unwrap();
        fs::write("/a/file", "x").await.unwrap();
        assert_eq!(errno_of(fs::create_dir_all("/a/file/c").await), ENOTDIR);
        assert_eq!(errno_of(fs::create_dir_all("/a/file").await), EEXIST);
        assert_eq!(errno_of(fs::metadata("/a/file/c").await), ENOTDIR);
        assert_eq!(errno_of(fs::read_dir("/a/file").await), ENOTDIR);
        assert_eq!(errno_of(fs::read_dir("/missing").await), ENOENT);

        let mut names: Vec<_> =
            fs::read_dir("/a").await.unwrap().into_iter().map(|entry| (entry.name, entry.is_dir)).collect();
        names.sort();
        assert_eq!(names, [("b".to_owned(), true), ("file".to_owned(), false)]);
        let directory = fs::metadata("/a").await.unwrap();
        assert!(directory.is_dir);
        assert_eq!((directory.links, directory.len, directory.mode), (3, 4096, 0o040_755));

        assert_eq!(errno_of(fs::remove_dir("/a").await), ENOTEMPTY);
        assert_eq!(errno_of(fs::remove_dir("/a/file").await), ENOTDIR);
        assert_eq!(errno_of(fs::remove_dir("/missing").await), ENOENT);
        assert_eq!(errno_of(fs::remove_dir("/").await), EBUSY);
        assert_eq!(errno_of(fs::remove_file("/a/b").await), EISDIR);
        assert_eq!(errno_of(fs::remove_file("/missing").await), ENOENT);
        assert_eq!(errno_of(fs::remove_dir_all("/a/file").await), ENOTDIR);
        assert_eq!(errno_of(fs::remove_dir_all("/missing").await), ENOENT);
        fs::remove_dir_all("/a").await.unwrap();
        assert!(!fs::exists("/a").await.unwrap());
        fs::remove_dir("/relative/d").await.unwrap();
    });
}

#[test]
fn paths_are_walked_as_linux_walks_them() {
    on_disk(|| async {
        fs::create_dir_all("/a/b").await.unwrap();
        fs::write("/a/file", "x").await.unwrap();
        assert_eq!(fs::read("/a/./b/..//file").await.unwrap(), b"x");
        assert_eq!(fs::read("/../a/file").await.unwrap(), b"x");
        assert_eq!(errno_of(fs::read("/a/missing/../file").await), ENOENT);
        assert_eq!(errno_of(fs::read("/a/file/../file").await), ENOTDIR);
        assert_eq!(errno_of(fs::read("").await), ENOENT);
        assert_eq!(errno_of(fs::read("/a/file/").await), ENOTDIR);
        assert_eq!(errno_of(fs::metadata("/a/file/").await), ENOTDIR);
        assert_eq!(errno_of(fs::remove_file("/a/file/").await), ENOTDIR);
        assert_eq!(errno_of(fs::write("/a/new/", "x").await), EISDIR);
        assert_eq!(errno_of(fs::read(format!("/{}", "n".repeat(256))).await), ENAMETOOLONG);
        fs::create_dir("/a/c/").await.unwrap();
    });
}

#[test]
fn a_directory_lists_in_an_order_of_the_seed_that_holds() {
    let order = |seed| {
        with_disk(seed, small_disk(), |bench| async move {
            bench
                .run(async {
                    for name in ["a", "b", "c", "d", "e", "f"] {
                        fs::write(format!("/{name}"), "").await.unwrap();
                    }
                    let names = || async {
                        let entries = fs::read_dir("/").await.unwrap();
                        entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
                    };
                    let first = names().await;
                    assert_eq!(first, names().await);
                    first
                })
                .await
        })
    };
    let orders: std::collections::BTreeSet<_> = (0..8).map(order).collect();
    assert!(orders.len() > 4, "{orders:?}");
    assert_eq!(order(3), order(3));
}

#[test]
fn rename_replaces_what_may_be_replaced() {
    on_disk(|| async {
        fs::write("/one", "1").await.unwrap();
        fs::write("/two", "2").await.unwrap();
        let one = fs::metadata("/one").await.unwrap().inode;
        fs::rename("/one", "/two").await.unwrap();
        assert_eq!(fs::read("/two").await.unwrap(), b"1");
        assert_eq!(fs::metadata("/two").await.unwrap().inode, one);
        assert!(!fs::exists("/one").await.unwrap());
        assert_eq!(errno_of(fs::rename("/one", "/two").await), ENOENT);
        fs::rename("/two", "/two").await.unwrap();

        fs::create_dir_all("/d/e").await.unwrap();
        fs::create_dir("/empty").await.unwrap();
        assert_eq!(errno_of(fs::rename("/two", "/d").await), EISDIR);
        assert_eq!(errno_of(fs::rename("/d", "/two").await), ENOTDIR);
        assert_eq!(errno_of(fs::rename("/empty", "/d").await), ENOTEMPTY);
        assert_eq!(errno_of(fs::rename("/d", "/d/e/f").await), EINVAL);
        assert_eq!(errno_of(fs::rename("/d/e", "/d").await), ENOTEMPTY);
        assert_eq!(errno_of(fs::rename("/", "/x").await), EBUSY);
        assert_eq!(errno_of(fs::rename("/two", "/missing/x").await), ENOENT);
        assert_eq!(errno_of(fs::rename("/two", "/three/").await), ENOTDIR);
        fs::rename("/d", "/empty").await.unwrap();
        assert!(fs::exists("/empty/e").await.unwrap());
        fs::rename("/empty/e", "/moved/").await.unwrap();
        assert_eq!(fs::metadata("/").await.unwrap().links, 4);
    });
}

#[test]
fn a_file_has_as_many_names_as_it_is_given() {
    on_disk(|| async {
        fs::write("/a", "x").await.unwrap();
        fs::create_dir("/d").await.unwrap();
        fs::hard_link("/a", "/d/b").await.unwrap();
        assert_eq!(errno_of(fs::hard_link("/a", "/d/b").await), EEXIST);
        assert_eq!(errno_of(fs::hard_link("/missing", "/c").await), ENOENT);
        assert_eq!(errno_of(fs::hard_link("/d", "/c").await), EPERM);
        let (a, b) = (fs::metadata("/a").await.unwrap(), fs::metadata("/d/b").await.unwrap());
        assert_eq!((a.inode, a.links), (b.inode, 2));
        let file = OpenOptions::new().write(true).open("/d/b").await.unwrap();
        file.write_all_at(b"y", 0).await.unwrap();
        assert_eq!(fs::read("/a").await.unwrap(), b"y");
        // Renaming one name of a file over another does nothing.
        fs::rename("/a", "/d/b").await.unwrap();
        assert!(fs::exists("/a").await.unwrap());
        fs::remove_file("/a").await.unwrap();
        assert_eq!(fs::metadata("/d/b").await.unwrap().links, 1);
        assert_eq!(fs::read("/d/b").await.unwrap(), b"y");
    });
}
