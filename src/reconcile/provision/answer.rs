//! The answers of a target, and the one meaning of each.

use std::time::Duration;

use super::capabilities::Lesson;
use super::request::{Operation, Request};
use super::resource::{Resource, text_of};

/// An answer to a request.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: AnswerBody,
    /// The wait that `Retry-After` asks for.
    pub retry_after: Option<Duration>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum AnswerBody {
    Empty,
    /// A JSON object, whatever the content type says.
    Object(Resource),
    /// A redirect to this place, which was not followed.
    Redirect(String),
    /// No JSON object, such as a login page.
    Other,
}

/// The meaning of an answer.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// The request succeeded, and the target showed this.
    Done(Resource),
    /// The request was accepted, and a read has to show its effect.
    Unverified,
    /// The account is gone: 404 of a SCIM service. A read has to confirm it.
    NotFound,
    /// The target refuses the request, and accepts others.
    Refused(Refusal),
    /// The target refuses rosterd.
    Unauthorized(Refusal),
    /// An account of the name exists.
    Conflict(Refusal),
    /// A capability is not supported.
    Learned(Lesson),
    /// The account changed meanwhile: read it again, once.
    Stale,
    /// The request is too large.
    TooLarge,
    /// The cursor is not valid any more.
    CursorExpired,
    /// The request is repeated later.
    Retry {
        refusal: Refusal,
        after: Option<Duration>,
        /// The target would refuse every other request, too.
        is_down: bool,
    },
    /// The address is not one of SCIM, or a proxy answered.
    NotScim(Refusal),
}

/// The words of a target about a refusal, without control characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub status: u16,
    pub scim_type: Option<String>,
    pub detail: Option<String>,
}

/// Most characters of a detail, which is stored and shown.
const MAX_DETAIL: usize = 1000;

impl Refusal {
    fn of(answer: &Answer) -> Self {
        let text = |name: &str| match &answer.body {
            AnswerBody::Object(body) => body.get(name).and_then(text_of),
            AnswerBody::Empty | AnswerBody::Redirect(_) | AnswerBody::Other => None,
        };
        let redirect = match &answer.body {
            AnswerBody::Redirect(to) => Some(format!("a redirect to {to}")),
            _ => None,
        };
        let clean = |text: String| -> String {
            text.chars().filter(|c| !c.is_control()).take(MAX_DETAIL).collect()
        };
        Self {
            status: answer.status,
            scim_type: text("scimType").map(clean),
            detail: redirect.or_else(|| text("detail")).or_else(|| text("message")).map(clean),
        }
    }

    /// Returns the refusal of a write to an account that a read shows.
    pub fn not_found() -> Self {
        let detail = "the target shows the account, and finds none to write to".to_owned();
        Self { status: 404, scim_type: None, detail: Some(detail) }
    }

    fn is(&self, scim_type: &str) -> bool {
        self.scim_type.as_deref().is_some_and(|its| its.eq_ignore_ascii_case(scim_type))
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it answered {}", self.status)?;
        if let Some(kind) = &self.scim_type {
            write!(f, " {kind}")?;
        }
        self.detail.as_ref().map_or(Ok(()), |detail| write!(f, ": {detail}"))
    }
}

/// Returns the meaning of an answer.
#[expect(clippy::match_same_arms, reason = "one line for each answer, in the order of its status")]
pub fn meaning(request: &Request, answer: &Answer) -> Outcome {
    let refusal = Refusal::of(answer);
    let is_scim = matches!(&answer.body, AnswerBody::Object(body) if body.is_scim());
    let operation = request.operation;
    let is_list = matches!(operation, Operation::List | Operation::Search);
    match answer.status {
        202 => Outcome::Unverified,
        200..=299 => success(operation, answer, refusal),
        // Only a proxy sends 407.
        300..=399 | 407 => Outcome::NotScim(refusal),
        401 => Outcome::Unauthorized(refusal),
        400 if operation == Operation::List
            && (refusal.is("expiredCursor") || refusal.is("invalidCursor")) =>
        {
            Outcome::CursorExpired
        }
        400 | 403 | 404 | 405 | 501 if operation == Operation::Search => {
            Outcome::Learned(Lesson::NoFilter)
        }
        403 if operation == Operation::List => Outcome::Unauthorized(refusal),
        400 if operation == Operation::Create && refusal.is("uniqueness") => {
            Outcome::Conflict(refusal)
        }
        405 | 501 if operation == Operation::Modify => Outcome::Learned(Lesson::NoPatch),
        // GET has no content type, so that only its Accept can be meant.
        406 | 415 => Outcome::Learned(Lesson::PlainJson),
        404 | 410 if is_scim && !is_list && operation != Operation::Describe => Outcome::NotFound,
        404 | 410 => Outcome::NotScim(refusal),
        409 => Outcome::Conflict(refusal),
        412 => Outcome::Stale,
        413 => Outcome::TooLarge,
        429 | 502..=504 => Outcome::Retry { refusal, after: answer.retry_after, is_down: true },
        408 | 425 | 500 | 505..=599 => {
            Outcome::Retry { refusal, after: answer.retry_after, is_down: false }
        }
        _ => Outcome::Refused(refusal),
    }
}

fn success(operation: Operation, answer: &Answer, refusal: Refusal) -> Outcome {
    match (operation, &answer.body) {
        (Operation::Delete, AnswerBody::Empty | AnswerBody::Object(_))
        | (Operation::Modify | Operation::Replace, AnswerBody::Empty) => Outcome::Unverified,
        // Without an id nothing was created.
        (operation, AnswerBody::Object(body))
            if body.id().is_some() || !matches!(operation, Operation::Create | Operation::Read) =>
        {
            Outcome::Done(body.clone())
        }
        _ => Outcome::NotScim(refusal),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ERROR: &str =
        r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"404","#;

    #[test]
    fn every_quirk_of_an_answer_has_one_meaning() {
        use Operation::{Create, Delete, Describe, List, Modify, Read, Replace, Search};
        let user = r#"{"id":"7","userName":"a"}"#;
        let scim = |kind: &str| format!("{ERROR}\"scimType\":\"{kind}\"}}");
        let list = r#"{"totalResults":0}"#;
        let page = "<html>sign in</html>";
        let table: Vec<(Operation, u16, &str, &str)> = vec![
            (Create, 201, user, "Done"),
            (Create, 201, r#"{"userName":"a"}"#, "NotScim"),
            (Create, 201, "", "NotScim"),
            (Create, 200, page, "NotScim"),
            (Create, 202, "", "Unverified"),
            (Create, 409, "", "Conflict"),
            (Create, 400, "uniqueness", "Conflict"),
            (Create, 400, "invalidValue", "Refused"),
            (Create, 403, "", "Refused"),
            (Create, 402, "", "Refused"),
            (Create, 422, "", "Refused"),
            (Create, 401, "", "Unauthorized"),
            (Create, 407, "", "NotScim"),
            (Create, 415, "", "Learned(PlainJson)"),
            (Create, 302, page, "NotScim"),
            (Create, 429, "", "Retry down"),
            (Create, 500, "", "Retry"),
            (Modify, 200, user, "Done"),
            (Modify, 204, "", "Unverified"),
            (Modify, 200, "", "Unverified"),
            (Modify, 200, page, "NotScim"),
            (Modify, 405, "", "Learned(NoPatch)"),
            (Modify, 501, "", "Learned(NoPatch)"),
            (Modify, 404, "notFound", "NotFound"),
            (Modify, 404, page, "NotScim"),
            (Modify, 404, "", "NotScim"),
            (Modify, 412, "", "Stale"),
            (Modify, 413, "", "TooLarge"),
            (Modify, 503, page, "Retry down"),
            (Replace, 405, "", "Refused"),
            (Replace, 204, "", "Unverified"),
            (Read, 200, user, "Done"),
            (Read, 200, page, "NotScim"),
            (Read, 404, "notFound", "NotFound"),
            (Read, 410, "notFound", "NotFound"),
            (Read, 404, page, "NotScim"),
            (Read, 408, "", "Retry"),
            (List, 200, list, "Done"),
            (List, 403, "", "Unauthorized"),
            (Describe, 403, "", "Refused"),
            (List, 404, "notFound", "NotScim"),
            (List, 400, "expiredCursor", "CursorExpired"),
            (List, 400, "invalidCursor", "CursorExpired"),
            (List, 400, "tooMany", "Refused"),
            (List, 502, page, "Retry down"),
            (Search, 200, list, "Done"),
            (Search, 400, "invalidFilter", "Learned(NoFilter)"),
            (Search, 403, "", "Learned(NoFilter)"),
            (Search, 404, "", "Learned(NoFilter)"),
            (Search, 501, "", "Learned(NoFilter)"),
            (Search, 429, "", "Retry down"),
            (Describe, 404, page, "NotScim"),
            (Describe, 406, "", "Learned(PlainJson)"),
            (Delete, 204, "", "Unverified"),
            (Delete, 200, page, "NotScim"),
            (Delete, 404, "notFound", "NotFound"),
        ];
        for (operation, status, body, meant) in table {
            let body = match body {
                "" => AnswerBody::Empty,
                text if text.starts_with(['<', '{']) => {
                    Resource::parse(text.as_bytes()).map_or(AnswerBody::Other, AnswerBody::Object)
                }
                kind => AnswerBody::Object(Resource::parse(scim(kind).as_bytes()).unwrap()),
            };
            let request = Request { operation, ..Request::describe("Users") };
            let outcome = meaning(&request, &Answer { status, body, retry_after: None });
            let found = match &outcome {
                Outcome::Retry { is_down, .. } => {
                    if *is_down {
                        "Retry down".to_owned()
                    } else {
                        "Retry".to_owned()
                    }
                }
                Outcome::Learned(lesson) => format!("Learned({lesson:?})"),
                other => format!("{other:?}").split('(').next().unwrap().to_owned(),
            };
            assert_eq!(found, meant, "{operation} {status}");
        }
    }

    #[test]
    fn a_refusal_has_the_words_of_the_target_without_control_characters() {
        let body = json!({ "scimType": "invalidValue", "detail": format!("bad \u{1b}[31mphone{}", "x".repeat(9000)) });
        let answer = Answer {
            status: 400,
            body: AnswerBody::Object(Resource(body.as_object().unwrap().clone())),
            retry_after: None,
        };
        let refusal = Refusal::of(&answer).to_string();
        assert!(refusal.starts_with("it answered 400 invalidValue: bad [31mphonexx"), "{refusal}");
        assert!(refusal.chars().count() < MAX_DETAIL + 50);
    }
}
