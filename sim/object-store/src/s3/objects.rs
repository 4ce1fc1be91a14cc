//! The operations on objects.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::answers::{self, Entity};
use super::errors::{ErrorCode, Failure};
use super::request::{List, Target};
use super::{Faults, Outcome};
use crate::faults::Effect;
use crate::listing;
use crate::store::{BucketStore, digest};

pub(super) async fn put(
    store: &BucketStore,
    target: &Target,
    checksum: Option<&str>,
    body: Incoming,
    faults: &Faults,
) -> Outcome {
    let cut = faults.find(|effect| match effect {
        Effect::CutUpload { after_bytes, keep } => Some((*after_bytes, *keep)),
        _ => None,
    });
    let list_late = faults.find(|effect| if let Effect::ListLate { window } = effect { Some(*window) } else { None });
    let (content, whole) = read_body(body, cut.map(|(after_bytes, _)| after_bytes)).await;
    faults.delay().await;
    faults.transfer(content.len()).await;
    if !whole {
        if cut.is_some_and(|(_, keep)| keep) {
            store.put(&target.bucket, &target.key, content, None, list_late);
        }
        return Err(Failure::ConnectionCut);
    }
    faults.refusal()?;
    let known = digest(&content);
    if checksum.is_some_and(|announced| announced != known) {
        return Err(ErrorCode::XAmzContentSHA256Mismatch.into());
    }
    let etag =
        store.put(&target.bucket, &target.key, content, Some(known), list_late).ok_or(ErrorCode::NoSuchBucket)?;
    Ok(answers::stored(&etag))
}

/// Reads an upload; false if it ended before its announced length, by itself or by the fault that cuts it.
async fn read_body(mut body: Incoming, cut_after: Option<u64>) -> (Bytes, bool) {
    let mut content = BytesMut::new();
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => content.extend_from_slice(&data),
            Ok(Err(_trailers)) => {}
            Err(_peer_is_gone) => return (content.freeze(), false),
        }
        if let Some(limit) = cut_after
            && content.len() as u64 >= limit
        {
            content.truncate(usize::try_from(limit).expect("not more than has been read"));
            return (content.freeze(), false);
        }
    }
    (content.freeze(), cut_after.is_none())
}

pub(super) async fn get(store: &BucketStore, target: &Target, range: Option<&str>, faults: &Faults) -> Outcome {
    let object = find(store, target)?;
    let length = object.bytes.len() as u64;
    let part = match range.and_then(|text| parse_range(text, length)) {
        None => None,
        Some(Ok(part)) => Some(part),
        Some(Err(())) => return Err(ErrorCode::InvalidRange.into()),
    };
    let (start, end) = part.unwrap_or((0, length));
    let content = object.bytes.slice(in_memory(start)..in_memory(end));
    faults.transfer(content.len()).await;
    let entity = Entity { etag: &object.etag, modified: object.modified };
    Ok(answers::content(&entity, content, part.map(|(start, end)| format!("bytes {start}-{}/{length}", end - 1))))
}

pub(super) fn head(store: &BucketStore, target: &Target) -> Outcome {
    let object = find(store, target)?;
    Ok(answers::head(&Entity { etag: &object.etag, modified: object.modified }, object.bytes.len()))
}

pub(super) fn delete(store: &BucketStore, target: &Target, faults: &Faults) -> Outcome {
    let window = faults.find(|effect| if let Effect::ListDeleted { window } = effect { Some(*window) } else { None });
    store.delete(&target.bucket, &target.key, window).ok_or(ErrorCode::NoSuchBucket)?;
    Ok(answers::empty(StatusCode::NO_CONTENT))
}

pub(super) fn list(store: &BucketStore, target: &Target, list: &List, faults: &Faults) -> Outcome {
    let mut listed = store.listed(&target.bucket, &list.prefix).ok_or(ErrorCode::NoSuchBucket)?;
    if faults.has(|effect| matches!(effect, Effect::EmptyList)) {
        listed.clear();
    }
    Ok(answers::list(&target.bucket, list, &listing::page(listed, &list.prefix, &list.page)))
}

fn find(store: &BucketStore, target: &Target) -> Result<crate::store::Object, Failure> {
    match store.get(&target.bucket, &target.key) {
        Some(object) => Ok(object),
        None if store.has_bucket(&target.bucket) => Err(ErrorCode::NoSuchKey.into()),
        None => Err(ErrorCode::NoSuchBucket.into()),
    }
}

/// One range of bytes, as start and exclusive end. `None`: not a range this server heeds (RFC 9110 lets it send the
/// whole then); `Err`: not satisfiable.
fn parse_range(text: &str, length: u64) -> Option<Result<(u64, u64), ()>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (first.is_empty(), last.is_empty()) {
        (true, true) => return None,
        (true, false) => (length.saturating_sub(last.parse().ok()?), length),
        (false, true) => (first.parse().ok()?, length),
        (false, false) => {
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(length))
        }
    };
    Some(if start < end { Ok((start, end)) } else { Err(()) })
}

fn in_memory(offset: u64) -> usize {
    usize::try_from(offset).expect("an object's bytes are in memory")
}

#[cfg(test)]
mod tests {
    use super::parse_range;

    #[test]
    fn ranges_are_inclusive_and_cut_at_the_end() {
        assert_eq!(parse_range("bytes=0-3", 10), Some(Ok((0, 4))));
        assert_eq!(parse_range("bytes=4-", 10), Some(Ok((4, 10))));
        assert_eq!(parse_range("bytes=-3", 10), Some(Ok((7, 10))));
        assert_eq!(parse_range("bytes=-30", 10), Some(Ok((0, 10))));
        assert_eq!(parse_range("bytes=8-99", 10), Some(Ok((8, 10))));
        assert_eq!(parse_range("bytes=10-", 10), Some(Err(())));
        assert_eq!(parse_range("bytes=5-2", 10), None);
        assert_eq!(parse_range("bytes=0-1,4-5", 10), None);
        assert_eq!(parse_range("lines=0-1", 10), None);
    }
}
