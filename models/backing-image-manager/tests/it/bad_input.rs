//! Uploads good and bad, requests that make no sense, and disks that are not there.

use http::{Method, Request};
use longhorn_api::Build;
use longhorn_rpc::Code;
use longhorn_rpc::bimrpc::{FetchRequest, GetRequest, SendRequest, SyncRequest};

use crate::support::{Machine, checksum, image, simulate};

async fn send(method: Method, url: &str, kind: &str, body: Vec<u8>) -> (u16, String) {
    let request = Request::builder().method(method).uri(url).header("Content-Type", kind);
    let request = request.body(host::http::full(body)).expect("a request");
    let answer = host::http::Client::new().send(request).await.expect("an answer");
    let status = answer.status().as_u16();
    let body = host::http::collect(answer.into_body(), 1 << 20).await.expect("its text");
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn form(content: &[u8], boundary: &str) -> Vec<u8> {
    let mut body =
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n").into_bytes();
    body.extend(
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"chunk\"; filename=\"blob\"\r\n\r\n").bytes(),
    );
    body.extend(content);
    body.extend(format!("\r\n--{boundary}--\r\n").bytes());
    body
}

#[test]
fn an_upload_becomes_the_file() {
    simulate(1, async {
        let machine = Machine::new(1);
        machine.start_source(&Build::default(), "upload", &[]);
        machine.wait_for_source(&["pending"], 10).await;
        let url = format!("http://{}/v1/file?action=upload&size={}", machine.source_address(), image().len());
        let answer = send(Method::POST, &url, "multipart/form-data; boundary=xyz", form(&image(), "xyz")).await;
        assert_eq!(answer, (200, String::new()));
        let info = machine.wait_for_source(&["ready-for-transfer"], 10).await;
        assert_eq!(info.file.current_checksum, checksum(&image()));
    });
}

#[test]
fn uploads_that_are_cut_off_or_of_another_size_fail() {
    for (content, end) in [(image().len() - 512, 0), (image().len(), 10)] {
        simulate(1, async move {
            let machine = Machine::new(1);
            machine.start_source(&Build::default(), "upload", &[]);
            machine.wait_for_source(&["pending"], 10).await;
            let url = format!("http://{}/v1/file?action=upload&size={}", machine.source_address(), image().len());
            let mut body = form(&image()[..content], "xyz");
            body.truncate(body.len() - end);
            let (status, text) = send(Method::POST, &url, "multipart/form-data; boundary=xyz", body).await;
            assert_eq!(status, 500, "{text}");
            let info = machine.wait_for_source(&["failed"], 10).await;
            assert!(info.file.message.starts_with("failed to process sync file: "), "{info:?}");
        });
    }
}

#[test]
fn an_upload_that_never_comes_is_given_up() {
    simulate(1, async {
        let machine = Machine::new(1);
        machine.start_source(&Build::default(), "upload", &[]);
        let info = machine.wait_for_source(&["failed"], 90).await;
        assert_eq!(info.file.message, "timeout waiting for the datasource file processing begin");
    });
}

#[test]
fn requests_that_make_no_sense_are_refused_and_harm_nobody() {
    simulate(1, async {
        let machine = Machine::new(1);
        machine.start_manager(&Build::default());
        let mut client = machine.client();
        let missing = client.get(GetRequest::default()).await.expect_err("no name");
        assert_eq!((missing.code(), missing.message()), (Code::InvalidArgument, "missing required argument"));
        assert_eq!(client.sync(SyncRequest::default()).await.expect_err("no spec").code(), Code::InvalidArgument);
        assert_eq!(client.fetch(FetchRequest::default()).await.expect_err("no spec").code(), Code::InvalidArgument);
        assert_eq!(client.send(SendRequest::default()).await.expect_err("no name").code(), Code::InvalidArgument);
        let absent = SendRequest { name: "a".to_owned(), uuid: "b".to_owned(), to_address: "10.0.0.1:1".to_owned() };
        let absent = client.send(absent).await.expect_err("no such image");
        assert!(absent.message().contains("can not find sync file"), "{absent}");

        let files = "http://10.0.1.1:8001/v1/files";
        for (method, path, status, text) in [
            (Method::POST, "?action=fetch", 500, "no src-file-path"),
            (Method::POST, "?action=nonsense", 500, "unknown action"),
            (
                Method::POST,
                "?action=receiveFromPeer&file-path=/data/x&uuid=u&size=1&port=30001",
                500,
                "multiple of 512",
            ),
            (Method::POST, "?action=receiveFromPeer&file-path=/data/x&uuid=u&size=512&port=99999", 500, "invalid port"),
            (Method::POST, "?action=upload&file-path=/data/x&uuid=u&size=512", 500, "multipart"),
            (Method::GET, "/%zz", 400, "for decoding"),
            (Method::GET, "/nothing", 404, "can not find sync file nothing"),
            (Method::PUT, "/nothing", 404, "page not found"),
        ] {
            let (code, said) = send(method, &format!("{files}{path}"), "text/plain", b"garbage".to_vec()).await;
            assert!(code == status && said.contains(text), "{path}: {code} {said}");
        }
        client.list(()).await.expect("still serving");
    });
}

#[test]
fn without_the_right_disk_no_manager_starts() {
    simulate(1, async {
        let machine = Machine::new(1);
        let process = machine.start(1, &Build::default(), &["daemon", "--disk-uuid", "another"]);
        process.wait().await;
        let said = String::from_utf8_lossy(&process.output().1).into_owned();
        assert!(said.contains("invalid input disk UUID another"), "{said}");
        let process = machine.start(3, &Build::default(), &["daemon", "--no-such-flag", "1"]);
        process.wait().await;
        assert!(String::from_utf8_lossy(&process.output().1).contains("flag provided but not defined"));
    });
}
