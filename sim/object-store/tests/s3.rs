//! The S3-like server, asked over HTTP as its clients ask it, in both worlds.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corral_object_store::{BucketStore, Effect, ErrorCode, Fault, OperationKind, s3};
use host::http::{Client, full};
use host::journal::Event;
use host::net::{TcpListener, TcpStream};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server with a bucket `b`, and a client for it.
struct Bench {
    store: Arc<BucketStore>,
    client: Client,
    address: String,
}

/// Runs a test over real TCP, and in a simulated world.
fn in_both_worlds<F: Future<Output = ()> + Send + 'static>(test: impl Fn() -> F) {
    host::real::block_on(test());
    corral_core::run(corral_core::Options::new(1), test()).unwrap();
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("answers are text here")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("headers are text"))
    }

    /// The content of every such element, in order.
    fn elements(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        self.text().split(&open).skip(1).map(|rest| rest.split(&close).next().unwrap_or_default().to_owned()).collect()
    }
}

impl Bench {
    async fn start() -> Bench {
        let store = BucketStore::new();
        store.create_bucket("b");
        let listener = TcpListener::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        drop(host::spawn(s3::serve_on(Arc::clone(&store), listener)));
        Bench { store, client: Client::new(), address }
    }

    async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(full(body.to_vec())).expect("a request");
        let response = self.client.send(request).await.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    async fn send(&self, method: Method, path: &str, body: &[u8]) -> Answer {
        self.try_send(method, path, &[], body).await.expect("an answer")
    }

    async fn put(&self, key: &str, body: &[u8]) -> Answer {
        self.send(Method::PUT, &format!("/b/{key}"), body).await
    }

    async fn list(&self, query: &str) -> Answer {
        self.send(Method::GET, &format!("/b?{query}"), b"").await
    }

    fn fault(&self, effect: Effect, operation: OperationKind) {
        self.store.add_fault(Fault::new(effect).on([operation]));
    }
}

#[test]
fn objects_are_stored_read_in_parts_and_deleted() {
    in_both_worlds(|| async {
        let bench = Bench::start().await;
        let stored = bench.put("a/key%20with%20spaces", b"0123456789").await;
        assert_eq!(stored.status, StatusCode::OK);
        assert_eq!(stored.header("etag").len(), 34, "an MD5's length, in quotation marks");
        let read = bench.send(Method::GET, "/b/a/key%20with%20spaces", b"").await;
        assert_eq!((read.status, &read.body[..]), (StatusCode::OK, &b"0123456789"[..]));
        assert_eq!(read.header("etag"), stored.header("etag"));
        assert!(read.header("last-modified").ends_with(" GMT"), "{}", read.header("last-modified"));

        let part =
            bench.try_send(Method::GET, "/b/a/key%20with%20spaces", &[("range", "bytes=2-4")], b"").await.unwrap();
        assert_eq!((part.status, &part.body[..]), (StatusCode::PARTIAL_CONTENT, &b"234"[..]));
        assert_eq!(part.header("content-range"), "bytes 2-4/10");
        let behind =
            bench.try_send(Method::GET, "/b/a/key%20with%20spaces", &[("range", "bytes=10-")], b"").await.unwrap();
        assert_eq!(behind.status, StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(behind.elements("Code"), ["InvalidRange"]);

        let head = bench.send(Method::HEAD, "/b/a/key%20with%20spaces", b"").await;
        assert_eq!((head.status, head.header("content-length"), head.body.len()), (StatusCode::OK, "10", 0));
        assert_eq!(bench.store.object("b", "a/key with spaces").expect("stored").bytes, "0123456789");

        for _ in 0..2 {
            let deleted = bench.send(Method::DELETE, "/b/a/key%20with%20spaces", b"").await;
            assert_eq!(deleted.status, StatusCode::NO_CONTENT, "deleting what is absent is no error");
        }
        let gone = bench.send(Method::GET, "/b/a/key%20with%20spaces", b"").await;
        assert_eq!((gone.status, gone.elements("Code")), (StatusCode::NOT_FOUND, vec!["NoSuchKey".to_owned()]));
        assert_eq!(gone.elements("Message"), ["The specified key does not exist."]);
        assert_eq!(bench.send(Method::HEAD, "/b/none", b"").await.status, StatusCode::NOT_FOUND);
    });
}

#[test]
fn buckets_are_created_listed_and_removed_when_empty() {
    in_both_worlds(|| async {
        let bench = Bench::start().await;
        assert_eq!(bench.send(Method::PUT, "/other", b"").await.status, StatusCode::OK);
        assert_eq!(bench.send(Method::PUT, "/other", b"").await.elements("Code"), ["BucketAlreadyOwnedByYou"]);
        assert_eq!(bench.send(Method::HEAD, "/other", b"").await.status, StatusCode::OK);
        assert_eq!(bench.send(Method::HEAD, "/none", b"").await.status, StatusCode::NOT_FOUND);
        assert_eq!(bench.send(Method::GET, "/", b"").await.elements("Name"), ["b", "other"]);
        bench.put("k", b"x").await;
        assert_eq!(bench.send(Method::DELETE, "/b", b"").await.elements("Code"), ["BucketNotEmpty"]);
        assert_eq!(bench.send(Method::DELETE, "/other", b"").await.status, StatusCode::NO_CONTENT);
        assert_eq!(bench.send(Method::PUT, "/none/k", b"x").await.elements("Code"), ["NoSuchBucket"]);
        assert_eq!(bench.send(Method::GET, "/none?list-type=2", b"").await.elements("Code"), ["NoSuchBucket"]);
    });
}

#[test]
fn lists_know_prefix_delimiter_start_and_pages() {
    in_both_worlds(|| async {
        let bench = Bench::start().await;
        for key in ["v/a/1", "v/a/2", "v/b/1", "v/c", "w&<x"] {
            bench.store.insert("b", key, "content");
        }
        let all = bench.list("list-type=2").await;
        assert_eq!(all.elements("Key"), ["v/a/1", "v/a/2", "v/b/1", "v/c", "w&amp;&lt;x"]);
        assert_eq!((all.elements("KeyCount"), all.elements("IsTruncated")), (vec!["5".into()], vec!["false".into()]));
        assert_eq!(all.elements("Size")[0], "7");
        assert!(all.elements("LastModified")[0].ends_with(".000Z"), "whole seconds only");

        let one_level = bench.list("list-type=2&prefix=v/&delimiter=/").await;
        assert_eq!(one_level.elements("Key"), ["v/c"]);
        assert_eq!(one_level.elements("CommonPrefixes"), ["<Prefix>v/a/</Prefix>", "<Prefix>v/b/</Prefix>"]);
        assert_eq!(bench.list("list-type=2&start-after=v/b/1").await.elements("Key"), ["v/c", "w&amp;&lt;x"]);
        assert_eq!(bench.list("list-type=2&prefix=w&encoding-type=url").await.elements("Key"), ["w%26%3Cx"]);

        let (mut keys, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let continuation = if token.is_empty() { String::new() } else { format!("&continuation-token={token}") };
            let page = bench.list(&format!("list-type=2&max-keys=2{continuation}")).await;
            keys.extend(page.elements("Key"));
            pages += 1;
            match page.elements("NextContinuationToken").first() {
                Some(next) => token = next.clone(),
                None => break,
            }
        }
        assert_eq!((keys.len(), pages), (5, 3));

        let old = bench.list("prefix=v/&delimiter=/&max-keys=1").await;
        assert_eq!(old.elements("NextMarker"), ["v/a/"]);
        let next = bench.list("prefix=v/&delimiter=/&max-keys=1&marker=v/a/").await;
        assert_eq!(next.elements("CommonPrefixes"), ["<Prefix>v/b/</Prefix>"]);
        assert_eq!(bench.list("list-type=2&max-keys=many").await.elements("Code"), ["InvalidArgument"]);
        assert_eq!(bench.list("list-type=2&continuation-token=zz").await.elements("Code"), ["InvalidArgument"]);
    });
}

#[test]
fn what_is_not_modelled_is_refused_by_name() {
    in_both_worlds(|| async {
        let bench = Bench::start().await;
        assert_eq!(bench.send(Method::POST, "/b/k?uploads", b"").await.elements("Code"), ["NotImplemented"]);
        assert_eq!(bench.send(Method::POST, "/b/k", b"").await.elements("Code"), ["MethodNotAllowed"]);
        assert_eq!(bench.send(Method::GET, "/b/%zz", b"").await.elements("Code"), ["InvalidURI"]);
        let copy = bench.try_send(Method::PUT, "/b/k", &[("x-amz-copy-source", "/b/other")], b"").await.unwrap();
        assert_eq!(
            (copy.status, copy.elements("Code")),
            (StatusCode::NOT_IMPLEMENTED, vec!["NotImplemented".to_owned()])
        );
    });
}

#[test]
fn an_announced_checksum_is_verified() {
    in_both_worlds(|| async {
        let bench = Bench::start().await;
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let put = |sum: String| {
            let bench = &bench;
            async move { bench.try_send(Method::PUT, "/b/k", &[("x-amz-content-sha256", &sum)], b"abc").await.unwrap() }
        };
        assert_eq!(put("0".repeat(64)).await.elements("Code"), ["XAmzContentSHA256Mismatch"]);
        assert_eq!(bench.store.object("b", "k"), None);
        assert_eq!(put(right.to_owned()).await.status, StatusCode::OK);
        assert_eq!(put("UNSIGNED-PAYLOAD".to_owned()).await.status, StatusCode::OK);
    });
}

#[test]
fn refused_operations_have_no_effect_and_faults_can_be_counted_aimed_and_healed() {
    in_both_worlds(|| async {
        let bench = Bench::start().await;
        let fault = Fault::new(Effect::Refuse(ErrorCode::SlowDown))
            .on([OperationKind::Put])
            .key("b/locks/*")
            .skip(1)
            .at_most(2);
        let id = bench.store.add_fault(fault);
        assert_eq!(bench.put("other", b"x").await.status, StatusCode::OK);
        assert_eq!(bench.put("locks/b", b"x").await.status, StatusCode::OK, "the fault lets the first one pass");
        let refused = bench.put("locks/a", b"x").await;
        assert_eq!(
            (refused.status, refused.elements("Code")),
            (StatusCode::SERVICE_UNAVAILABLE, vec!["SlowDown".to_owned()])
        );
        assert_eq!(bench.put("locks/a", b"x").await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(bench.put("locks/a", b"x").await.status, StatusCode::OK, "the fault met two operations and no more");
        assert!(bench.store.remove_fault(id));
        assert!(!bench.store.remove_fault(id));

        bench.fault(Effect::Refuse(ErrorCode::AccessDenied), OperationKind::Delete);
        assert_eq!(bench.send(Method::DELETE, "/b/locks/a", b"").await.status, StatusCode::FORBIDDEN);
        assert!(bench.store.object("b", "locks/a").is_some());
        bench.store.heal();
        assert_eq!(bench.send(Method::DELETE, "/b/locks/a", b"").await.status, StatusCode::NO_CONTENT);
    });
}

#[test]
fn slowness_is_a_fixed_time_and_a_bandwidth() {
    in_both_worlds(|| async {
        let bench = Bench::start().await;
        let slow = Effect::Slow { per_operation: Duration::from_millis(20), bytes_per_second: Some(100_000) };
        bench.store.add_fault(Fault::new(slow));
        let began = host::time::Instant::now();
        bench.put("k", &[0; 4000]).await;
        assert!(began.elapsed() >= Duration::from_millis(60), "{:?}", began.elapsed());
        let began = host::time::Instant::now();
        bench.send(Method::HEAD, "/b/k", b"").await;
        assert!(began.elapsed() >= Duration::from_millis(20), "{:?}", began.elapsed());
    });
}

#[test]
fn an_operation_that_is_never_answered_has_no_effect_but_a_swallowed_answer_has() {
    in_both_worlds(|| async {
        for (effect, stored) in [(Effect::NeverAnswer, false), (Effect::SwallowAnswer, true)] {
            let bench = Bench::start().await;
            bench.fault(effect, OperationKind::Put);
            let patience = Duration::from_millis(200);
            assert!(host::time::timeout(patience, bench.put("k", b"x")).await.is_err(), "no answer comes");
            assert_eq!(bench.store.object("b", "k").is_some(), stored);
        }
    });
}

#[test]
fn a_lost_answer_is_a_broken_connection_after_the_effect() {
    in_both_worlds(|| async {
        let bench = Bench::start().await;
        bench.put("k", b"x").await;
        bench.fault(Effect::LoseAnswer, OperationKind::Delete);
        assert!(bench.try_send(Method::DELETE, "/b/k", &[], b"").await.is_err());
        assert_eq!(bench.store.object("b", "k"), None);
    });
}

#[test]
fn a_cut_upload_stores_nothing_unless_the_store_is_that_bad() {
    in_both_worlds(|| async {
        for keep in [false, true] {
            let bench = Bench::start().await;
            bench.fault(Effect::CutUpload { after_bytes: 3, keep }, OperationKind::Put);
            assert!(bench.try_send(Method::PUT, "/b/k", &[], b"0123456789").await.is_err());
            assert_eq!(bench.store.object("b", "k").map(|object| object.bytes), keep.then(|| Bytes::from("012")));
        }
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_of_an_upload_stores_nothing() {
    in_both_worlds(|| async {
        let bench = Bench::start().await;
        let mut connection = TcpStream::connect(bench.address.parse().unwrap()).await.unwrap();
        connection.write_all(b"PUT /b/k HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\n0123").await.unwrap();
        connection.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        assert_eq!(bench.store.object("b", "k"), None);
    });
}

#[test]
fn new_objects_may_be_listed_late_and_deleted_ones_for_longer() {
    in_both_worlds(|| async {
        let bench = Bench::start().await;
        let window = Duration::from_millis(300);
        bench.put("old", b"x").await;
        bench.fault(Effect::ListLate { window }, OperationKind::Put);
        bench.fault(Effect::ListDeleted { window }, OperationKind::Delete);
        bench.put("new", b"x").await;
        bench.put("old", b"xx").await;
        bench.send(Method::DELETE, "/b/old", b"").await;
        bench.put("brief", b"x").await;
        bench.send(Method::DELETE, "/b/brief", b"").await;
        let seen = bench.list("list-type=2").await;
        assert_eq!(seen.elements("Key"), ["old"], "what was never listed leaves no ghost");
        assert_eq!(seen.elements("Size"), ["2"], "an overwritten object was listed already");
        assert_eq!(bench.send(Method::HEAD, "/b/new", b"").await.status, StatusCode::OK);
        assert_eq!(bench.send(Method::HEAD, "/b/old", b"").await.status, StatusCode::NOT_FOUND);
        host::time::sleep(window).await;
        assert_eq!(bench.list("list-type=2").await.elements("Key"), ["new"]);
    });
}

#[test]
fn a_list_may_be_empty_and_claim_success() {
    in_both_worlds(|| async {
        let bench = Bench::start().await;
        bench.put("k", b"x").await;
        bench.fault(Effect::EmptyList, OperationKind::List);
        let empty = bench.list("list-type=2").await;
        assert_eq!((empty.status, empty.elements("Key")), (StatusCode::OK, Vec::new()));
        assert_eq!(bench.send(Method::GET, "/b/k", b"").await.status, StatusCode::OK);
    });
}

#[test]
fn modification_times_have_whole_seconds_and_the_store_outlives_its_server() {
    in_both_worlds(|| async {
        let bench = Bench::start().await;
        bench.put("k", b"x").await;
        assert_eq!(bench.store.object("b", "k").expect("stored").modified.subsec_nanosecond(), 0);
        let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(host::spawn(s3::serve_on(Arc::clone(&bench.store), listener)));
        let again = Bench { store: Arc::clone(&bench.store), client: Client::new(), address };
        assert_eq!(&again.send(Method::GET, "/b/k", b"").await.body[..], b"x");
        let views = again.store.objects("b", "");
        assert_eq!(views.iter().map(|view| view.key.as_str()).collect::<Vec<_>>(), ["k"]);
    });
}

#[test]
fn what_changes_the_store_is_in_the_journal_and_so_is_what_should_have() {
    let outcome = corral_core::run(corral_core::Options::new(1).keep_journal(), async {
        let bench = Bench::start().await;
        bench.put("k", b"abc").await;
        bench.send(Method::GET, "/b/k", b"").await;
        bench.fault(Effect::Refuse(ErrorCode::SlowDown), OperationKind::Put);
        bench.put("k", b"abcdef").await;
        bench.store.heal();
        bench.fault(Effect::LoseAnswer, OperationKind::Delete);
        bench.try_send(Method::DELETE, "/b/k", &[], b"").await.err().expect("the answer is lost");
    });
    let journal = outcome.journal.expect("it was asked for");
    let mut operations = Vec::new();
    for entry in journal.iter() {
        if let Event::StoreOperation { verb, key, bytes, code, client } = entry.event {
            operations.push(format!("{verb} {key} {bytes} {code} {client}"));
        }
    }
    assert_eq!(operations, ["put b/k 3 200 127.0.0.1", "put b/k 3 503 127.0.0.1", "delete b/k 0 204 127.0.0.1"]);
}
