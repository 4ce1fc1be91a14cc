//! How the control plane's processes come to lead: through a lease in kube-system, as kube-controller-manager and kube-scheduler do.
//!
//! A leader that cannot renew ends its process, and whoever supervises it starts it again. Source: component-base/config (15 s, 10 s, 2 s),
//! cmd/kube-controller-manager/app/controllermanager.go.

use std::future::Future;
use std::time::Duration;

use corral_kube_client::election::Ended;
use corral_kube_client::{Client, ClientOptions, Election, ElectionConfig, Stop};

/// The namespace of the control plane's leases.
const NAMESPACE: &str = "kube-system";

/// The times of a leader's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// How long others wait after the last renewal they saw.
    pub lease_duration: Duration,
    /// How long a leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// Between two renewals.
    pub retry_period: Duration,
}

impl Default for Leadership {
    fn default() -> Leadership {
        Leadership {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

impl Leadership {
    /// What OpenShift gives its own leaders, to spare the API server. An idle cluster spends a good part of its requests on leases otherwise.
    /// Source: openshift/library-go pkg/config/leaderelection.
    pub const PATIENT: Leadership = Leadership {
        lease_duration: Duration::from_secs(137),
        renew_deadline: Duration::from_secs(107),
        retry_period: Duration::from_secs(26),
    };

    /// Runs `work` while this process holds the lease; gives an exit status when it no longer does.
    pub(crate) async fn lead<L, F>(self, server: &str, name: &str, work: L) -> i32
    where
        L: FnOnce(Stop) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        // Elections have a client of their own, so that nothing else can use up its limit.
        let options = ClientOptions {
            timeout: Some(self.renew_deadline / 2),
            ..ClientOptions::limited(format!("{name}/leader-election"), 20.0, 30)
        };
        let client = match Client::new(server, options) {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "the API server's address is none");
                return 1;
            }
        };
        let identity = format!("{}_{}", host::process::hostname(), host::random::stream("identity").hex(32));
        let config = ElectionConfig {
            lease_duration: self.lease_duration,
            renew_deadline: self.renew_deadline,
            retry_period: self.retry_period,
            ..ElectionConfig::new(NAMESPACE, name, &identity)
        };
        match Election::new(&client, config).run(&Stop::new(), work).await {
            Ended::Lost => 1,
            Ended::Stopped | Ended::NeverLed => 0,
        }
    }
}
