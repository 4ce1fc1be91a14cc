//! Whether a disk has room for a replica: by what is free on it and by what is promised of it (`scheduler/replica_scheduler.go`).

use longhorn_api::kinds::node::{DiskSpec, DiskStatus};
use longhorn_api::settings;

use crate::runtime::{Datastore, Result};

/// The figures of a disk that decide; all in bytes but the percentages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    available: i64,
    maximum: i64,
    reserved: i64,
    scheduled: i64,
    over_provisioning_percentage: i64,
    minimal_available_percentage: i64,
}

impl DiskSpace {
    /// The figures of a disk under the present settings.
    pub fn of(datastore: &Datastore, spec: &DiskSpec, status: &DiskStatus) -> Result<Self> {
        Ok(Self {
            available: status.storage_available,
            maximum: status.storage_maximum,
            reserved: spec.storage_reserved,
            scheduled: status.storage_scheduled,
            over_provisioning_percentage: datastore.setting_number(settings::STORAGE_OVER_PROVISIONING_PERCENTAGE)?,
            minimal_available_percentage: datastore.setting_number(settings::STORAGE_MINIMAL_AVAILABLE_PERCENTAGE)?,
        })
    }

    /// The same with more promised than the status says.
    pub fn with_scheduled(mut self, more_bytes: i64) -> Self {
        self.scheduled += more_bytes;
        self
    }

    /// Whether a replica of `size` fits that takes `required` bytes at once.
    pub fn takes(&self, size: i64, required: i64) -> bool {
        self.objection(size, required).is_none()
    }

    /// Why a replica of `size` that takes `required` bytes at once does not fit; none if it does.
    pub fn objection(&self, size: i64, required: i64) -> Option<String> {
        if self.maximum <= 0 {
            return Some("Storage Max must be greater than 0".to_owned());
        }
        if self.available <= 0 {
            return Some("Storage Available must be greater than 0".to_owned());
        }
        let (left, least) = (self.available - required, self.least_available());
        if left <= least {
            return Some(format!(
                "Actual space usage condition failed: CurrentAvailable = {left} (StorageAvailable - Required) is less than or equal to \
                 MinimalAvailable = {least} ({}% of Storage Max).",
                self.minimal_available_percentage
            ));
        }
        let (promised, limit) = (size + self.scheduled, self.promise_limit());
        (promised > limit).then(|| {
            format!(
                "Scheduling space condition failed: ScheduledTotal = {promised} (Size + StorageScheduled) is greater than \
                 ProvisionedLimit = {limit} ({}% of StorageMax - StorageReserved). ",
                self.over_provisioning_percentage
            )
        })
    }

    /// Whether more is free than must stay free, whatever is promised.
    pub fn is_not_full(&self) -> bool {
        self.maximum > 0 && self.available > 0 && self.available > self.least_available()
    }

    fn least_available(&self) -> i64 {
        percent(self.maximum, self.minimal_available_percentage)
    }

    fn promise_limit(&self) -> i64 {
        percent(self.maximum - self.reserved, self.over_provisioning_percentage)
    }
}

/// In floating point, as upstream computes it: what is cut off decides at the edge.
fn percent(bytes: i64, percentage: i64) -> i64 {
    (bytes as f64 * percentage as f64 / 100.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> DiskSpace {
        DiskSpace {
            available: 800,
            maximum: 1000,
            reserved: 300,
            scheduled: 100,
            over_provisioning_percentage: 100,
            minimal_available_percentage: 25,
        }
    }

    #[test]
    fn promises_end_at_what_is_not_reserved() {
        assert!(disk().takes(600, 0));
        assert!(!disk().takes(601, 0), "700 may be promised, 100 are");
        assert!(!disk().with_scheduled(1).takes(600, 0));
    }

    #[test]
    fn a_quarter_stays_free() {
        assert!(disk().takes(0, 549));
        assert!(!disk().takes(0, 550), "exactly a quarter left is not enough");
        let full = DiskSpace { available: 250, ..disk() };
        assert!(disk().is_not_full() && !full.is_not_full());
    }

    #[test]
    fn a_disk_that_is_not_known_yet_takes_nothing() {
        assert!(!DiskSpace { maximum: 0, ..disk() }.takes(0, 0));
        assert!(!DiskSpace { available: 0, ..disk() }.takes(0, 0));
    }
}
