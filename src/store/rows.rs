//! Rows and their mapping to structs.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{Any, Row as _};
use uuid::Uuid;

use super::error::StoreError;
use super::scope::ScopeState;
use super::value::Value;
use crate::model::{
    AccountId, AccountKind, Actor, ChangeClass, ChangeOutcome, ChangeVerb, ClaimId, ClaimState,
    Digest, DirectoryName, Dn, Domain, EventId, Guid, Handle, HoldReason, NoteText,
    ObservationNumber, PlanId, PlanState, QuarantineReason, Reason, RunId, RunMode, RunState, Sid,
    Standing, Subject, Tier, Timestamp, Trigger, UserId,
};
use crate::reconcile::{Fingerprint, GraceCause};

/// A struct that is read from the columns of a row.
pub(super) trait Row: Sized {
    /// The columns in the order of the reader, for `SELECT` and `INSERT`.
    const COLUMNS: &'static str;

    fn next(columns: &mut Columns<'_>) -> Result<Self, StoreError>;

    fn of(row: &AnyRow) -> Result<Self, StoreError> {
        Self::next(&mut Columns::of(row))
    }
}

/// A struct that is written to the columns of a row.
pub(super) trait StoredRow: Row {
    /// The values in the order of the columns.
    fn values(&self) -> Vec<Value>;

    fn fields(&self) -> Vec<(&'static str, Value)> {
        Self::COLUMNS.split(", ").zip(self.values()).collect()
    }
}

/// Maps a struct to columns: the list of columns and the reader come from one list.
///
/// `as` names a module with the functions `read` and `write` of a field that has another form in
/// the database. With `stored`, the list is the writer's, too.
macro_rules! row {
    (stored $type:ident { $($field:ident: $column:literal $(as $form:ident)?,)+ }) => {
        row!($type { $($field: $column $(as $form)?,)+ });

        impl $crate::store::rows::StoredRow for $type {
            fn values(&self) -> Vec<$crate::store::value::Value> {
                let Self { $($field,)+ } = self;
                let mut values = Vec::new();
                $(row!(@write $field, values $(, $form)?);)+
                values
            }
        }
    };
    ($type:ident { $($field:ident: $column:literal $(as $form:ident)?,)+ }) => {
        impl $crate::store::rows::Row for $type {
            const COLUMNS: &'static str = row!(@join $($column),+);

            fn next(
                columns: &mut $crate::store::rows::Columns<'_>,
            ) -> Result<Self, $crate::store::StoreError> {
                Ok(Self { $($field: row!(@read columns $(, $form)?),)+ })
            }
        }
    };
    (@join $first:literal $(, $more:literal)*) => { concat!($first $(, ", ", $more)*) };
    (@read $columns:ident) => { $columns.read()? };
    (@read $columns:ident, $form:ident) => { $form::read($columns)? };
    (@write $field:ident, $values:ident) => {
        $values.extend([$crate::store::rows::Column::write($field)])
    };
    (@write $field:ident, $values:ident, $form:ident) => { $form::write($field, &mut $values) };
}

pub(super) use row;

/// A value of one column, which may be NULL.
pub(super) trait Column: Sized {
    fn read(columns: &mut Columns<'_>) -> Result<Self, StoreError>;
    fn write(&self) -> Value;
}

impl<T: Scalar> Column for T {
    fn read(columns: &mut Columns<'_>) -> Result<Self, StoreError> {
        Self::from_stored(columns.next()?).ok_or(StoreError::Corrupt { what: Self::WHAT })
    }

    fn write(&self) -> Value {
        Stored::value(Some(self.to_stored()))
    }
}

impl<T: Scalar> Column for Option<T> {
    fn read(columns: &mut Columns<'_>) -> Result<Self, StoreError> {
        let stored: Option<T::Stored> = columns.next()?;
        stored
            .map(|stored| T::from_stored(stored).ok_or(StoreError::Corrupt { what: T::WHAT }))
            .transpose()
    }

    fn write(&self) -> Value {
        Stored::value(self.as_ref().map(Scalar::to_stored))
    }
}

/// A value that is stored as one of the database's types.
pub(super) trait Scalar: Sized {
    type Stored: Stored;
    /// The noun in the error about a value that cannot be read.
    const WHAT: &'static str;

    fn from_stored(stored: Self::Stored) -> Option<Self>;
    fn to_stored(&self) -> Self::Stored;
}

/// A type of the database.
pub(super) trait Stored: sqlx::Type<Any> + for<'r> sqlx::Decode<'r, Any> {
    fn value(stored: Option<Self>) -> Value;
}

impl Stored for i64 {
    fn value(stored: Option<Self>) -> Value {
        Value::Int(stored)
    }
}

impl Stored for String {
    fn value(stored: Option<Self>) -> Value {
        Value::Text(stored)
    }
}

impl Stored for Vec<u8> {
    fn value(stored: Option<Self>) -> Value {
        Value::Blob(stored)
    }
}

macro_rules! scalars {
    ($($type:ty as $stored:ty, $what:literal: $read:expr, $write:expr;)*) => {$(
        impl Scalar for $type {
            type Stored = $stored;
            const WHAT: &'static str = $what;

            fn from_stored(stored: $stored) -> Option<Self> {
                let read: fn($stored) -> Option<Self> = $read;
                read(stored)
            }

            fn to_stored(&self) -> $stored {
                let write: fn(&Self) -> $stored = $write;
                write(self)
            }
        }
    )*};
}

scalars! {
    i64 as i64, "number": |n| Some(n), |n| *n;
    u64 as i64, "number": |n| Some(n as u64), |n| *n as i64;
    u32 as i64, "number": |n| u32::try_from(n).ok(), |n| i64::from(*n);
    Fingerprint as i64, "fingerprint":
        |n| Some(Fingerprint::from_stored(n as u64)), |f| Fingerprint::to_stored(*f) as i64;
    bool as i64, "flag": |n| Some(n != 0), |b| i64::from(*b);
    Timestamp as i64, "time": |n| Some(Timestamp(n)), |t| t.0;
    ObservationNumber as i64, "number": |n| Some(ObservationNumber(n as u64)), |n| n.0 as i64;
    String as String, "text": |s| Some(s), |s| s.clone();
    Actor as String, "actor": |s| Some(Actor(s)), |a| a.0.clone();
    ScopeState as String, "scope":
        |s| Some(ScopeState::parse(s)), |scope| scope.as_str().to_owned();
    Subject as String, "subject": |s| Some(Subject(s)), |s| s.0.clone();
    Dn as String, "name": |s| Some(Dn::new(s)), |dn| dn.as_str().to_owned();
    DirectoryName as String, "directory name":
        |s| DirectoryName::parse(&s), |name| name.as_str().to_owned();
    Handle as String, "handle": |s| Handle::parse(&s).ok(), |handle| handle.as_str().to_owned();
    NoteText as String, "note": |s| NoteText::parse(&s).ok(), |note| note.as_str().to_owned();
    Domain as String, "domain": |s| Domain::parse(&s).ok(), |domain| domain.as_str().to_owned();
    Guid as Vec<u8>, "guid": |b| b.try_into().ok().map(Guid), |guid| guid.0.to_vec();
    Sid as Vec<u8>, "SID": |b| Sid::from_ad(&b), |sid| sid.as_bytes().to_vec();
    Digest as Vec<u8>, "hash": |b| b.try_into().ok().map(Digest), |digest| digest.0.to_vec();
    [u8; 32] as Vec<u8>, "hash": |b| b.try_into().ok(), |hash| hash.to_vec();
    Uuid as Vec<u8>, "id": |b| Uuid::from_slice(&b).ok(), |id| id.as_bytes().to_vec();
}

macro_rules! ids {
    ($($type:ident),*) => {$(
        impl Scalar for $type {
            type Stored = Vec<u8>;
            const WHAT: &'static str = "id";

            fn from_stored(stored: Vec<u8>) -> Option<Self> {
                Uuid::from_slice(&stored).ok().map(Self)
            }

            fn to_stored(&self) -> Vec<u8> {
                self.0.as_bytes().to_vec()
            }
        }
    )*};
}

ids!(AccountId, ClaimId, EventId, PlanId, RunId, UserId);

/// Stores enums by their words.
macro_rules! word_columns {
    ($($type:ident $what:literal;)*) => {$(
        impl $crate::store::rows::Scalar for $type {
            type Stored = String;
            const WHAT: &'static str = $what;

            fn from_stored(stored: String) -> Option<Self> {
                Self::parse(&stored)
            }

            fn to_stored(&self) -> String {
                self.as_str().to_owned()
            }
        }
    )*};
}

pub(super) use word_columns;

word_columns! {
    AccountKind "account kind";
    ChangeOutcome "outcome of a change";
    ChangeVerb "kind of change";
    ClaimState "claim state";
    ChangeClass "class";
    GraceCause "cause";
    HoldReason "hold";
    PlanState "plan state";
    QuarantineReason "quarantine";
    Reason "reason";
    RunMode "run mode";
    RunState "run state";
    Standing "standing";
    Tier "tier";
    Trigger "trigger";
}

/// The form of a field that is stored as JSON.
pub(super) mod as_json {
    use super::{Columns, DeserializeOwned, Serialize, StoreError, Value};

    pub(in crate::store) fn read<T: DeserializeOwned>(
        columns: &mut Columns<'_>,
    ) -> Result<T, StoreError> {
        columns.json("value")
    }

    pub(in crate::store) fn write(value: &impl Serialize, values: &mut Vec<Value>) {
        values.push(crate::store::value::json(value).into());
    }
}

/// A row, read from left to right.
pub(super) struct Columns<'a> {
    row: &'a AnyRow,
    at: usize,
}

impl<'a> Columns<'a> {
    pub(super) fn of(row: &'a AnyRow) -> Self {
        Self { row, at: 0 }
    }

    fn next<T: sqlx::Type<Any> + sqlx::Decode<'a, Any>>(&mut self) -> Result<T, StoreError> {
        self.at += 1;
        self.row
            .try_get(self.at - 1)
            .map_err(|source| StoreError::Database { what: "read a row", source })
    }

    /// Reads the next value.
    pub(super) fn read<T: Column>(&mut self) -> Result<T, StoreError> {
        T::read(self)
    }

    pub(super) fn int(&mut self) -> Result<i64, StoreError> {
        self.next()
    }

    pub(super) fn maybe_int(&mut self) -> Result<Option<i64>, StoreError> {
        self.next()
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.int().map(Timestamp)
    }

    pub(super) fn maybe_time(&mut self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.maybe_int()?.map(Timestamp))
    }

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        self.next()
    }

    pub(super) fn maybe_text(&mut self) -> Result<Option<String>, StoreError> {
        self.next()
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, StoreError> {
        Uuid::from_slice(&self.next::<Vec<u8>>()?).map_err(|_| StoreError::Corrupt { what: "id" })
    }

    pub(super) fn maybe_uuid(&mut self) -> Result<Option<Uuid>, StoreError> {
        let bytes: Option<Vec<u8>> = self.next()?;
        bytes
            .map(|b| Uuid::from_slice(&b).map_err(|_| StoreError::Corrupt { what: "id" }))
            .transpose()
    }

    pub(super) fn hash(&mut self) -> Result<[u8; 32], StoreError> {
        self.next::<Vec<u8>>()?.try_into().map_err(|_| StoreError::Corrupt { what: "hash" })
    }

    pub(super) fn json<T: DeserializeOwned>(
        &mut self,
        what: &'static str,
    ) -> Result<T, StoreError> {
        serde_json::from_str(&self.text()?).map_err(|_| StoreError::Corrupt { what })
    }

    pub(super) fn word<T>(
        &mut self,
        what: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        parse(&self.text()?).ok_or(StoreError::Corrupt { what })
    }
}
