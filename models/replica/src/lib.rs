//! A v1 replica: its directory to the byte, and the process that serves it.
