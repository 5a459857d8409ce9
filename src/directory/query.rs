//! A search request, and the result that ends it (RFC 4511, 4.5).

use ldap3::Scope;

use super::controls::SearchMode;

/// The SearchResultDone of a search.
#[derive(Debug)]
pub(super) struct SearchEnd {
    pub code: u32,
    pub text: String,
    /// The cookie of the paging or DirSync control, if the response has one.
    pub cookie: Option<Vec<u8>>,
    /// More results are available for this cookie.
    pub has_more: bool,
}

/// The parameters of a search request.
#[derive(Debug, Clone)]
pub(super) struct Query<'a> {
    pub base: &'a str,
    pub scope: Scope,
    pub filter: &'a str,
    pub attributes: &'a [String],
    pub mode: SearchMode<'a>,
    pub show_deleted: bool,
    /// Most entries to return; 0 for no limit.
    pub size_limit: i32,
}

impl<'a> Query<'a> {
    pub(super) fn new(
        base: &'a str,
        scope: Scope,
        filter: &'a str,
        attributes: &'a [String],
    ) -> Self {
        Self {
            base,
            scope,
            filter,
            attributes,
            mode: SearchMode::Plain,
            show_deleted: false,
            size_limit: 0,
        }
    }
}
