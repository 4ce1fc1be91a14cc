//! Running programs: exit status, output, arguments, environment, time-out.
//!
//! The real world's programs are the shell's; the simulated world's are async mains of the same behaviour, hung on the process.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use host::process::{Command, Programs, Signal, args, env_var, print, print_error, program};

/// `sh -c` with the four scripts that these tests run.
async fn shell() -> i32 {
    match args().get(2).map(String::as_str) {
        Some("echo out; echo err >&2; exit 3") => {
            print("out\n");
            print_error("err\n");
            3
        }
        Some("echo $GREETING") => {
            print(&format!("{}\n", env_var("GREETING").unwrap_or_default()));
            0
        }
        Some("sleep 60") => {
            host::time::sleep(Duration::from_secs(60)).await;
            0
        }
        _ => 127,
    }
}

fn simulated<F: std::future::Future<Output = ()> + Send + 'static>(test: fn() -> F) {
    corral_core::run(corral_core::Options::new(1), async move {
        let world = corral_core::world();
        let me = world.current_process().expect("the body is a process");
        let programs = Programs { by_path: BTreeMap::from([("/bin/sh".to_owned(), program(shell))]) };
        let mut spec = me.spec.clone();
        spec.attachments = spec.attachments.with(Arc::new(programs));
        let process = world.spawn_process(
            spec,
            Box::pin(async move {
                test().await;
                0
            }),
        );
        assert_eq!(process.wait().await.code(), 0);
    })
    .unwrap();
}

fn in_both_worlds<F: std::future::Future<Output = ()> + Send + 'static>(test: fn() -> F) {
    host::real::block_on(test());
    simulated(test);
}

fn script(text: &str) -> Command {
    Command::new("/bin/sh").args(["-c", text])
}

#[test]
fn status_and_output_are_collected() {
    in_both_worlds(|| async {
        let output = script("echo out; echo err >&2; exit 3").output().await.unwrap();
        assert_eq!(
            (output.status.code, output.stdout.as_slice(), output.stderr.as_slice()),
            (3, b"out\n".as_slice(), b"err\n".as_slice())
        );
    });
}

#[test]
fn variables_are_handed_on() {
    in_both_worlds(|| async {
        let output = script("echo $GREETING").env("GREETING", "hello").output().await.unwrap();
        assert_eq!(output.stdout, b"hello\n");
    });
}

#[test]
fn a_program_that_takes_too_long_is_killed() {
    in_both_worlds(|| async {
        let error = script("sleep 60").timeout(Duration::from_millis(100)).output().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_missing_program_is_not_found() {
    in_both_worlds(|| async {
        assert_eq!(Command::new("/no/such/program").output().await.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_daemon_is_watched_and_signalled() {
    in_both_worlds(|| async {
        let daemon = script("sleep 60").spawn_daemon().await.unwrap();
        assert!(daemon.is_running());
        let watcher = host::spawn({
            let daemon = daemon.clone();
            async move { daemon.wait().await }
        });
        daemon.signal(Signal::Kill);
        assert_eq!(watcher.await.unwrap().code, 137);
        assert_eq!(daemon.wait().await.code, 137);
        assert!(!daemon.is_running());
        daemon.signal(Signal::HangUp);
        let daemon = script("echo out; echo err >&2; exit 3").spawn_daemon().await.unwrap();
        assert_eq!(daemon.wait().await.code, 3);
        // The real world's output comes through a pipe, and is read a moment after the end.
        while daemon.written().len() < 8 {
            host::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(daemon.written(), b"out\nerr\n");
    });
}

#[test]
fn children_end_with_their_parent() {
    simulated(|| async {
        let world = corral_core::world();
        let me = world.current_process().expect("the test is a process");
        let parent = world.spawn_process(
            me.spec.clone(),
            Box::pin(async {
                script("sleep 60").spawn_daemon().await.unwrap().wait().await;
                0
            }),
        );
        host::time::sleep(Duration::from_secs(5)).await;
        let before = world.processes().len();
        world.signal(&parent, corral_core::Signal::Kill);
        host::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(world.processes().len(), before - 2);
        assert!(world.now().as_duration() < Duration::from_secs(60));
    });
}
