//! The API server and an idle cluster.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use corral_apiserver::{HistoryOptions, Options as ServerOptions, Server, Store};
use corral_core::journal::Event;
use corral_core::{Options, run};
use corral_kube_client::{Api, Client, ClientOptions, InformerOptions, SharedInformer, Stop};
use corral_scenarios::catalogue;
use corral_scenarios::install::{create, manifest};
use corral_world::{Arm, RunOptions, Verdict};
use host::net::TcpListener;
use host::time::sleep;
use longhorn_api::{Build, Release, Volume};

use super::network::start;
use super::{Figure, Scale, each, resident_mib};

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10)), 6443);
const NAMESPACE: &str = "longhorn-system";

/// Fields of a Volume that leave it to the setting of the same name.
const IGNORED: [&str; 9] = [
    "freezeFilesystemForSnapshot",
    "offlineRebuilding",
    "replicaAutoBalance",
    "replicaDiskSoftAntiAffinity",
    "replicaSoftAntiAffinity",
    "replicaZoneSoftAntiAffinity",
    "restoreVolumeRecurringJob",
    "snapshotDataIntegrity",
    "unmapMarkSnapChainRemoved",
];

/// A Volume as Longhorn writes it: about 1.8 KB.
fn volume(number: u64) -> Volume {
    let mut volume = Volume::default();
    volume.metadata.name = Some(format!("volume-{number:08}"));
    volume.metadata.namespace = Some(NAMESPACE.into());
    volume.metadata.labels =
        Some((0..3).map(|label| (format!("recurring-job.longhorn.io/label-{label}"), "enabled".into())).collect());
    volume.metadata.annotations = Some([("longhorn.io/description".to_owned(), "x".repeat(40))].into());
    volume.spec.size = (16_i64 << 20).into();
    volume.spec.image = "longhornio/longhorn-engine:v1.9.2".into();
    let mut volume = serde_json::to_value(volume).expect("plain data");
    for (field, value) in
        [("accessMode", "rwo"), ("backupCompressionMethod", "lz4"), ("dataEngine", "v1"), ("dataLocality", "disabled")]
    {
        volume["spec"][field] = value.into();
    }
    for field in IGNORED {
        volume["spec"][field] = "ignored".into();
    }
    serde_json::from_value(volume).expect("a Volume")
}

/// Creates of a 1.8 KB object through HTTP, delivered to three informers that decode it. The first of each name, without webhooks.
pub fn api(scale: Scale) -> Vec<Figure> {
    let create = each(scale.of(20_000), |count| {
        run(Options::new(1), async move {
            start("server", Ipv4Addr::new(10, 0, 0, 10), async {
                let server = Server::new(Store::new(HistoryOptions::default()), ServerOptions::default());
                server.serve(TcpListener::bind(SERVER).await.expect("a free port")).await;
            });
            sleep(Duration::from_secs(1)).await;
            let client = Client::new(&SERVER.to_string(), ClientOptions::unlimited("bench")).expect("an address");
            let kinds = ["Namespace", "CustomResourceDefinition"];
            for object in manifest(&Build::published(Release::V1_9_2)) {
                let wanted = kinds.contains(&object["kind"].as_str().unwrap_or_default());
                if wanted {
                    self::create(&client, object).await.expect("accepted");
                }
            }
            sleep(Duration::from_secs(5)).await;
            let stop = Stop::new();
            let informers: Vec<_> = (0..3)
                .map(|_| {
                    let informer =
                        SharedInformer::<Volume>::new(Api::namespaced(&client, NAMESPACE), InformerOptions::default());
                    informer.start(&stop);
                    informer
                })
                .collect();
            sleep(Duration::from_secs(1)).await;
            let volumes: Api<Volume> = Api::namespaced(&client, NAMESPACE);
            let mut volume = volume(0);
            for number in 0..count {
                volume.metadata.name = Some(format!("volume-{number:08}"));
                volumes.create(&volume).await.expect("accepted");
            }
            sleep(Duration::from_secs(1)).await;
            for informer in informers {
                assert_eq!(informer.lister().list().len() as u64, count, "every informer has every object");
            }
        })
        .unwrap();
    });
    let bytes = serde_json::to_vec(&volume(1)).map_or(0, |bytes| bytes.len());
    vec![Figure::at_most(
        &format!("API create of {bytes} bytes, three informers"),
        create.as_secs_f64() * 1e6,
        "us",
        70.0,
    )]
}

/// Three machines with a manager each and nothing to do: informers, leases, probes, heartbeats.
pub fn idle(scale: Scale) -> Vec<Figure> {
    let second = each(scale.of(100_000), |seconds| drop(play(&[wait(seconds)], RunOptions::default())));
    vec![
        Figure::at_least("three machines, three idle managers", 1.0 / second.as_secs_f64(), "simulated s/s", 20_000.0),
        Figure::at_most("resident memory after it", resident_mib(), "MiB", 64.0),
    ]
}

/// Three volumes of three replicas on the client's machine.
fn attach(volumes: std::ops::RangeInclusive<u8>) -> Vec<String> {
    let steps = volumes.flat_map(|volume| {
        [
            format!("create-volume = {{ name = \"vol-{volume}\", replicas = 3 }}"),
            format!("attach-volume = {{ name = \"vol-{volume}\" }}"),
        ]
    });
    steps.collect()
}

/// The same machines, three attached volumes, each read or written about four times a second.
pub fn attached(scale: Scale) -> Vec<Figure> {
    let second = each(scale.of(20_000), |seconds| {
        let mut steps = attach(1..=3);
        steps.push(format!("use-volumes = {{ for = \"{seconds}s\" }}"));
        drop(play(&steps, RunOptions::default()));
    });
    let speed = 1.0 / second.as_secs_f64();
    vec![Figure::at_least("three attached volumes, light I/O", speed, "simulated s/s", 3_000.0)]
}

/// From empty machines to the first attached volume. What the run does afterwards, until it is judged, is subtracted at the cost of an idle second.
pub fn set_up(scale: Scale) -> Vec<Figure> {
    let steps = attach(1..=1);
    let attached_for = |seconds| drop(play(&[steps.clone(), vec![wait(seconds)]].concat(), RunOptions::default()));
    let second = each(scale.of(10_000), attached_for).as_secs_f64();
    let runs = scale.of(20);
    let times = (0..runs).map(|_| {
        let verdict = play(&steps, RunOptions { keep_journal: true, ..RunOptions::default() });
        let journal = verdict.journal.expect("it was asked for");
        let is_attached =
            |event: &Event<'_>| matches!(event, Event::Step { what, .. } if *what == "volume vol-1 is attached");
        let attached = journal.iter().find(|record| is_attached(&record.event)).expect("it was attached").at;
        verdict.took.as_secs_f64() - verdict.simulated.since(attached).as_secs_f64() * second
    });
    let mean = times.sum::<f64>() / runs as f64;
    vec![Figure::at_most("empty machines to the first attached volume", mean * 1e3, "ms", 100.0)]
}

fn wait(seconds: u64) -> String {
    format!("wait = {{ for = \"{seconds}s\" }}")
}

/// A run of three machines with these steps.
fn play(steps: &[String], options: RunOptions) -> Verdict {
    let scenario = catalogue().scenario("volume-life").expect("it is there");
    let set = [("machines", "3"), ("faults", "0")];
    let arm = Arm { set: set.map(|(key, value)| (key.to_owned(), value.to_owned())).into(), ..Arm::default() };
    let mut plan = scenario.expand(1, &arm).expect("a plan of its own");
    let step = |step: &String| toml::from_str(&format!("do = {{ {step} }}")).expect("a step");
    plan.steps = steps.iter().map(step).collect();
    let verdict = corral_world::run(scenario, &arm, 1, Some(plan), options).expect("it can be");
    assert!(verdict.passed(), "{:?}", verdict.violations);
    verdict
}
