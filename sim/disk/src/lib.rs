//! Simulated disks and files: page cache, power cuts, torn writes, faults, sparse extents.
