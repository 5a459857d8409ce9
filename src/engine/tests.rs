//! The engine against a simulated directory.
