//! Clusters, workloads, Longhorn's oracles, recorded races.
