//! Plans, faults, triggers, the run loop, verdicts.
