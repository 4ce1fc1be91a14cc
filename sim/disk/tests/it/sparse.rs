//! Holes: extents, allocated bytes, punching, truncation.

use crate::common::on_disk;
use corral_disk::{Extent, File, OpenOptions, fs};

async fn new_file(path: &str) -> File {
    OpenOptions::new().read(true).write(true).create(true).open(path).await.unwrap()
}

async fn extents(file: &File) -> Vec<(u64, u64)> {
    file.extents().await.unwrap().into_iter().map(|Extent { offset, len }| (offset, len)).collect()
}

#[test]
fn what_was_not_written_is_a_hole() {
    on_disk(|| async {
        let file = new_file("/image").await;
        file.set_len(1 << 30).await.unwrap();
        let metadata = file.metadata().await.unwrap();
        assert_eq!((metadata.len, metadata.allocated_bytes), (1 << 30, 0));
        assert_eq!(extents(&file).await, []);
        file.write_all_at(&[7; 4096], 8192).await.unwrap();
        file.write_all_at(&[7; 1], 20_000).await.unwrap();
        file.write_all_at(&[7; 4096], 12_288).await.unwrap();
        assert_eq!(extents(&file).await, [(8192, 12_288)]);
        file.write_all_at(&[7; 10], (1 << 30) - 10).await.unwrap();
        assert_eq!(file.metadata().await.unwrap().allocated_bytes, 4 * 4096);
        let mut buffer = [1; 4096];
        assert_eq!(file.read_at(&mut buffer, 1 << 20).await.unwrap(), 4096);
        assert_eq!(buffer, [0; 4096]);
        let part = file.extents_in(9000, 1000).await.unwrap();
        assert_eq!(part, [Extent { offset: 9000, len: 1000 }]);
    });
}

#[test]
fn zeros_that_were_written_are_data() {
    on_disk(|| async {
        let file = new_file("/f").await;
        file.write_all_at(&[0; 8192], 0).await.unwrap();
        assert_eq!(extents(&file).await, [(0, 8192)]);
        assert_eq!(file.metadata().await.unwrap().allocated_bytes, 8192);
    });
}

#[test]
fn extents_end_with_the_file() {
    on_disk(|| async {
        let file = new_file("/f").await;
        file.write_all_at(&[7; 5000], 0).await.unwrap();
        assert_eq!(extents(&file).await, [(0, 5000)]);
        assert_eq!(file.metadata().await.unwrap().allocated_bytes, 8192);
        // Writing far beyond the end leaves a hole between.
        file.write_all_at(&[7; 4096], 1 << 20).await.unwrap();
        assert_eq!(extents(&file).await, [(0, 8192), (1 << 20, 4096)]);
    });
}

#[test]
fn punching_frees_whole_blocks_and_zeroes_the_rest() {
    on_disk(|| async {
        let file = new_file("/f").await;
        file.write_all_at(&[7; 4 * 4096], 0).await.unwrap();
        file.punch_hole(100, 2 * 4096).await.unwrap();
        assert_eq!(extents(&file).await, [(0, 4096), (8192, 8192)]);
        let content = fs::read("/f").await.unwrap();
        assert!(content[..100].iter().all(|&byte| byte == 7));
        assert!(content[100..8292].iter().all(|&byte| byte == 0));
        assert!(content[8292..].iter().all(|&byte| byte == 7));
        // The size stays, also past the end.
        file.punch_hole(3 * 4096, 1 << 30).await.unwrap();
        assert_eq!(file.metadata().await.unwrap().len, 4 * 4096);
        assert_eq!(extents(&file).await, [(0, 4096), (8192, 4096)]);
        // A small punch within a block frees nothing.
        file.punch_hole(0, 10).await.unwrap();
        assert_eq!(file.metadata().await.unwrap().allocated_bytes, 8192);
        assert_eq!(fs::read("/f").await.unwrap()[..11], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    });
}

#[test]
fn what_was_cut_off_comes_back_as_zeros() {
    on_disk(|| async {
        let file = new_file("/f").await;
        file.write_all_at(&[7; 3 * 4096], 0).await.unwrap();
        file.set_len(5000).await.unwrap();
        assert_eq!(file.metadata().await.unwrap().allocated_bytes, 8192);
        file.set_len(3 * 4096).await.unwrap();
        let content = fs::read("/f").await.unwrap();
        assert!(content[..5000].iter().all(|&byte| byte == 7));
        assert!(content[5000..].iter().all(|&byte| byte == 0));
        assert_eq!(extents(&file).await, [(0, 8192)]);
    });
}
