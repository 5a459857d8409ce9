//! What must hold for the BER reader and the relay's gate, whatever bytes a server sends.
//!
//! The two modules are private to rosterd and stay so: they are compiled here once more, from the same files. [`stream`] are the
//! properties of the bytes, [`driver`] those of ldap3 behind the gate, [`mutation`] makes new bytes of old ones, knowing what BER is.
//! The library's test replays the corpus and some thousands of mutations of it; libFuzzer does the same for as long as one lets it.

/// rosterd's own modules, as they are.
#[allow(dead_code, unreachable_pub, reason = "the rest of rosterd uses what is not used here")]
#[path = "../../../src/directory"]
mod directory {
    pub mod ber;
    pub mod frame;
    // In here because it compares elements, which nobody outside gets to see.
    #[path = "../../tests/fuzz/src/stream.rs"]
    pub mod stream;
}

pub mod corpus;
pub mod driver;
pub mod mutation;

pub use directory::stream;
