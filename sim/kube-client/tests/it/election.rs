//! Lease election, with candidates on their own and against each other.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use corral_kube_client::election::Ended;
use corral_kube_client::{Client, ClientOptions, Election, ElectionConfig, Stop};
use host::time::{Instant, sleep};
use proptest::prelude::*;
use serde_json::Value;

use crate::fake::{self, Reply, Seen, status};
use crate::simulate;

/// A server that holds one lease, with optimistic concurrency, and can be silent to some.
#[derive(Clone, Default)]
struct LeaseServer {
    lease: Arc<Mutex<Option<Value>>>,
    /// Answers nothing; one flag for each address it serves on.
    silent: Arc<Mutex<bool>>,
    writes: Arc<Mutex<Vec<Value>>>,
}

impl LeaseServer {
    async fn answer(self, seen: Seen) -> Reply {
        if *self.silent.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        let mut lease = self.lease.lock().unwrap();
        let version = lease.as_ref().map_or(0, version_of);
        match (seen.method.as_str(), &*lease) {
            ("GET", Some(lease)) => Reply::Json(200, lease.clone()),
            ("GET" | "PUT", None) => Reply::Json(404, status(404, "NotFound", "no lease")),
            ("POST", Some(_)) => Reply::Json(409, status(409, "AlreadyExists", "there is a lease")),
            ("PUT", Some(_)) if version_of(&seen.json()) != version => {
                Reply::Json(409, status(409, "Conflict", "stale"))
            }
            _ => {
                let mut new = seen.json();
                new["metadata"]["resourceVersion"] = (version + 1).to_string().into();
                self.writes.lock().unwrap().push(new["spec"].clone());
                *lease = Some(new.clone());
                Reply::Json(200, new)
            }
        }
    }

    /// Serves on an address of its own, so that one candidate can be cut off.
    async fn serve(&self, name: &str) -> (Client, Arc<Mutex<bool>>) {
        let server = LeaseServer { silent: Arc::default(), ..self.clone() };
        let silent = server.silent.clone();
        let (address, _) = fake::serve(move |seen| server.clone().answer(seen)).await;
        (Client::new(&address.to_string(), ClientOptions::unlimited(name)).unwrap(), silent)
    }
}

fn version_of(lease: &Value) -> u64 {
    lease["metadata"]["resourceVersion"].as_str().unwrap_or("0").parse().unwrap()
}

/// Who led from when to when.
type Terms = Arc<Mutex<Vec<(String, Instant, Option<Instant>)>>>;

fn stand(client: &Client, identity: &str, release: bool, stop: &Stop, terms: &Terms) -> host::JoinHandle<Ended> {
    let config = ElectionConfig { release_on_cancel: release, ..ElectionConfig::new("ns", "lock", identity) };
    let election = Election::new(client, config);
    let (stop, terms, identity) = (stop.clone(), terms.clone(), identity.to_owned());
    host::spawn(async move {
        let lead = {
            let terms = terms.clone();
            move |over: Stop| async move {
                let index = {
                    let mut terms = terms.lock().unwrap();
                    terms.push((identity, Instant::now(), None));
                    terms.len() - 1
                };
                over.stopped().await;
                terms.lock().unwrap()[index].2 = Some(Instant::now());
            }
        };
        election.run(&stop, lead).await
    })
}

#[test]
fn a_candidate_takes_a_lease_that_nobody_has_and_renews_it_each_two_seconds() {
    simulate(1, async {
        let server = LeaseServer::default();
        let (client, _) = server.serve("a").await;
        let terms = Terms::default();
        let stop = Stop::new();
        let ended = stand(&client, "a", false, &stop, &terms);
        sleep(Duration::from_millis(20_100)).await;
        stop.stop();
        assert_eq!(ended.await.unwrap(), Ended::Stopped);
        let writes = server.writes.lock().unwrap().clone();
        // One to take it, one to renew it at once, and one each two seconds.
        assert_eq!(writes.len(), 12);
        let first = &writes[0];
        assert_eq!(first["holderIdentity"], "a");
        assert_eq!(first["leaseDurationSeconds"], 20);
        assert_eq!(first["leaseTransitions"], 0);
        let time = first["renewTime"].as_str().unwrap();
        assert_eq!(time.len(), "2026-01-01T00:00:00.000000Z".len(), "six decimals: {time}");
        assert!(writes.iter().all(|write| write["acquireTime"] == first["acquireTime"]));
        assert_eq!(writes.last().unwrap()["holderIdentity"], "a", "the lease is not given back");
    });
}

#[test]
fn a_lease_that_is_given_back_is_taken_soon_one_that_is_not_after_its_duration() {
    let handover = |release: bool| {
        simulate(2, async move {
            let server = LeaseServer::default();
            let (first, _) = server.serve("a").await;
            let (second, _) = server.serve("b").await;
            let terms = Terms::default();
            let stop = Stop::new();
            let ended = stand(&first, "a", release, &stop, &terms);
            sleep(Duration::from_secs(1)).await;
            let other = Stop::new();
            stand(&second, "b", release, &other, &terms);
            sleep(Duration::from_secs(30)).await;
            stop.stop();
            ended.await.unwrap();
            sleep(Duration::from_secs(60)).await;
            let terms = terms.lock().unwrap();
            assert_eq!(terms.len(), 2);
            let transitions = server.lease.lock().unwrap().as_ref().unwrap()["spec"]["leaseTransitions"].clone();
            assert_eq!(transitions, 1);
            terms[1].1 - terms[0].2.unwrap()
        })
    };
    let quick = handover(true);
    assert!(quick < Duration::from_millis(5500), "{quick:?}");
    let slow = handover(false);
    assert!((14..26).contains(&slow.as_secs()), "{slow:?}");
}

#[test]
fn a_leader_that_is_cut_off_gives_up_after_its_deadline_and_before_another_leads() {
    simulate(3, async {
        let server = LeaseServer::default();
        let (first, silence) = server.serve("a").await;
        let (second, _) = server.serve("b").await;
        let terms = Terms::default();
        let ended = stand(&first, "a", true, &Stop::new(), &terms);
        sleep(Duration::from_secs(1)).await;
        let stop = Stop::new();
        stand(&second, "b", true, &stop, &terms);
        sleep(Duration::from_secs(20)).await;
        *silence.lock().unwrap() = true;
        let begun = Instant::now();
        assert_eq!(ended.await.unwrap(), Ended::Lost);
        // Up to two seconds to the next renewal, ten of trying, ten more to give the lease back.
        let waited = begun.elapsed();
        assert!((18..=22).contains(&waited.as_secs()), "{waited:?}");
        sleep(Duration::from_secs(60)).await;
        let terms = terms.lock().unwrap();
        assert_eq!(terms.len(), 2);
        assert_eq!(terms[1].0, "b");
    });
}

#[test]
fn whoever_sees_a_new_leader_is_told_once() {
    simulate(4, async {
        let server = LeaseServer::default();
        let (first, _) = server.serve("a").await;
        let (second, _) = server.serve("b").await;
        let stop = Stop::new();
        stand(&first, "a", true, &stop, &Terms::default());
        sleep(Duration::from_secs(1)).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let watcher = Election::new(&second, ElectionConfig::new("ns", "lock", "b")).on_new_leader({
            let seen = seen.clone();
            move |leader: &str| seen.lock().unwrap().push(leader.to_owned())
        });
        let over = Stop::new();
        let other = over.clone();
        host::spawn(async move { watcher.run(&other, |lead: Stop| async move { lead.stopped().await }).await });
        sleep(Duration::from_secs(10)).await;
        stop.stop();
        sleep(Duration::from_secs(30)).await;
        over.stop();
        let seen = seen.lock().unwrap();
        assert_eq!(seen.first().map(String::as_str), Some("a"));
        assert_eq!(seen.last().map(String::as_str), Some("b"));
        assert!(seen.len() <= 3, "{seen:?}");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Three candidates, cut off and back at random: terms never overlap, for nobody's clock is wrong and no deadline is too near the duration.
    #[test]
    fn terms_do_not_overlap(cuts in prop::collection::vec((0_usize..3, 1_u64..40), 1..12), seed in 0_u64..1000) {
        let terms = simulate(seed, async move {
            let server = LeaseServer::default();
            let (terms, stop) = (Terms::default(), Stop::new());
            let mut silences = Vec::new();
            for name in ["a", "b", "c"] {
                let (client, silence) = server.serve(name).await;
                stand(&client, name, false, &stop, &terms);
                silences.push(silence);
            }
            for (who, seconds) in cuts {
                *silences[who].lock().unwrap() = true;
                sleep(Duration::from_secs(seconds)).await;
                *silences[who].lock().unwrap() = false;
            }
            sleep(Duration::from_secs(60)).await;
            stop.stop();
            sleep(Duration::from_secs(1)).await;
            std::mem::take(&mut *terms.lock().unwrap())
        });
        prop_assert!(!terms.is_empty());
        for pair in terms.windows(2) {
            prop_assert!(pair[0].2.is_some_and(|end| end <= pair[1].1), "{:?}", pair);
        }
    }
}
