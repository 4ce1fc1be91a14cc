//! The engine process: starts the volume, serves its control port, and lets go of all when it is asked to stop
//! (app/cmd/controller.go, shutdown.go).

use longhorn_replica::{go_text, listening_address};
use longhorn_rpc::ptypes::controller_service_server::ControllerServiceServer;
use longhorn_rpc::{Health, Identity, Router, ServerKind};

use super::error::REPLICA_ERROR;
use super::{Controller, Service, Settings};

/// ENODATA: the manager takes an engine that ends so for one whose replicas are all bad.
const NO_DATA: i32 = 61;

/// What an engine process is started with.
#[derive(Clone, Debug)]
pub struct Process {
    /// How the volume is kept.
    pub settings: Settings,
    /// The engine's own name.
    pub instance: String,
    /// `host:port` of the control port.
    pub listen: String,
    /// The size that the volume is to have, in bytes.
    pub size: i64,
    /// The size that it had, in bytes.
    pub current_size: i64,
    /// Its replicas' addresses.
    pub replicas: Vec<String>,
}

/// The process's status after a start that failed.
pub fn exit_status(error: &str) -> i32 {
    if error.contains(REPLICA_ERROR) { NO_DATA } else { 1 }
}

impl Process {
    /// Runs until it is asked to stop; the process's status.
    ///
    /// # Errors
    /// The volume cannot be started, or the port is taken.
    pub async fn run(self) -> Result<i32, String> {
        let identity = Identity::new(self.settings.volume.clone(), self.instance);
        let controller = Controller::new(self.settings);
        // From here on a signal ends the volume in order, even while it is being started.
        let serve = async {
            let started = controller.start(self.size, self.current_size, &self.replicas).await;
            started.map_err(|error| error.to_string())?;
            let address = listening_address(&self.listen)?;
            let listener = host::net::TcpListener::bind(address).await;
            let listener = listener.map_err(|error| format!("listen tcp {address}: bind: {}", go_text(&error)))?;
            let services = Router::new()
                .add(ControllerServiceServer::new(Service(controller.clone())))
                .health(&Health::new())
                .identity(ServerKind::Controller, identity);
            longhorn_rpc::serve(listener, services).await;
            Ok::<(), String>(())
        };
        tokio::select! {
            biased;
            () = host::process::terminated() => {}
            ended = serve => return ended.map(|()| 0),
        }
        match controller.shutdown().await {
            Ok(()) => Ok(0),
            Err(error) => {
                tracing::error!(%error, "failed to shut down");
                Ok(1)
            }
        }
    }
}
