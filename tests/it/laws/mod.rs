//! Properties that hold for every company, every history and every loss of sight.
//!
//! The two most important ones are tried on companies of all shapes. A loss of sight suspends no person
//! who is in order. A person who was seen disabled is suspended or held.

mod addresses;
mod history;
mod leavers;
mod rejections;
mod runs;
mod sight;
mod slices;
