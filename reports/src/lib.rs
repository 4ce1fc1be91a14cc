//! From a journal to what a person reads.
