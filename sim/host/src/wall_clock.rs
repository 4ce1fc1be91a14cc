//! The machine's wall clock: it may be ahead, behind, drifting, or stepped.

/// What this machine's wall clock shows.
pub fn now() -> jiff::Timestamp {
    #[cfg(madsim)]
    if let Some(world) = corral_core::try_world() {
        let machine = world.current_process().map(|process| world.machine(process.spec.machine));
        let ahead = machine.map_or(0, |machine| machine.clock().ahead_ns(world.now()));
        return jiff::Timestamp::from_nanosecond(world.true_time_ns() + i128::from(ahead))
            .expect("a run ends before the year 9999");
    }
    #[expect(clippy::disallowed_methods, reason = "this is the real world's arm")]
    jiff::Timestamp::now()
}
