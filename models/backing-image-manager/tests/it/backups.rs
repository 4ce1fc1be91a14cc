//! Backups of an image, restores, and the list of statuses (longhorn#10740).

use std::time::Duration;

use host::time::sleep;
use longhorn_api::{Build, Defect, Release};
use longhorn_rpc::Code;
use longhorn_rpc::bimrpc::{BackupCreateRequest, BackupStatusRequest};

use crate::support::{
    BUCKET, Client, Machine, NAME, backup_request, backup_status, backup_target, checksum, credential, image,
    published, simulate, start_store, start_web_server, sync, wait_for,
};

async fn wait_until_complete(client: &mut Client) {
    for _ in 0..60 {
        if backup_status(client).await.state == "complete" {
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
    panic!("the backup is {:?}", backup_status(client).await);
}

#[test]
fn a_backup_is_restored_elsewhere() {
    simulate(1, async {
        start_web_server(false);
        let store = start_store();
        let machine = Machine::new(1);
        let mut client = machine.download(&Build::default()).await;
        client.backup_create(backup_request()).await.expect("begun");
        wait_until_complete(&mut client).await;
        let status = backup_status(&mut client).await;
        let url = format!("{}?backingImage={NAME}", backup_target());
        assert_eq!((status.progress, status.backup_url.as_str(), status.error.as_str()), (100, url.as_str(), ""));
        let config =
            store.objects(BUCKET, "store/").into_iter().find(|object| object.key.ends_with("backing-image.cfg"));
        let config: serde_json::Value = serde_json::from_slice(&config.expect("a configuration").bytes).expect("JSON");
        assert_eq!((&config["Checksum"], &config["Labels"]["colour"]), (&checksum(&image()).into(), &"green".into()));
        assert_ne!(config["CompleteTime"], "");
        // Blocks of holes are not backed up: of three blocks the first and the last hold data.
        assert_eq!(config["BlockCount"], "2");

        let other = Machine::new(2);
        let mut more = vec!["--parameters".to_owned(), format!("backup-url={url}")];
        more.extend(["--parameters".to_owned(), "concurrent-limit=2".to_owned()]);
        for (name, value) in credential() {
            more.extend(["--credential".to_owned(), format!("{name}={value}")]);
        }
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        other.start_source(&Build::default(), "restore", &more);
        other.start_manager(&Build::default());
        let info = other.wait_for_source(&["ready-for-transfer"], 60).await;
        assert_eq!(info.file.current_checksum, checksum(&image()));
        let mut client = other.client();
        other.fetch(&mut client, &other.source_address()).await;
        wait_for(&mut client, "ready", 30).await;
        assert_eq!(other.file(), image());
    });
}

/// Two managers have the image; the first has backed it up. What does the second say of its own backup?
async fn second_of_two(build: Build) -> (String, i32, String) {
    start_web_server(false);
    start_store();
    let (one, two) = (Machine::new(1), Machine::new(2));
    let mut first = one.download(&build).await;
    two.start_manager(&build);
    let mut second = two.client();
    sync(&mut second, &one).await;
    wait_for(&mut second, "ready", 60).await;
    first.backup_create(backup_request()).await.expect("begun");
    wait_until_complete(&mut first).await;
    let request = BackupStatusRequest { name: NAME.to_owned() };
    let unknown = second.backup_status(request).await.expect_err("nobody has asked it yet");
    assert_eq!(unknown.code(), Code::Unknown);
    assert!(unknown.message().contains("backup backing image not found parrot"), "{unknown}");
    second.backup_create(backup_request()).await.expect("nothing to do");
    sleep(Duration::from_secs(3600)).await;
    // The first manager answers with its first entry, whatever happens later.
    first.backup_create(backup_request()).await.expect("nothing to do");
    assert_eq!(backup_status(&mut first).await.state, "complete");
    let status = backup_status(&mut second).await;
    (status.state, status.progress, status.backup_url)
}

#[test]
fn a_backup_that_exists_is_reported_only_where_10740_is_cured() {
    let hangs = |build: Build| {
        simulate(1, async move {
            assert_eq!(second_of_two(build).await, ("in_progress".to_owned(), 0, String::new()));
        });
    };
    let reports = |build: Build| {
        simulate(1, async move {
            let url = format!("{}?backingImage={NAME}", backup_target());
            assert_eq!(second_of_two(build).await, ("complete".to_owned(), 100, url));
        });
    };
    hangs(published(Release::V1_7_2));
    hangs(published(Release::V1_8_1));
    reports(Build::new(Release::V1_8_1, [Defect::Issue10740], []).expect("a build"));
    reports(published(Release::V1_8_2));
    reports(published(Release::V1_9_2));
}

#[test]
fn a_backup_that_cannot_begin_says_why() {
    simulate(1, async {
        start_web_server(false);
        let machine = Machine::new(1);
        let mut client = machine.download(&Build::default()).await;
        // No server answers at the store's address.
        let failure = client.backup_create(backup_request()).await.expect_err("no store");
        assert_eq!(failure.code(), Code::Unknown);
        assert!(failure.message().starts_with("failed to create backup parrot"), "{failure}");
        type Change = fn(&mut BackupCreateRequest);
        let changes: [(Change, &str); 4] = [
            (|request| request.backup_target.clear(), "missing input parameter"),
            (|request| request.labels = vec!["a".to_owned()], "invalid label not in <key>=<value> format a"),
            (|request| request.name = "x".repeat(65), "for it is longer than 64"),
            (|request| request.uuid = "nope".to_owned(), "stat /data/backing-images/parrot-nope/backing"),
        ];
        for (change, text) in changes {
            let mut request = backup_request();
            change(&mut request);
            let failure = client.backup_create(request).await.expect_err(text);
            assert!(failure.message().contains(text), "{failure}");
        }
    });
}
