//! Lease election: at most one of several candidates leads, as long as clocks run at about the same rate.
//!
//! A candidate tries each 2 to 4.4 s (retry period, jitter 1.2). It takes a lease that nobody holds, or that it has not seen renewed for the lease's
//! duration, measured on its own monotonic clock from when it last saw the record change: skewed wall clocks do no harm. A leader renews each retry
//! period and gives up when it could not for the renew deadline; between its last renewal and its giving up, and its work's hearing of it, another
//! candidate may lead already if the deadline is not well below the lease's duration.
//! Fault model: a leader that is frozen or cut off leads on in its own eyes; nothing fences it.
//! Source: client-go tools/leaderelection/leaderelection.go, resourcelock/leaselock.go.

use std::future::Future;
use std::time::Duration;

use host::random::Stream;
use host::time::Instant;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use crate::api::Api;
use crate::backoff::jitter;
use crate::client::Client;
use crate::error::Result;
use crate::sync::Stop;

/// Between two tries of a candidate up to this many retry periods are added.
const JITTER_FACTOR: f64 = 1.2;

/// Who stands for which lease, and how patiently.
#[derive(Clone, Debug)]
pub struct ElectionConfig {
    /// The lease's namespace.
    pub namespace: String,
    /// The lease's name.
    pub name: String,
    /// The candidate, different from all others.
    pub identity: String,
    /// How long others wait after the last renewal they saw. Whole seconds.
    pub lease_duration: Duration,
    /// How long a leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// How long between two tries.
    pub retry_period: Duration,
    /// Whether a leader gives the lease back when it ends.
    pub release_on_cancel: bool,
}

impl ElectionConfig {
    /// With 20 s, 10 s and 2 s; the lease is not given back.
    pub fn new(namespace: &str, name: &str, identity: &str) -> ElectionConfig {
        ElectionConfig {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease_duration: Duration::from_secs(20),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            release_on_cancel: false,
        }
    }

    fn check(&self) {
        assert!(self.lease_duration > self.renew_deadline, "a lease must outlast its holder's tries to renew it");
        let least = self.retry_period.mul_f64(JITTER_FACTOR);
        assert!(self.renew_deadline > least, "a leader must get more than one try to renew");
        assert!(self.lease_duration >= Duration::from_secs(1), "leases are counted in seconds");
        assert!(!self.retry_period.is_zero(), "a candidate must pause between tries");
        assert!(!self.identity.is_empty(), "a candidate must have a name");
    }
}

/// How a candidacy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop before it led.
    NeverLed,
    /// It led and was told to stop.
    Stopped,
    /// It led and could not renew the lease in time.
    Lost,
}

/// What a lease says about its holder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Record {
    holder: String,
    lease_duration_seconds: i32,
    acquired: Option<jiff::Timestamp>,
    renewed: Option<jiff::Timestamp>,
    transitions: i32,
}

impl Record {
    /// What candidates compare to see a change: times only to the second, as in client-go's JSON of the record.
    fn coarse(&self) -> (&str, i32, Option<i64>, Option<i64>, i32) {
        let second = |time: Option<jiff::Timestamp>| time.map(jiff::Timestamp::as_second);
        let (acquired, renewed) = (second(self.acquired), second(self.renewed));
        (&self.holder, self.lease_duration_seconds, acquired, renewed, self.transitions)
    }

    fn of(spec: Option<&LeaseSpec>) -> Record {
        let Some(spec) = spec else { return Record::default() };
        Record {
            holder: spec.holder_identity.clone().unwrap_or_default(),
            lease_duration_seconds: spec.lease_duration_seconds.unwrap_or(0),
            acquired: spec.acquire_time.as_ref().map(|time| time.0),
            renewed: spec.renew_time.as_ref().map(|time| time.0),
            transitions: spec.lease_transitions.unwrap_or(0),
        }
    }

    fn spec(&self) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(self.lease_duration_seconds),
            acquire_time: self.acquired.map(MicroTime),
            renew_time: self.renewed.map(MicroTime),
            lease_transitions: Some(self.transitions),
            ..LeaseSpec::default()
        }
    }
}

/// Told of each new leader.
type NewLeader = Box<dyn FnMut(&str) + Send>;

/// One candidate.
pub struct Election {
    api: Api<Lease>,
    config: ElectionConfig,
    random: Stream,
    /// The lease as it was last read or written.
    lease: Option<Lease>,
    /// The record as it was last read, to see whether it changes.
    last_read: Option<Record>,
    observed: Record,
    observed_at: Instant,
    reported: String,
    on_new_leader: NewLeader,
}

impl Election {
    /// A candidate that does not stand yet.
    ///
    /// # Panics
    /// If the times do not fit each other, as in client-go.
    pub fn new(client: &Client, config: ElectionConfig) -> Election {
        config.check();
        Election {
            api: Api::namespaced(client, &config.namespace),
            random: client.random(&format!("election {}", config.name)),
            config,
            lease: None,
            last_read: None,
            observed: Record::default(),
            observed_at: Instant::now(),
            reported: String::new(),
            on_new_leader: Box::new(|_| {}),
        }
    }

    /// Tells `tell` whenever another leader is seen, this candidate included, and with an empty name when the lease was given back.
    pub fn on_new_leader(mut self, tell: impl FnMut(&str) + Send + 'static) -> Election {
        self.on_new_leader = Box::new(tell);
        self
    }

    /// Stands for the lease until it leads, then runs `lead` beside the renewals. Returns when told to stop or when the lease is lost; the signal
    /// given to `lead` is given by then, but `lead` may still be at work: what guards against two leaders must look at that signal.
    pub async fn run<L, F>(mut self, stop: &Stop, lead: L) -> Ended
    where
        L: FnOnce(Stop) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        if !self.acquire(stop).await {
            return Ended::NeverLed;
        }
        let over = Stop::new();
        host::spawn(lead(over.clone()));
        let ended = self.renew_until_lost(stop).await;
        if ended == Ended::Stopped {
            over.stop();
        }
        // A lost lease is given back before its leader hears of the loss: so it is upstream.
        if self.config.release_on_cancel {
            self.release().await;
        }
        over.stop();
        ended
    }

    /// Tries until it holds the lease; false if told to stop before.
    async fn acquire(&mut self, stop: &Stop) -> bool {
        while !stop.is_stopped() {
            let acquired = tokio::select! {
                biased;
                () = stop.stopped() => false,
                acquired = self.try_acquire_or_renew() => acquired,
            };
            self.report_transition();
            if acquired {
                tracing::info!(lease = %self.config.name, identity = %self.config.identity, "leads");
                return true;
            }
            let wait = jitter(self.config.retry_period, JITTER_FACTOR, &mut self.random);
            sleep_unless_stopped(wait, stop).await;
        }
        false
    }

    async fn renew_until_lost(&mut self, stop: &Stop) -> Ended {
        while !stop.is_stopped() {
            let deadline = self.config.renew_deadline;
            let renewed = tokio::select! {
                biased;
                () = stop.stopped() => false,
                renewed = host::time::timeout(deadline, self.renew()) => renewed.is_ok(),
            };
            self.report_transition();
            if !renewed {
                break;
            }
            sleep_unless_stopped(self.config.retry_period, stop).await;
        }
        if stop.is_stopped() { Ended::Stopped } else { Ended::Lost }
    }

    /// Tries at once and then each retry period; ends only when it was renewed. A try that takes longer than the period delays the next one.
    async fn renew(&mut self) {
        let begun = Instant::now();
        let mut ticks = 0;
        while !self.try_acquire_or_renew().await {
            let elapsed = begun.elapsed();
            // Of the ticks that passed during a slow try, one counts.
            let missed = u32::try_from(elapsed.as_nanos() / self.config.retry_period.as_nanos()).unwrap_or(u32::MAX);
            ticks = (ticks + 1).max(missed);
            host::time::sleep_until(begun + self.config.retry_period * ticks).await;
        }
    }

    async fn try_acquire_or_renew(&mut self) -> bool {
        match self.acquire_or_renew().await {
            Ok(held) => held,
            Err(error) => {
                tracing::warn!(lease = %self.config.name, identity = %self.config.identity, %error, "cannot get the lease");
                false
            }
        }
    }

    async fn acquire_or_renew(&mut self) -> Result<bool> {
        let now = Instant::now();
        let time = host::wall_clock::now();
        let mut record = Record {
            holder: self.config.identity.clone(),
            lease_duration_seconds: self.config.lease_duration.as_secs() as i32,
            acquired: Some(time),
            renewed: Some(time),
            transitions: 0,
        };
        if self.leads() && self.is_valid(now) {
            record.acquired = self.observed.acquired;
            record.transitions = self.observed.transitions;
            match self.update(&record).await {
                Ok(()) => return Ok(true),
                Err(error) => tracing::warn!(%error, "cannot renew optimistically, reading the lease again"),
            }
        }
        let Some(lease) = self.api.get_opt(&self.config.name).await? else {
            self.create(&record).await?;
            return Ok(true);
        };
        self.read(lease);
        if !self.observed.holder.is_empty() && self.is_valid(now) && !self.leads() {
            return Ok(false);
        }
        let read = self.last_read.as_ref().expect("just read");
        if self.leads() {
            record.acquired = read.acquired;
            record.transitions = read.transitions;
        } else {
            record.transitions = read.transitions + 1;
        }
        self.update(&record).await?;
        Ok(true)
    }

    fn leads(&self) -> bool {
        self.observed.holder == self.config.identity
    }

    fn is_valid(&self, now: Instant) -> bool {
        let seconds = u64::try_from(self.observed.lease_duration_seconds).unwrap_or(0);
        self.observed_at + Duration::from_secs(seconds) > now
    }

    fn observe(&mut self, record: Record) {
        self.observed = record;
        self.observed_at = Instant::now();
    }

    fn read(&mut self, lease: Lease) {
        let record = Record::of(lease.spec.as_ref());
        self.lease = Some(lease);
        if self.last_read.as_ref().map(Record::coarse) != Some(record.coarse()) {
            self.observe(record.clone());
            self.last_read = Some(record);
        }
    }

    async fn create(&mut self, record: &Record) -> Result<()> {
        let metadata = ObjectMeta {
            name: Some(self.config.name.clone()),
            namespace: Some(self.config.namespace.clone()),
            ..ObjectMeta::default()
        };
        self.lease = Some(self.api.create(&Lease { metadata, spec: Some(record.spec()) }).await?);
        self.observe(record.clone());
        Ok(())
    }

    async fn update(&mut self, record: &Record) -> Result<()> {
        let lease = self.lease.as_mut().expect("a lease is read or created before it is updated");
        lease.spec = Some(record.spec());
        self.lease = Some(self.api.update(lease).await?);
        self.observe(record.clone());
        Ok(())
    }

    /// Gives the lease back: nobody holds it, and it is over in a second.
    async fn release(&mut self) {
        if !self.leads() {
            return;
        }
        let time = host::wall_clock::now();
        let record = Record {
            holder: String::new(),
            lease_duration_seconds: 1,
            acquired: Some(time),
            renewed: Some(time),
            transitions: self.observed.transitions,
        };
        let deadline = self.config.renew_deadline;
        match host::time::timeout(deadline, self.update(&record)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(lease = %self.config.name, %error, "cannot give the lease back"),
            Err(_elapsed) => tracing::warn!(lease = %self.config.name, "cannot give the lease back in time"),
        }
    }

    fn report_transition(&mut self) {
        if self.observed.holder != self.reported {
            self.reported.clone_from(&self.observed.holder);
            (self.on_new_leader)(&self.reported);
        }
    }
}

async fn sleep_unless_stopped(wait: Duration, stop: &Stop) {
    tokio::select! {
        biased;
        () = stop.stopped() => {}
        () = host::time::sleep(wait) => {}
    }
}
