//! What makes an API server a cluster: garbage collector, scheduler, kubelet, workload and node controllers.
