//! Named random streams, private to the calling process.

pub use corral_core::random::Stream;

/// The stream of this name. In the simulated world it is split from the run's seed, the process's number and the name; each call begins it anew,
/// so keep the stream. In the real world it is seeded by the operating system.
pub fn stream(name: &str) -> Stream {
    #[cfg(madsim)]
    if let Some(world) = corral_core::try_world() {
        let process = world
            .current_process()
            .map_or_else(|| "kernel".to_owned(), |process| format!("{}#{}", process.spec.name, process.id.0));
        return world.stream(&format!("{process}/{name}"));
    }
    Stream::new(crate::real::entropy(), name)
}
