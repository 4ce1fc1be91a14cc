//! Many seeds: fuzz, workers, coverage.
