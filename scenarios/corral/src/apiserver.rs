//! `corral apiserver`: the API server with its garbage collector and namespace clean-up, in the real world.

use std::net::SocketAddr;

use corral_apiserver::{HistoryOptions, Options, Server, Store, WebhookScheme};
use corral_cluster::{garbage_collector, namespace};
use corral_kube_client::Stop;
use host::net::TcpListener;

use crate::arguments::ApiserverOptions;
use crate::failure::{Done, Refused, Status};
use crate::say::say;

/// Takes the address, if it may be had: nobody is asked who he is.
pub async fn listen(options: &ApiserverOptions) -> Result<(TcpListener, SocketAddr), Refused> {
    let address = options.listen;
    if !address.ip().is_loopback() && !options.allow_remote {
        return Err(Refused::new(format!(
            "--listen {address}: the server has no authentication; allowed are loopback addresses, others with --allow-remote"
        )));
    }
    let listener =
        TcpListener::bind(address).await.map_err(|error| Refused::new(format!("--listen {address}: {error}")))?;
    let bound = listener.local_addr().map_err(Refused::new)?;
    Ok((listener, bound))
}

/// Serves until Ctrl-C.
pub fn serve(options: &ApiserverOptions) -> Done {
    host::real::block_on(async {
        let (listener, bound) = listen(options).await?;
        let server = Server::new(
            Store::new(HistoryOptions::default()),
            Options { allow_plain_http_webhooks: true, webhook_scheme: WebhookScheme::Http, ..Options::default() },
        );
        host::spawn(async move { server.serve(listener).await });
        say(format_args!(
            "serving the Kubernetes API on http://{bound}; try: kubectl --server http://{bound} get namespaces"
        ));
        let (base, stop) = (bound.to_string(), Stop::new());
        let collector = host::spawn(collect(base.clone(), stop.clone()));
        let namespaces = host::spawn(clean_up(base, stop.clone()));
        host::real::interrupted().await.map_err(Refused::new)?;
        stop.stop();
        collector.abort();
        namespaces.abort();
        Ok(Status::AsExpected)
    })
}

async fn collect(server: String, stop: Stop) {
    let options = garbage_collector::GarbageCollectorOptions::default();
    if let Err(error) = garbage_collector::run(&server, options, stop).await {
        eprintln!("corral: the garbage collector ended: {error}");
    }
}

async fn clean_up(server: String, stop: Stop) {
    let options = namespace::NamespaceControllerOptions::default();
    if let Err(error) = namespace::run(&server, options, stop).await {
        eprintln!("corral: the namespace controller ended: {error}");
    }
}
