//! Where backing images are downloaded from: a web server on a pod of its own. The address says how large a file is; its bytes follow from its
//! name, so that no two files are alike.

use std::net::Ipv4Addr;

use bytes::{Bytes, BytesMut};
use corral_cluster::Image;
use host::http::{Body, empty, full, serve};
use host::net::TcpListener;
use host::process::program;
use http::{Response, StatusCode, header};
use serde_json::Value;

use crate::server_pod::ServerPod;

/// Repository of the server's image.
pub const REPOSITORY: &str = "corral/file-server";

const POD: ServerPod = ServerPod {
    namespace: "images",
    name: "files",
    container: "file-server",
    repository: REPOSITORY,
    port: (PORT, "http"),
};
const PORT: u16 = 8080;
const MEBIBYTE: usize = 1 << 20;
const PAGE_BYTES: usize = 4096;
/// The largest file there is.
pub const LARGEST_MEBIBYTES: u32 = 32;

/// The address of a file of this name and size.
pub fn url(name: &str, mebibytes: u32) -> String {
    format!("{}/{mebibytes}/{name}.raw", POD.url())
}

/// The image of the server.
pub fn image() -> Image {
    Image::new("/usr/bin/file-server", |_tag| {
        program(|| async {
            match TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT).into()).await {
                Ok(listener) => {
                    serve(listener, |request, _peer| async move { answer(request.uri().path()) }).await;
                    0
                }
                Err(error) => {
                    host::process::print_error(&format!("cannot listen: {error}\n"));
                    1
                }
            }
        })
    })
}

/// Namespace, pod and service.
pub fn manifests() -> Vec<Value> {
    POD.manifests()
}

/// What a GET of this path gets, and but for the body a HEAD too: hyper sends none to that.
fn answer(path: &str) -> Response<Body> {
    let (status, body) = match file(path) {
        Some(bytes) => (StatusCode::OK, bytes),
        None => (StatusCode::NOT_FOUND, Bytes::new()),
    };
    let length = body.len();
    let mut response = Response::new(if length == 0 { empty() } else { full(body) });
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

fn file(path: &str) -> Option<Bytes> {
    let (mebibytes, name) = path.strip_prefix('/')?.split_once('/')?;
    let mebibytes: u32 = mebibytes.parse().ok().filter(|size| (1..=LARGEST_MEBIBYTES).contains(size))?;
    let bytes = mebibytes as usize * MEBIBYTE;
    let mut content = BytesMut::with_capacity(bytes);
    for page in 0..bytes / PAGE_BYTES {
        let word = corral_core::journal::content_hash(format!("{name}/{page}").as_bytes()).to_le_bytes();
        content.extend(word.into_iter().cycle().take(PAGE_BYTES));
    }
    Some(content.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_as_large_as_their_addresses_say_and_all_different() {
        let (one, other) = (file("/2/bi-1.raw").unwrap(), file("/2/bi-2.raw").unwrap());
        assert_eq!((one.len(), other.len()), (2 * MEBIBYTE, 2 * MEBIBYTE));
        assert_ne!(one, other);
        assert_ne!(one[..PAGE_BYTES], one[PAGE_BYTES..2 * PAGE_BYTES]);
    }

    #[test]
    fn nothing_else_is_there() {
        for path in ["/", "/bi-1.raw", "/0/bi-1.raw", "/33/bi-1.raw", "/x/bi-1.raw"] {
            assert_eq!(answer(path).status(), StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(answer("/1/bi-1.raw").headers()[header::CONTENT_LENGTH], "1048576");
    }
}
