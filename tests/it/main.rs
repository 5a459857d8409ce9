//! The one integration test binary. `world` is the language of the planner's tests: build a company,
//! change one thing, look at what a run does.

mod laws;
mod plans;
mod world;
