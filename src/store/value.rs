//! Values that can be bound to a statement.

use serde::Serialize;
use uuid::Uuid;

use crate::model::{Guid, Sid, Timestamp};
use crate::reconcile::Fingerprint;

pub(super) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Blob(Option<Vec<u8>>),
}

macro_rules! values {
    ($($type:ty, $value:ident => $into:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($value: $type) -> Self { $into }
        }
    )*};
}
values! {
    i64, v => Self::Int(Some(v));
    bool, v => Self::Int(Some(i64::from(v)));
    u64, v => Self::Int(Some(v as i64));
    Option<i64>, v => Self::Int(v);
    Timestamp, v => Self::Int(Some(v.0));
    Option<Timestamp>, v => Self::Int(v.map(|t| t.0));
    &str, v => Self::Text(Some(v.to_owned()));
    String, v => Self::Text(Some(v));
    Option<&str>, v => Self::Text(v.map(str::to_owned));
    Option<String>, v => Self::Text(v);
    Uuid, v => Self::Blob(Some(v.as_bytes().to_vec()));
    Option<Uuid>, v => Self::Blob(v.map(|u| u.as_bytes().to_vec()));
    Guid, v => Self::Blob(Some(v.0.to_vec()));
    Option<Guid>, v => Self::Blob(v.map(|g| g.0.to_vec()));
    &Sid, v => Self::Blob(Some(v.as_bytes().to_vec()));
    Option<&Sid>, v => Self::Blob(v.map(|sid| sid.as_bytes().to_vec()));
    Fingerprint, v => Self::from(v.to_stored());
    Vec<u8>, v => Self::Blob(Some(v));
    [u8; 32], v => Self::Blob(Some(v.to_vec()));
}

/// Returns the JSON of a value for a TEXT column. The types of the model always serialize.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
