//! The integration tests, as one binary. `world` is a company in memory for tests of the planner.
//! `firm` is a company on a simulated directory.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod access;
mod acme;
mod answers;
mod approval;
mod breakage;
mod budgets;
mod changes;
mod client;
mod clock;
#[cfg(feature = "postgres")]
mod cluster;
mod completion;
mod config;
mod console;
#[cfg(feature = "postgres")]
mod copy;
mod ctl;
#[cfg(feature = "postgres")]
mod database;
mod engine;
mod explain;
mod faults;
mod files;
mod findings;
mod firm;
#[path = "../support/folder.rs"]
mod folder;
mod gates;
mod gauntlet;
mod histories;
mod hooks;
mod hostile;
mod lab;
mod language;
mod laws;
mod layers;
mod leave_dates;
mod members;
mod names;
mod notes;
mod ous;
mod package;
#[cfg(feature = "postgres")]
mod pair;
mod plans;
#[cfg(feature = "postgres")]
#[path = "../support/postgres.rs"]
mod postgres;
mod preview;
#[path = "../support/process.rs"]
mod process;
mod provision;
mod quiet;
mod rehearsal;
#[cfg(feature = "postgres")]
#[path = "../support/relay.rs"]
mod relay;
mod replicas;
mod reports;
mod retention;
mod scheduled;
mod servers;
mod service;
mod sign_in;
mod simulation;
mod socket;
mod targets;
mod telemetry;
mod timing;
mod undo;
mod upgrade;
mod who;
mod world;
