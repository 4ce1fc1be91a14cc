//! Open modes, and what may be done with which handle.

use crate::common::errno::*;
use crate::common::{errno_of, on_disk};
use corral_disk::{OpenOptions, fs};

#[test]
fn modes_create_cut_refuse_and_append() {
    on_disk(|| async {
        assert_eq!(errno_of(OpenOptions::new().read(true).open("/f").await), ENOENT);
        assert_eq!(errno_of(OpenOptions::new().write(true).open("/f").await), ENOENT);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open("/f").await.unwrap();
        file.write_all_at(b"hello", 0).await.unwrap();
        assert_eq!(file.metadata().await.unwrap().mode, 0o100_600);
        assert_eq!(errno_of(OpenOptions::new().write(true).create_new(true).open("/f").await), EEXIST);
        OpenOptions::new().write(true).create(true).open("/f").await.unwrap();
        assert_eq!(fs::read("/f").await.unwrap(), b"hello");

        let append = OpenOptions::new().append(true).open("/f").await.unwrap();
        assert_eq!(append.write_at(b" you", 0).await.unwrap(), 4);
        assert_eq!(fs::read("/f").await.unwrap(), b"hello you");
        OpenOptions::new().write(true).truncate(true).open("/f").await.unwrap();
        assert_eq!(fs::read("/f").await.unwrap(), b"");
        fs::write("/f", "longer").await.unwrap();
        fs::write("/f", "short").await.unwrap();
        assert_eq!(fs::read("/f").await.unwrap(), b"short");
    });
}

#[test]
fn impossible_modes_are_refused() {
    on_disk(|| async {
        assert_eq!(errno_of(OpenOptions::new().open("/f").await), EINVAL);
        assert_eq!(errno_of(OpenOptions::new().read(true).create(true).open("/f").await), EINVAL);
        assert_eq!(errno_of(OpenOptions::new().read(true).truncate(true).open("/f").await), EINVAL);
        assert_eq!(errno_of(OpenOptions::new().append(true).truncate(true).open("/f").await), EINVAL);
        fs::create_dir("/d").await.unwrap();
        assert_eq!(errno_of(OpenOptions::new().write(true).open("/d").await), EISDIR);
        assert_eq!(errno_of(OpenOptions::new().write(true).create(true).open("/d").await), EISDIR);
        assert_eq!(errno_of(OpenOptions::new().write(true).create_new(true).open("/d").await), EEXIST);
        let directory = OpenOptions::new().read(true).open("/d").await.unwrap();
        assert_eq!(errno_of(directory.read_at(&mut [0; 1], 0).await), EISDIR);
        directory.sync_all().await.unwrap();
    });
}

#[test]
fn handles_do_what_they_were_opened_for() {
    on_disk(|| async {
        fs::write("/f", "content").await.unwrap();
        let reader = OpenOptions::new().read(true).open("/f").await.unwrap();
        assert_eq!(errno_of(reader.write_at(b"x", 0).await), EBADF);
        assert_eq!(errno_of(reader.set_len(0).await), EINVAL);
        assert_eq!(errno_of(reader.punch_hole(0, 1).await), EBADF);
        reader.sync_all().await.unwrap();
        let writer = OpenOptions::new().write(true).open("/f").await.unwrap();
        assert_eq!(errno_of(writer.read_at(&mut [0; 1], 0).await), EBADF);
        assert_eq!(errno_of(writer.punch_hole(0, 0).await), EINVAL);
        assert_eq!(errno_of(writer.set_len(1 << 60).await), EFBIG);
        assert_eq!(errno_of(writer.write_at(b"x", 1 << 60).await), EFBIG);
        assert_eq!(errno_of(writer.write_at(b"x", u64::MAX).await), EINVAL);

        let mut buffer = [0; 16];
        assert_eq!(reader.read_at(&mut buffer, 3).await.unwrap(), 4);
        assert_eq!(&buffer[..4], b"tent");
        assert_eq!(reader.read_at(&mut buffer, 7).await.unwrap(), 0);
        assert_eq!(reader.read_at(&mut buffer, 1 << 40).await.unwrap(), 0);
        assert_eq!(reader.read_exact_at(&mut buffer, 0).await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn direct_access_is_by_sectors() {
    on_disk(|| async {
        let file = OpenOptions::new().read(true).write(true).create(true).direct(true).open("/f").await.unwrap();
        assert_eq!(errno_of(file.write_at(&[1; 100], 0).await), EINVAL);
        assert_eq!(errno_of(file.write_at(&[1; 512], 100).await), EINVAL);
        file.write_all_at(&[1; 512], 512).await.unwrap();
        file.write_all_at(&[2; 4096], 4096).await.unwrap();
        assert_eq!(errno_of(file.read_at(&mut [0; 10], 0).await), EINVAL);
        let mut buffer = [9; 8192];
        assert_eq!(file.read_at(&mut buffer, 0).await.unwrap(), 8192);
        assert!(buffer[..512].iter().all(|&byte| byte == 0) && buffer[512..1024].iter().all(|&byte| byte == 1));
        assert!(buffer[1024..4096].iter().all(|&byte| byte == 0) && buffer[4096..].iter().all(|&byte| byte == 2));
        // A file whose size is no multiple of a sector ends with a short read.
        file.set_len(5000).await.unwrap();
        assert_eq!(file.read_at(&mut buffer, 4096).await.unwrap(), 904);
    });
}
