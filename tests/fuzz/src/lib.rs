//! Properties of the BER reader and the relay's gate that hold for all bytes of a server.
//!
//! The two modules stay private to rosterd and are compiled here once more, from the same files.
//! [`stream`] has the properties of the bytes, [`driver`] those of ldap3 behind the gate.
//! [`mutation`] makes new bytes from old ones, with knowledge of BER. The replay test tries the
//! corpus and some thousands of mutations of it. libFuzzer does the same without a time limit.

/// rosterd's own modules, unchanged.
#[allow(dead_code, unreachable_pub, reason = "the rest of rosterd uses what is not used here")]
#[path = "../../../src/directory"]
mod directory {
    pub mod ber;
    pub mod frame;
    // Inside this module, because it compares elements, which are private to it.
    #[path = "../../tests/fuzz/src/stream.rs"]
    pub mod stream;
}

pub mod corpus;
pub mod driver;
pub mod mutation;

pub use directory::stream;
