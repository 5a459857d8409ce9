//! Signatures of webhooks by <https://www.standardwebhooks.com>, which prove sender and time.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, GeneralPurpose};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretSlice};
use sha2::Sha256;

/// Keys are accepted with and without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Reads the keys of a file, one in each line. All of them sign, so that a receiver can rotate
/// keys.
pub(super) fn keys(file: &Path) -> Result<Vec<SecretSlice<u8>>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        format!("reading the signing keys of {} failed: {error}", file.display())
    })?;
    let key = |line: &str| {
        let key = line
            .strip_prefix("whsec_")
            .and_then(|key| LENIENT.decode(key).ok())
            .filter(|key| !key.is_empty());
        key.map(SecretSlice::from)
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Option<Vec<SecretSlice<u8>>> = lines.map(key).collect();
    keys.filter(|keys| !keys.is_empty()).ok_or_else(|| {
        format!(
            "{} has a line that is not a signing key: write whsec_ and the key in Base64",
            file.display()
        )
    })
}

/// Returns the `webhook-signature` header: one signature for each key.
pub(super) fn signature(keys: &[SecretSlice<u8>], id: &str, seconds: i64, body: &[u8]) -> String {
    let sign = |key: &SecretSlice<u8>| {
        // HMAC accepts a key of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).ok()?;
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    };
    keys.iter().filter_map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_example_of_the_standard_has_the_published_signature() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, format!("{KEY}\n")).unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature =
            signature(&keys(&file).unwrap(), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_line_that_is_not_a_key_is_reported_without_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        for bad in ["", "whsec_", "whsec_!!!!", "MARKER-SECRET"] {
            std::fs::write(&file, bad).unwrap();
            let error = keys(&file).unwrap_err();
            assert!(error.contains("not a signing key") && !error.contains("MARKER"), "{error}");
        }
        assert!(keys(&folder.path().join("none")).unwrap_err().contains("failed: No such file"));
    }
}
