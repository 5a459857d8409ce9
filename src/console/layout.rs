//! The frame of all pages, their small parts, and the pages of refused requests.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::visit::Visit;
use crate::ctl::link::Failure;
use crate::ctl::text::{self, View, parts, time, time_and_age};

/// The end of the session. It changes nothing at the daemon.
pub const LEAVE: &str = "/leave";

const STYLE: &str = include_str!("assets/console.css");
const SCRIPT: &str = include_str!("assets/console.js");
const ICON: &str = include_str!("assets/icon.svg");

/// The pages of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Overview,
    Held,
    People,
    Problems,
    Runs,
    Systems,
    Events,
    Reports,
}

const PLACES: [(Place, &str, &str); 8] = [
    (Place::Overview, "/", "Overview"),
    (Place::Held, "/held", "Waiting"),
    (Place::People, "/people", "People"),
    (Place::Problems, "/problems", "Problems"),
    (Place::Runs, "/runs", "Runs"),
    (Place::Systems, "/systems", "Connected systems"),
    (Place::Events, "/events", "Events"),
    (Place::Reports, "/reports", "Reports"),
];

fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · rosterd" }
                link rel="icon" href="/assets/icon.svg";
                link rel="stylesheet" href="/assets/console.css";
                script src="/assets/console.js" defer {}
            }
            body { (body) }
        }
    }
}

/// Returns a page of the console.
pub fn page(visit: &Visit, place: Place, title: &str, body: &Markup) -> Markup {
    document(
        title,
        &html! {
            a.skip href="#main" { "To the content" }
            header.top {
                a.brand href="/" { "rosterd" }
                nav aria-label="Pages" {
                    @for (of, path, name) in PLACES {
                        a href=(path) aria-current=[(of == place).then_some("page")] { (name) }
                    }
                }
                div.me {
                    span { (visit.caller) @if !visit.may_change { " · " em { "looking only" } } }
                    form method="post" action=(LEAVE) { (visit.token()) button.quiet { "End" } }
                }
            }
            main #main {
                h1 { (title) }
                (body)
            }
        },
    )
}

/// Returns a page without navigation, for requests without a session.
pub fn bare(title: &str, body: &Markup) -> Markup {
    document(title, &html! { main.bare #main { h1 { (title) } (body) } })
}

/// A request that gets no page.
#[derive(Debug)]
pub struct Fault {
    status: StatusCode,
    sentence: String,
}

/// A page, or the reason why there is none.
pub type Shown = Result<Markup, Fault>;

impl Fault {
    pub fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into() }
    }

    pub fn internal(error: &impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}."))
    }

    pub fn sentence(&self) -> &str {
        &self.sentence
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        let status = StatusCode::from_u16(failure.problem().status);
        Self::new(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), failure.sentence())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let Self { status, sentence } = self;
        let title = match status {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::UNAUTHORIZED => "No session",
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => "rosterd does not answer",
            _ => "That did not work",
        };
        let body =
            html! { p { (self::sentence(&sentence)) } p { a href="/" { "To the overview" } } };
        (status, bare(title, &body)).into_response()
    }
}

/// Returns a file of the pages. They are compiled in.
pub async fn asset(Path(name): Path<String>) -> Result<Response, Fault> {
    let (kind, text) = match name.as_str() {
        "console.css" => ("text/css; charset=utf-8", STYLE),
        "console.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return Err(Fault::new(StatusCode::NOT_FOUND, "There is no such file.")),
    };
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// Returns a CSV file for download.
pub fn download(name: &str, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    (headers, text).into_response()
}

/// Returns a text of `ctl` with its colours as classes.
pub fn marked(text: &str) -> Markup {
    html! {
        @for (colour, part) in parts(text) {
            @match colour {
                Some(colour) => span class=(colour) { (part) },
                None => (part),
            }
        }
    }
}

/// Returns a sentence with its commands in a fixed-width font.
pub fn sentence(text: &str) -> Markup {
    const COMMAND: &str = "rosterctl ";
    let mut rest = text;
    let mut shown = String::new();
    while let Some(at) = rest.find(COMMAND) {
        let (before, from) = rest.split_at(at);
        let end = from.find([';', ',', ')', ':', '\n']).unwrap_or(from.len());
        let (command, after) = from.split_at(end);
        shown.push_str(&html! { (before) code { (command) } }.into_string());
        rest = after;
    }
    html! { (PreEscaped(shown)) (rest) }
}

/// Returns a time with its age.
pub fn when(at: &str, view: &View) -> Markup {
    html! { time datetime=(at) { (time_and_age(at, view)) } }
}

/// Returns a time without its age.
pub fn instant(at: &str, view: &View) -> Markup {
    html! { time datetime=(at) { (time(at, view)) } }
}

/// The urgency of a badge or a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Bad,
    Waits,
    Plain,
}

impl Tone {
    pub fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Waits => "waits",
            Self::Plain => "plain",
        }
    }
}

pub fn badge(tone: Tone, text: impl std::fmt::Display) -> Markup {
    html! { span class={ "badge " (tone.class()) } { (text.to_string()) } }
}

/// Returns a notice above the content.
pub fn notice(tone: Tone, body: &Markup) -> Markup {
    let role = if tone == Tone::Bad { "alert" } else { "status" };
    html! { div class={ "notice " (tone.class()) } role=(role) { (body) } }
}

/// Returns names and values; empty values are left out.
pub fn facts(facts: &[(&str, Markup)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in facts.iter().filter(|(_, value)| !value.0.is_empty()) {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}

pub fn number(n: u64) -> String {
    text::number(n)
}

pub fn count(n: u64, noun: &str) -> String {
    text::count(n, noun)
}

/// Returns a number of people.
pub fn people(n: u64) -> String {
    if n == 1 { "1 person".to_owned() } else { format!("{} people", number(n)) }
}

/// Returns an option of a select.
pub fn choice(value: &str, label: &str, chosen: &str) -> Markup {
    html! { option value=(value) selected[value == chosen] { (label) } }
}

/// Returns the path with these parameters; empty ones are left out.
pub fn link(path: &str, parameters: &[(&str, &str)]) -> String {
    let given = parameters.iter().filter(|(_, value)| !value.is_empty());
    match reqwest::Url::parse_with_params("http://console/", given) {
        Ok(url) => match url.query() {
            Some(query) if !query.is_empty() => format!("{path}?{query}"),
            _ => path.to_owned(),
        },
        Err(_) => path.to_owned(),
    }
}

/// Returns a path segment with all special characters escaped.
pub fn segment(text: &str) -> String {
    let Ok(mut url) = reqwest::Url::parse("http://console/") else { return String::new() };
    if let Ok(mut path) = url.path_segments_mut() {
        path.push(text);
    }
    url.path().trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_escaped_and_keeps_its_colours_and_commands() {
        let red = text::red("<b>");
        assert_eq!(marked(&format!("a {red} c")).0, r#"a <span class="red">&lt;b&gt;</span> c"#);
        assert_eq!(
            sentence("2 <wait>: rosterctl held show 1; or rosterctl sync").0,
            "2 &lt;wait&gt;: <code>rosterctl held show 1</code>; or <code>rosterctl sync</code>"
        );
        assert_eq!(link("/people", &[("q", "a&b"), ("status", "")]), "/people?q=a%26b");
        assert_eq!(segment("a/b?c"), "a%2Fb%3Fc");
    }
}
