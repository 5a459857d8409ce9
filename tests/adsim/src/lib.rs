//! An in-process Active Directory.
