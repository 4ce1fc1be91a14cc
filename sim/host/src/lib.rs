//! What a process may ask of its machine, in the simulated world and in the real one.
