//! One admitted request: its caller, its rights, and the fields of its form.

use std::sync::Arc;

use maud::{Markup, html};

use super::door::Secret;
use super::state::Console;
use crate::ctl::text::View;

/// An admitted request. Only the guard makes one.
#[derive(Clone, Debug)]
pub struct Visit {
    token: Secret,
    pub view: View,
    /// Name of the caller.
    pub caller: String,
    /// Whether the pages offer changes.
    pub may_change: bool,
}

impl Visit {
    pub(super) fn new(console: &Arc<Console>, token: Secret) -> Self {
        Self {
            token,
            view: console.view(),
            caller: console.caller().to_owned(),
            may_change: console.may_change(),
        }
    }

    /// Returns whether a form belongs to this session.
    pub(super) fn has_token(&self, given: Option<&str>) -> bool {
        given.is_some_and(|given| self.token.is(given))
    }

    /// Returns the field that every posted form needs.
    pub fn token(&self) -> Markup {
        html! { input type="hidden" name="token" value=(self.token.as_str()); }
    }
}

/// A decision about more people than this needs their number, typed.
pub(super) const TYPED_ABOVE: usize = 50;

/// The fields of a form whose token was checked.
#[derive(Clone, Debug, Default)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// Returns the first value of a field.
    pub fn get<'a>(&'a self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// Returns a field without the spaces around it; an absent one is empty.
    pub fn text<'a>(&'a self, name: &str) -> &'a str {
        self.get(name).unwrap_or_default().trim()
    }

    /// Returns whether the number of people was typed, where a decision is about that many.
    pub(super) fn confirms(&self, people: u64) -> bool {
        let typed: String = self.text("number").chars().filter(char::is_ascii_digit).collect();
        people <= TYPED_ABOVE as u64 || typed == people.to_string()
    }

    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}
