//! The API server and an idle cluster.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use corral_apiserver::{HistoryOptions, Options as ServerOptions, Server, Store};
use corral_core::{Options, run};
use corral_kube_client::{Api, Client, ClientOptions, InformerOptions, SharedInformer, Stop};
use corral_scenarios::catalogue;
use corral_scenarios::install::{create, manifest};
use corral_world::{Arm, RunOptions};
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
    let scenario = catalogue().scenario("backup-cleanup").expect("it is there");
    let idle_for = |seconds: u64| {
        let set = [("machines", "3"), ("faults", "0"), ("pull", "false"), ("volumes", "1"), ("backups", "1")];
        let arm = Arm { set: set.map(|(key, value)| (key.to_owned(), value.to_owned())).into(), ..Arm::default() };
        let mut plan = scenario.expand(1, &arm).expect("a plan of its own");
        let wait = format!("do = {{ wait = {{ for = \"{seconds}s\" }} }}");
        plan.steps = vec![toml::from_str(&wait).expect("a step")];
        let verdict =
            corral_world::run(scenario.clone(), &arm, 1, Some(plan), RunOptions::default()).expect("it can be");
        assert!(verdict.passed(), "{:?}", verdict.violations);
    };
    let second = each(scale.of(100_000), idle_for);
    vec![
        Figure::at_least("three machines, three idle managers", 1.0 / second.as_secs_f64(), "simulated s/s", 20_000.0),
        Figure::at_most("resident memory after it", resident_mib(), "MiB", 64.0),
    ]
}
