//! How fast an idle cluster runs: simulated seconds per real second, and what the time goes into.
//!
//! `cargo run --example idle -p corral-cluster [WORKERS [PODS_PER_WORKER [SECONDS]]]`

#[cfg(madsim)]
fn main() {
    use std::time::Duration;

    use corral_cluster::{Cluster, ClusterSpec, Image, Images};
    use corral_core::{Options, run};
    use corral_kube_client::{Api, Client, ClientOptions};
    use host::process::program;
    use k8s_openapi::api::core::v1::Pod;

    async fn serve() -> i32 {
        let address = (host::net::local_ip(), 8080).into();
        let listener = host::net::TcpListener::bind(address).await.expect("a free port");
        let answer = |_request, _peer| async { http::Response::new(host::http::empty()) };
        host::http::serve(listener, answer).await;
        0
    }

    let numbers: Vec<u64> = std::env::args().skip(1).map(|text| text.parse().expect("a number")).collect();
    let number = |index: usize, default| numbers.get(index).copied().unwrap_or(default);
    let (workers, pods, seconds) = (number(0, 3), number(1, 1), number(2, 20_000));
    #[expect(clippy::disallowed_methods, reason = "this measures the real time")]
    let now = std::time::Instant::now;
    let began = now();
    let outcome = run(Options::new(1), async move {
        let images = Images::new().with("server", Image::new("/server", |_| program(serve)));
        let cluster = Cluster::boot(ClusterSpec::workers(workers as usize).images(images)).await;
        let client = Client::new(&cluster.api_address(), ClientOptions::unlimited("test")).expect("an address");
        let api: Api<Pod> = Api::namespaced(&client, "default");
        for number in 0..workers * pods {
            let pod = serde_json::json!({
                "metadata": {"name": format!("pod-{number}")},
                "spec": {"containers": [{
                    "name": "main", "image": "server", "readinessProbe": {"httpGet": {"port": 8080}},
                }]},
            });
            api.create(&serde_json::from_value(pod).expect("a pod")).await.expect("created");
        }
        host::time::sleep(Duration::from_secs(60)).await;
        let began = now();
        let (events, segments) = (corral_core::world().journal().events(), segments());
        let revision = cluster.store().revision();
        host::time::sleep(Duration::from_secs(seconds)).await;
        let took = began.elapsed().as_secs_f64();
        let per_second = |count: u64| count as f64 / seconds as f64;
        println!("{seconds} simulated seconds in {took:.2} s: {:.0} a second", seconds as f64 / took);
        println!(
            "journal events a simulated second: {:.2}",
            per_second(corral_core::world().journal().events() - events)
        );
        println!("segments a simulated second: {:.2}", per_second(self::segments() - segments));
        println!("writes a simulated second: {:.2}", per_second(cluster.store().revision() - revision));
        println!("open watches: {}", cluster.store().open_watches());
    });
    println!("whole run: {:.2} s", began.elapsed().as_secs_f64());
    outcome.unwrap();
}

#[cfg(madsim)]
fn segments() -> u64 {
    corral_net::Net::of(&corral_core::world()).statistics().segments_delivered
}

#[cfg(not(madsim))]
fn main() {}
