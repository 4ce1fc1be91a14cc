//! The server alone, in the real world, for conformance/conform.py and kubectl: `cargo run -p corral-apiserver --example serve -- 127.0.0.1:PORT`.
//! `corral apiserver` is the same with a garbage collector and a namespace controller.

use corral_apiserver::{HistoryOptions, Options, Server, Store, WebhookScheme};

fn main() {
    let address = host::process::args().into_iter().nth(1).unwrap_or_else(|| "127.0.0.1:8001".to_owned());
    host::real::block_on(async move {
        let listener = host::net::TcpListener::bind(address.parse().expect("an address and a port"))
            .await
            .expect("the address is free");
        let options =
            Options { allow_plain_http_webhooks: true, webhook_scheme: WebhookScheme::Http, ..Options::default() };
        let server = Server::new(Store::new(HistoryOptions::default()), options);
        server.serve(listener).await;
    });
}
