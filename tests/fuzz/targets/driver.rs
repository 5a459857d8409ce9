//! libFuzzer on ldap3 behind the gate.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::driver::check(bytes));
