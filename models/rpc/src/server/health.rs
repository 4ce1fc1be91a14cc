//! The health service that every port of Longhorn's has beside its own: one answer, whatever service is asked about.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::Notify;
use tonic::{Request, Response, Status, async_trait};

use crate::health::HealthCheckRequest;
use crate::health::HealthCheckResponse;
use crate::health::health_check_response::ServingStatus;
use crate::health::health_server;

/// Whether a server is serving.
#[derive(Clone, Debug)]
pub struct Health(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    serving: AtomicBool,
    changed: Notify,
}

impl Default for Health {
    fn default() -> Health {
        Health(Arc::new(Shared { serving: AtomicBool::new(true), changed: Notify::new() }))
    }
}

impl Health {
    /// Serving, until told otherwise.
    pub fn new() -> Health {
        Health::default()
    }

    /// From now on it is serving, or it is not.
    pub fn set_serving(&self, serving: bool) {
        self.0.serving.store(serving, Ordering::Relaxed);
        self.0.changed.notify_waiters();
    }

    pub(super) fn service(&self) -> health_server::HealthServer<Health> {
        health_server::HealthServer::new(self.clone())
    }

    fn answer(&self) -> HealthCheckResponse {
        let serving = self.0.serving.load(Ordering::Relaxed);
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        HealthCheckResponse { status: status.into() }
    }

    /// The answer, once it differs from the one that was told last.
    async fn answer_other_than(&self, told: Option<HealthCheckResponse>) -> HealthCheckResponse {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            changed.as_mut().enable();
            let answer = self.answer();
            if Some(answer) != told {
                return answer;
            }
            changed.await;
        }
    }
}

#[async_trait]
impl health_server::Health for Health {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(self.answer()))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>>, Status> {
        let answers = unfold((self.clone(), None), |(health, told)| async move {
            let answer = health.answer_other_than(told).await;
            Some((Ok(answer), (health, Some(answer))))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
