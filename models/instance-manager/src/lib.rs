//! The instance manager: processes of v1 engines and replicas, proxy, and the v2 data engine's service.
