//! The client against a server that says exactly what a test wants it to say. Against the real corral-apiserver it is tested there.

mod api;
mod fake;
