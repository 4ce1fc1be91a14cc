//! Files: modes, holes, names, links, and the errors that Linux gives.

use std::io::ErrorKind;

use host::fs::{self, Extent, File, OpenOptions};

parity!(
    content_is_read_as_written,
    holes_stay_holes,
    a_punched_hole_reads_as_zeros,
    extending_and_cutting,
    open_modes_are_kept,
    names_can_be_changed,
    links_share_one_file,
    directories_are_made_and_removed,
    what_is_missing_is_said_so,
    a_removed_file_lives_while_it_is_open,
    syncing_is_allowed,
    a_file_system_says_what_room_it_has,
);

const KIB: u64 = 1024;

async fn new_file(path: &str) -> File {
    OpenOptions::new().read(true).write(true).create_new(true).open(path).await.unwrap()
}

async fn content_is_read_as_written(folder: String) {
    let path = format!("{folder}/a");
    fs::write(&path, b"hello").await.unwrap();
    assert_eq!(fs::read(&path).await.unwrap(), b"hello");
    fs::write(&path, b"bye").await.unwrap();
    assert_eq!(fs::read(&path).await.unwrap(), b"bye");
    let metadata = fs::metadata(&path).await.unwrap();
    assert_eq!((metadata.len, metadata.is_dir, metadata.links), (3, false, 1));
}

async fn holes_stay_holes(folder: String) {
    let file = new_file(&format!("{folder}/sparse")).await;
    file.set_len(1024 * KIB).await.unwrap();
    assert_eq!(file.extents().await.unwrap(), []);
    assert_eq!(file.metadata().await.unwrap().allocated_bytes, 0);
    file.write_all_at(&[7; 4096], 64 * KIB).await.unwrap();
    assert_eq!(file.extents().await.unwrap(), [Extent { offset: 64 * KIB, len: 4 * KIB }]);
    let mut buffer = [1; 16];
    file.read_exact_at(&mut buffer, 64 * KIB - 8).await.unwrap();
    assert_eq!(buffer, [0, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7]);
    assert_eq!(file.metadata().await.unwrap().len, 1024 * KIB);
}

async fn a_punched_hole_reads_as_zeros(folder: String) {
    let file = new_file(&format!("{folder}/punched")).await;
    file.write_all_at(&[9; 64 * 1024], 0).await.unwrap();
    file.punch_hole(16 * KIB, 16 * KIB).await.unwrap();
    let extents = file.extents().await.unwrap();
    assert_eq!(extents, [Extent { offset: 0, len: 16 * KIB }, Extent { offset: 32 * KIB, len: 32 * KIB }]);
    let mut buffer = vec![1; 64 * 1024];
    file.read_exact_at(&mut buffer, 0).await.unwrap();
    assert!(buffer[16 * 1024..32 * 1024].iter().all(|&byte| byte == 0));
    assert_eq!(file.metadata().await.unwrap().len, 64 * KIB);
}

async fn extending_and_cutting(folder: String) {
    let file = new_file(&format!("{folder}/length")).await;
    file.write_all_at(b"0123456789", 0).await.unwrap();
    file.set_len(4).await.unwrap();
    file.set_len(8).await.unwrap();
    let mut buffer = [1; 16];
    assert_eq!(file.read_at(&mut buffer, 0).await.unwrap(), 8);
    assert_eq!(&buffer[..8], b"0123\0\0\0\0");
    assert_eq!(file.read_at(&mut buffer, 100).await.unwrap(), 0);
    let short = file.read_exact_at(&mut buffer, 0).await.unwrap_err();
    assert_eq!(short.kind(), ErrorKind::UnexpectedEof);
}

async fn open_modes_are_kept(folder: String) {
    let path = format!("{folder}/modes");
    let missing = OpenOptions::new().write(true).open(&path).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    fs::write(&path, b"content").await.unwrap();
    let taken = OpenOptions::new().write(true).create_new(true).open(&path).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    let reader = File::open(&path).await.unwrap();
    assert_eq!(reader.write_all_at(b"x", 0).await.unwrap_err().raw_os_error(), Some(9), "EBADF");
    let writer = OpenOptions::new().write(true).open(&path).await.unwrap();
    assert_eq!(writer.read_at(&mut [0; 1], 0).await.unwrap_err().raw_os_error(), Some(9), "EBADF");
    OpenOptions::new().write(true).truncate(true).open(&path).await.unwrap();
    assert_eq!(fs::metadata(&path).await.unwrap().len, 0);
    assert_eq!(OpenOptions::new().write(true).open(&folder).await.unwrap_err().raw_os_error(), Some(21), "EISDIR");
}

async fn names_can_be_changed(folder: String) {
    let (a, b) = (format!("{folder}/a"), format!("{folder}/b"));
    fs::write(&a, b"a").await.unwrap();
    fs::write(&b, b"b").await.unwrap();
    fs::rename(&a, &b).await.unwrap();
    assert_eq!(fs::read(&b).await.unwrap(), b"a");
    assert!(!fs::exists(&a).await.unwrap());
    assert_eq!(fs::rename(&a, &b).await.unwrap_err().kind(), ErrorKind::NotFound);
    fs::create_dir(&a).await.unwrap();
    assert_eq!(fs::rename(&b, &a).await.unwrap_err().raw_os_error(), Some(21), "EISDIR");
    assert_eq!(fs::rename(&a, &b).await.unwrap_err().raw_os_error(), Some(20), "ENOTDIR");
}

async fn links_share_one_file(folder: String) {
    let (a, b) = (format!("{folder}/a"), format!("{folder}/b"));
    fs::write(&a, b"shared").await.unwrap();
    fs::hard_link(&a, &b).await.unwrap();
    assert_eq!(fs::metadata(&b).await.unwrap().links, 2);
    OpenOptions::new().write(true).open(&a).await.unwrap().write_all_at(b"S", 0).await.unwrap();
    fs::remove_file(&a).await.unwrap();
    assert_eq!(fs::read(&b).await.unwrap(), b"Shared");
    assert_eq!(fs::hard_link(&b, &b).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
}

async fn directories_are_made_and_removed(folder: String) {
    let deep = format!("{folder}/x/y/z");
    assert_eq!(fs::create_dir(&deep).await.unwrap_err().kind(), ErrorKind::NotFound);
    fs::create_dir_all(&deep).await.unwrap();
    fs::create_dir_all(&deep).await.unwrap();
    fs::write(&format!("{deep}/file"), b"1").await.unwrap();
    let names: Vec<_> = fs::read_dir(&deep).await.unwrap();
    assert_eq!((names[0].name.as_str(), names[0].is_dir, names.len()), ("file", false, 1));
    assert_eq!(fs::remove_dir(&deep).await.unwrap_err().raw_os_error(), Some(39), "ENOTEMPTY");
    assert_eq!(fs::remove_file(&deep).await.unwrap_err().raw_os_error(), Some(21), "EISDIR");
    fs::remove_dir_all(&format!("{folder}/x")).await.unwrap();
    assert!(!fs::exists(&format!("{folder}/x")).await.unwrap());
}

async fn what_is_missing_is_said_so(folder: String) {
    let nothing = format!("{folder}/nothing");
    assert_eq!(fs::read(&nothing).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs::remove_file(&nothing).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(&nothing).await.unwrap_err().kind(), ErrorKind::NotFound);
    fs::write(&nothing, b"").await.unwrap();
    assert_eq!(fs::read(&format!("{nothing}/below")).await.unwrap_err().raw_os_error(), Some(20), "ENOTDIR");
}

async fn a_removed_file_lives_while_it_is_open(folder: String) {
    let path = format!("{folder}/removed");
    let file = new_file(&path).await;
    file.write_all_at(b"still here", 0).await.unwrap();
    fs::remove_file(&path).await.unwrap();
    let mut buffer = [0; 10];
    file.read_exact_at(&mut buffer, 0).await.unwrap();
    assert_eq!(&buffer, b"still here");
    assert_eq!(file.metadata().await.unwrap().links, 0);
}

async fn syncing_is_allowed(folder: String) {
    let file = new_file(&format!("{folder}/synced")).await;
    file.write_all_at(b"x", 0).await.unwrap();
    file.sync_all().await.unwrap();
    fs::sync_dir(&folder).await.unwrap();
}

async fn a_file_system_says_what_room_it_has(folder: String) {
    let empty = fs::file_system(&folder).await.unwrap();
    assert!(empty.blocks >= empty.free_blocks && empty.free_blocks >= empty.available_blocks && empty.block_bytes > 0);
    assert!(!empty.id.is_empty() && !empty.kind.is_empty());
    fs::write(&format!("{folder}/a"), &[1; 8192]).await.unwrap();
    assert_eq!(fs::file_system(&format!("{folder}/a")).await.unwrap().id, empty.id);
    let missing = fs::file_system(&format!("{folder}/nothing")).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}
