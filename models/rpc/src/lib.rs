//! The gRPC services between Longhorn's components, and their channel and server over the host's network.
