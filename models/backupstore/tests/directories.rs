//! A target that is a directory: on a real file system, and on a simulated disk that fails.

mod common;

use std::sync::Arc;

use common::hasty;
use common::place::{Place, everywhere, on_disk};
use corral_disk::{FaultKind, FaultRule};
use longhorn_backupstore::driver::{self, Driver};
use longhorn_backupstore::{Context, Credentials};

async fn open(place: &Place) -> Arc<dyn Driver> {
    driver::open(&place.address(), &Credentials::none(), &Context::new(hasty())).await.expect("a directory opens")
}

fn in_directories<F: Future<Output = ()> + Send + 'static>(test: impl Fn(Place) -> F + Clone + Send + 'static) {
    everywhere(move |place| {
        let run = !matches!(place, Place::Bucket(_));
        let test = test.clone();
        async move {
            if run {
                test(place).await;
            }
        }
    });
}

#[test]
fn a_file_is_replaced_as_a_whole_and_leaves_nothing_beside_it() {
    in_directories(|place| async move {
        let driver = open(&place).await;
        assert_eq!(driver.file_size("backupstore/a/b.cfg").await, None);
        driver.write("backupstore/a/b.cfg", "first".into()).await.expect("written");
        driver.write("backupstore/a/b.cfg", "second".into()).await.expect("written");
        assert_eq!(driver.read("backupstore/a/b.cfg").await.expect("read"), "second");
        assert_eq!(
            (driver.file_size("backupstore/a/b.cfg").await, driver.file_size("backupstore/a").await),
            (Some(6), None)
        );
        assert!(driver.file_time("backupstore/a/b.cfg").await.is_some() && driver.file_time("nowhere").await.is_none());
        assert_eq!(place.names(), ["backupstore/a/b.cfg"]);
        driver.read("nowhere").await.expect_err("absent");
        assert_eq!((driver.kind(), driver.url()), ("vfs", place.address().as_str()));
    });
}

#[test]
fn a_list_is_that_of_ls() {
    in_directories(|place| async move {
        let driver = open(&place).await;
        for name in ["d/b", "d/a/x", "d/.hidden", "d/c"] {
            place.put(name, "content");
        }
        assert_eq!(driver.list("d/").await.expect("a list"), ["a", "b", "c"]);
        assert!(driver.list("nowhere").await.expect("a list").is_empty());
        assert_eq!(driver.list("d/b").await.expect("a list").len(), 1, "a file lists itself");
    });
}

#[test]
fn a_removal_takes_directories_with_it_that_it_leaves_empty_but_never_the_base() {
    in_directories(|place| async move {
        let driver = open(&place).await;
        let exists = async |path: &str| {
            host::fs::exists(&format!("{}/{path}", place.address().strip_prefix("vfs://").expect("vfs")))
                .await
                .expect("a look")
        };
        for name in ["backupstore/v/1/2/vol/x", "backupstore/v/1/3/vol/y"] {
            driver.write(name, "content".into()).await.expect("written");
        }
        driver.remove("backupstore/v/1/2/vol/x").await.expect("removed");
        assert!(!exists("backupstore/v/1/2").await && exists("backupstore/v/1/3").await);
        driver.remove("backupstore/v/1/3/").await.expect("removed");
        assert!(!exists("backupstore/v").await && exists("backupstore").await);
        driver.remove("backupstore/v/1/3/").await.expect("what is gone is removed");
    });
}

#[test]
fn a_disk_that_fails_is_told_from_an_absent_directory() {
    on_disk(|disk| async move {
        let place = Place::Disk(Arc::clone(&disk));
        let driver = open(&place).await;
        driver.write("backupstore/d/x", "content".into()).await.expect("written");
        let fault = disk.set_fault(FaultRule::new("d", FaultKind::ReadError));
        let error = driver.list("backupstore/d").await.expect_err("it cannot be read").to_string();
        assert!(error.contains("ls: reading directory '/target/backupstore/d'"), "{error}");
        disk.clear_fault(fault);
        disk.set_fault(FaultRule::new("x", FaultKind::ReadError));
        driver.read("backupstore/d/x").await.expect_err("it cannot be read");
    });
}

#[test]
fn a_write_that_cannot_be_renamed_into_place_leaves_the_old_content_and_its_temporary_file() {
    on_disk(|disk| async move {
        let place = Place::Disk(Arc::clone(&disk));
        let driver = open(&place).await;
        driver.write("backupstore/x.cfg", "old".into()).await.expect("written");
        disk.set_fault(FaultRule::new("/target/backupstore/x.cfg", FaultKind::ReadOnly));
        driver.write("backupstore/x.cfg", "new".into()).await.expect_err("it cannot be renamed into place");
        assert_eq!(place.text("backupstore/x.cfg"), "old");
        let names = place.names();
        assert!(names.len() == 2 && names[1].starts_with("backupstore/x.cfg.tmp."), "{names:?}");
    });
}
