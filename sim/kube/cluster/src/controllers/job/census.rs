//! The pods of a Job, counted, and how long its next pod has to wait for their failures.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use crate::controllers::pods::{is_finished, is_ready, phase};

const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(600);

/// The pods of a Job by what has become of them.
#[derive(Default)]
pub(super) struct Census {
    pub active: Vec<Arc<Pod>>,
    pub terminating: usize,
    pub ready: i32,
    pub succeeded: Vec<Arc<Pod>>,
    pub failed: Vec<Arc<Pod>>,
    /// Restarts of containers in pods that restart them themselves.
    pub restarts: i32,
}

impl Census {
    /// Of these pods.
    pub fn of(pods: Vec<Arc<Pod>>) -> Census {
        let mut census = Census::default();
        for pod in pods {
            match (phase(&pod), pod.metadata.deletion_timestamp.is_some()) {
                ("Succeeded", _) => census.succeeded.push(pod),
                ("Failed", _) => census.failed.push(pod),
                (_, true) => census.terminating += 1,
                (_, false) => {
                    census.ready += i32::from(is_ready(&pod));
                    census.restarts += restarts(&pod);
                    census.active.push(pod);
                }
            }
        }
        census.active.sort_by_key(|pod| pod.metadata.name.clone());
        census
    }
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| {
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
    });
    statuses.map(|status| status.restart_count).sum()
}

/// How long the next pod has to wait for the failures since the last success.
pub(super) fn back_off_left(census: &Census, now: jiff::Timestamp) -> Option<Duration> {
    let ends = |pods: &[Arc<Pod>]| -> Vec<jiff::Timestamp> { pods.iter().filter_map(|pod| ended_at(pod)).collect() };
    let last_success = ends(&census.succeeded).into_iter().max();
    let failures: Vec<jiff::Timestamp> =
        ends(&census.failed).into_iter().filter(|end| last_success.is_none_or(|success| *end > success)).collect();
    let last_failure = failures.iter().max()?;
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(10);
    let whole = (FIRST_BACK_OFF * 2_u32.pow(doublings)).min(LONGEST_BACK_OFF);
    let since = Duration::try_from(now.duration_since(*last_failure)).unwrap_or(Duration::ZERO);
    (since < whole).then(|| whole - since)
}

/// When the last of a pod's containers ended.
fn ended_at(pod: &Pod) -> Option<jiff::Timestamp> {
    debug_assert!(is_finished(pod), "only a pod that has ended has an end");
    let status = pod.status.as_ref()?;
    let statuses = status.container_statuses.iter().flatten();
    let ends = statuses.filter_map(|status| status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    ends.map(|end| end.0).max().or_else(|| status.start_time.as_ref().map(|start| start.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ended(name: &str, phase: &str, second: u32) -> Arc<Pod> {
        let end = format!("2026-01-01T00:00:{second:02}Z");
        let state = json!({"terminated": {"exitCode": 1, "finishedAt": end}});
        let statuses =
            json!([{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]);
        let pod = json!({"metadata": {"name": name}, "status": {"phase": phase, "containerStatuses": statuses}});
        Arc::new(serde_json::from_value(pod).expect("a pod"))
    }

    #[test]
    fn each_failure_since_the_last_success_doubles_the_wait() {
        let now: jiff::Timestamp = "2026-01-01T00:00:30Z".parse().expect("a time");
        let left = |succeeded: Vec<Arc<Pod>>, failed: Vec<Arc<Pod>>| {
            back_off_left(&Census { succeeded, failed, ..Census::default() }, now).map(|left| left.as_secs())
        };
        assert_eq!(left(vec![], vec![]), None);
        assert_eq!(left(vec![], vec![ended("a", "Failed", 25)]), Some(5));
        assert_eq!(left(vec![], vec![ended("a", "Failed", 1), ended("b", "Failed", 25)]), Some(15));
        let success = vec![ended("s", "Succeeded", 20)];
        assert_eq!(left(success, vec![ended("a", "Failed", 1), ended("b", "Failed", 25)]), Some(5));
        assert_eq!(left(vec![], vec![ended("a", "Failed", 19)]), None, "waited long enough");
    }
}
