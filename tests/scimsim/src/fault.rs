//! Faults of single answers, and dishonest manners of the whole service.

use std::time::Duration;

/// The way in which lists have pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Paging {
    #[default]
    Index,
    /// Only cursors (RFC 9865).
    Cursor,
    /// Every page is the first one.
    Ignored,
    /// `startIndex` counts from 0.
    FromZero,
    /// Each page begins with the last account of the one before.
    Overlapping,
    /// A cursor expires at once.
    ExpiringCursor,
    /// Each cursor is the one before.
    StuckCursor,
    /// The first page alone, which counts itself.
    OnePage,
}

impl Paging {
    pub(crate) fn is_cursor(self) -> bool {
        matches!(self, Self::Cursor | Self::ExpiringCursor | Self::StuckCursor)
    }
}

/// The manners of the service. The default is honest.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is one dishonesty")]
pub struct Manners {
    pub paging: Paging,
    /// Most accounts of a page.
    pub page: usize,
    /// `totalResults` is one too many.
    pub counts_more: bool,
    /// A filter gives all accounts.
    pub filter_matches_all: bool,
    /// A filter gives all accounts if it gives one.
    pub filter_matches_more: bool,
    /// A filter gives no account.
    pub filter_matches_none: bool,
    /// Filters compare names with their case.
    pub filter_is_case_sensitive: bool,
    /// Filters are answered with 400.
    pub no_filter: bool,
    /// PATCH is answered with 501.
    pub no_patch: bool,
    /// PATCH and PUT keep `active`, and answer with success.
    pub ignores_active: bool,
    /// No account shows `active`.
    pub hides_active: bool,
    /// PATCH is answered with 204 and no body.
    pub patch_has_no_body: bool,
    /// POST is answered with 201 and no body.
    pub create_has_no_body: bool,
    /// Two accounts may have one name.
    pub no_uniqueness: bool,
    /// The names of lists are in lower case, and numbers are text.
    pub loose_lists: bool,
    /// `ServiceProviderConfig` and `Schemas` are 404.
    pub no_discovery: bool,
    /// A PATCH with more than one operation is answered with 400.
    pub one_operation: bool,
    /// Names and addresses become lower-case, and unknown types of values are dropped.
    pub normalises: bool,
    /// A DELETE only deactivates the user.
    pub delete_deactivates: bool,
    /// The location of each resource: `{id}` and `{name}` are replaced. Empty for the right one.
    pub location: &'static str,
    /// A PATCH keeps the values of attributes that it removes.
    pub keeps_removed: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            paging: Paging::Index,
            page: 1000,
            counts_more: false,
            filter_matches_all: false,
            filter_matches_more: false,
            filter_matches_none: false,
            filter_is_case_sensitive: false,
            no_filter: false,
            no_patch: false,
            ignores_active: false,
            hides_active: false,
            patch_has_no_body: false,
            create_has_no_body: false,
            no_uniqueness: false,
            loose_lists: false,
            no_discovery: false,
            one_operation: false,
            normalises: false,
            delete_deactivates: false,
            location: "",
            keeps_removed: false,
        }
    }
}

/// The effect of a fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// The connection breaks inside the answer, before or after the request had its effect.
    Cut {
        after: bool,
    },
    /// The answer comes late.
    Wait(Duration),
    /// The answer never comes, before or after the request had its effect.
    Hang {
        after: bool,
    },
    /// Another client deletes a user before the request has its effect.
    Delete(String),
    /// The answer has no end.
    Endless,
    /// The answer comes one byte a second.
    Drip,
}

/// A fault of requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Empty for any method.
    pub(crate) method: String,
    /// A part of path and query; empty for any.
    pub(crate) path: String,
    pub(crate) what: What,
    /// Requests that match and are answered well before.
    pub(crate) skip: u32,
    pub(crate) times: u32,
}

impl Fault {
    fn new(method: &str, what: What) -> Self {
        Self { method: method.to_owned(), path: String::new(), what, skip: 0, times: u32::MAX }
    }

    /// Answers with a status and a SCIM error.
    pub fn status(method: &str, status: u16) -> Self {
        let body = format!(
            r#"{{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"{status}","detail":"as configured"}}"#
        );
        Self::answer(method, status, &[], &body)
    }

    /// Answers with these headers and this body.
    pub fn answer(method: &str, status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self::new(method, What::Answer { status, headers, body: body.to_owned() })
    }

    /// Answers with a login page.
    pub fn login_page(method: &str, status: u16) -> Self {
        let html = [("content-type", "text/html")];
        Self::answer(method, status, &html, "<html><body>Please sign in</body></html>")
    }

    /// Breaks the connection before the request has an effect.
    pub fn cut_before(method: &str) -> Self {
        Self::new(method, What::Cut { after: false })
    }

    /// Breaks the connection after the request had its effect.
    pub fn cut_after(method: &str) -> Self {
        Self::new(method, What::Cut { after: true })
    }

    pub fn wait(method: &str, time: Duration) -> Self {
        Self::new(method, What::Wait(time))
    }

    /// Never answers, before or after the request had its effect.
    pub fn hang(method: &str, after: bool) -> Self {
        Self::new(method, What::Hang { after })
    }

    /// Deletes a user before the request has its effect, as another client would.
    pub fn delete(method: &str, id: &str) -> Self {
        Self::new(method, What::Delete(id.to_owned()))
    }

    pub fn endless(method: &str) -> Self {
        Self::new(method, What::Endless)
    }

    pub fn drip(method: &str) -> Self {
        Self::new(method, What::Drip)
    }

    /// Restricts the fault to paths or queries with this part.
    #[must_use]
    pub fn at(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    #[must_use]
    pub fn after(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }
}
