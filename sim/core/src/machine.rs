//! Machines: a kernel that lives or not, and a wall clock of its own.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::nanos::Nanos;

/// Number of a machine in its run, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId(pub u32);

/// What a machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineState {
    /// Working.
    Running,
    /// Paused as a whole, as a virtual machine being moved: silence now, everything late.
    Frozen,
    /// Without power.
    Off,
}

impl MachineState {
    /// As the journal says it.
    pub fn name(self) -> &'static str {
        match self {
            MachineState::Running => "running",
            MachineState::Frozen => "frozen",
            MachineState::Off => "off",
        }
    }
}

/// One machine.
pub struct Machine {
    /// Its number.
    pub id: MachineId,
    /// Its name, unique in the run.
    pub name: String,
    inner: Mutex<Inner>,
}

struct Inner {
    state: MachineState,
    clock: WallClock,
}

/// How a machine's wall clock departs from true time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallClock {
    /// Nanoseconds it is ahead (or, negative, behind) at `since`.
    pub offset_ns: i64,
    /// Parts per million it gains (or loses) from `since` on.
    pub drift_ppm: i64,
    /// When offset and drift were set.
    pub since: Nanos,
}

impl WallClock {
    /// Nanoseconds ahead of true time at `now`.
    pub fn ahead_ns(&self, now: Nanos) -> i64 {
        let gained = i128::from(now.0.saturating_sub(self.since.0)) * i128::from(self.drift_ppm) / 1_000_000;
        self.offset_ns.saturating_add(gained as i64)
    }
}

impl Machine {
    pub(crate) fn new(id: MachineId, name: String) -> Machine {
        Machine { id, name, inner: Mutex::new(Inner { state: MachineState::Running, clock: WallClock::default() }) }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What it is doing.
    pub fn state(&self) -> MachineState {
        self.with(|inner| inner.state)
    }

    pub(crate) fn set_state(&self, state: MachineState) {
        self.with(|inner| inner.state = state);
    }

    /// Its wall clock's error.
    pub fn clock(&self) -> WallClock {
        self.with(|inner| inner.clock)
    }

    /// Steps the wall clock by so many nanoseconds and lets it drift from now on.
    pub fn set_clock(&self, now: Nanos, step_ns: i64, drift_ppm: i64) {
        self.with(|inner| {
            let offset_ns = inner.clock.ahead_ns(now).saturating_add(step_ns);
            inner.clock = WallClock { offset_ns, drift_ppm, since: now };
        });
    }

    /// How far its wall clock is from true time: positive if it is ahead.
    pub fn clock_error(&self, now: Nanos) -> (bool, Duration) {
        let ahead = self.clock().ahead_ns(now);
        (ahead >= 0, Duration::from_nanos(ahead.unsigned_abs()))
    }
}
