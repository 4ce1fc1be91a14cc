//! Simulated TCP: links with latency, loss and bandwidth, partitions, and every way a connection can end.
