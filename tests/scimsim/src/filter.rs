//! Filters (RFC 7644, 3.4.2.2).

use serde_json::{Map, Value};

use crate::path::Path;
use crate::schema::is_case_exact;

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Filter {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Present(Path),
    Compare(Path, String, Value),
    /// The filter holds for one value of the list.
    Any(Path, Box<Self>),
}

#[derive(Clone, PartialEq, Debug)]
enum Token {
    Word(String),
    Value(Value),
    Open,
    Close,
    OpenList,
    CloseList,
}

impl Filter {
    /// Parses a filter; `None` if it is malformed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let tokens = tokens(text)?;
        let mut at = 0;
        let filter = or(&tokens, &mut at)?;
        (at == tokens.len()).then_some(filter)
    }

    pub(crate) fn matches(&self, resource: &Map<String, Value>) -> bool {
        match self {
            Self::And(a, b) => a.matches(resource) && b.matches(resource),
            Self::Or(a, b) => a.matches(resource) || b.matches(resource),
            Self::Not(inner) => !inner.matches(resource),
            Self::Present(path) => path.values(resource).into_iter().any(|value| !value.is_null()),
            Self::Compare(path, operator, wanted) => {
                let is_exact = path.steps.last().is_some_and(|name| is_case_exact(name));
                let mut found = path.values(resource).into_iter();
                if operator == "ne" {
                    return found.all(|value| !compare(value, "eq", wanted, is_exact));
                }
                found.any(|value| compare(value, operator, wanted, is_exact))
            }
            Self::Any(path, inner) => path
                .values(resource)
                .into_iter()
                .filter_map(Value::as_object)
                .any(|item| inner.matches(item)),
        }
    }
}

fn compare(value: &Value, operator: &str, wanted: &Value, is_exact: bool) -> bool {
    // A filter on a list of objects means their values (RFC 7644, 3.4.2.2).
    let value = value.get("value").unwrap_or(value);
    if let (Some(a), Some(b)) = (value.as_str(), wanted.as_str()) {
        let folded = |text: &str| if is_exact { text.to_owned() } else { text.to_lowercase() };
        let (a, b) = (folded(a), folded(b));
        return match operator {
            "eq" => a == b,
            "co" => a.contains(&b),
            "sw" => a.starts_with(&b),
            "ew" => a.ends_with(&b),
            "gt" => a > b,
            "ge" => a >= b,
            "lt" => a < b,
            "le" => a <= b,
            _ => false,
        };
    }
    match (operator, value.as_f64(), wanted.as_f64()) {
        ("gt", Some(a), Some(b)) => a > b,
        ("ge", Some(a), Some(b)) => a >= b,
        ("lt", Some(a), Some(b)) => a < b,
        ("le", Some(a), Some(b)) => a <= b,
        ("eq", ..) => value == wanted,
        _ => false,
    }
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' | '[' | ']' => {
                tokens.push(match first {
                    '(' => Token::Open,
                    ')' => Token::Close,
                    '[' => Token::OpenList,
                    _ => Token::CloseList,
                });
                1
            }
            '"' => {
                let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
                tokens.push(Token::Value(values.next()?.ok()?));
                values.byte_offset()
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "()[]\"".contains(c));
                let word = &rest[..end.unwrap_or(rest.len())];
                tokens.push(match serde_json::from_str::<Value>(word) {
                    Ok(value) => Token::Value(value),
                    Err(_) => Token::Word(word.to_owned()),
                });
                word.len()
            }
        };
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

fn is_word(token: Option<&Token>, word: &str) -> bool {
    matches!(token, Some(Token::Word(text)) if text.eq_ignore_ascii_case(word))
}

fn or(tokens: &[Token], at: &mut usize) -> Option<Filter> {
    let mut left = and(tokens, at)?;
    while is_word(tokens.get(*at), "or") {
        *at += 1;
        left = Filter::Or(Box::new(left), Box::new(and(tokens, at)?));
    }
    Some(left)
}

fn and(tokens: &[Token], at: &mut usize) -> Option<Filter> {
    let mut left = term(tokens, at)?;
    while is_word(tokens.get(*at), "and") {
        *at += 1;
        left = Filter::And(Box::new(left), Box::new(term(tokens, at)?));
    }
    Some(left)
}

fn term(tokens: &[Token], at: &mut usize) -> Option<Filter> {
    if is_word(tokens.get(*at), "not") && tokens.get(*at + 1) == Some(&Token::Open) {
        *at += 1;
        return Some(Filter::Not(Box::new(term(tokens, at)?)));
    }
    if tokens.get(*at) == Some(&Token::Open) {
        *at += 1;
        let inner = or(tokens, at)?;
        return expect(tokens, at, &Token::Close).then_some(inner);
    }
    let Some(Token::Word(name)) = tokens.get(*at) else { return None };
    let path = Path::parse(name);
    *at += 1;
    if tokens.get(*at) == Some(&Token::OpenList) {
        *at += 1;
        let inner = or(tokens, at)?;
        return expect(tokens, at, &Token::CloseList).then(|| Filter::Any(path, Box::new(inner)));
    }
    if is_word(tokens.get(*at), "pr") {
        *at += 1;
        return Some(Filter::Present(path));
    }
    let (Some(Token::Word(operator)), Some(Token::Value(value))) =
        (tokens.get(*at), tokens.get(*at + 1))
    else {
        return None;
    };
    let operator = operator.to_ascii_lowercase();
    let known = ["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"];
    *at += 2;
    known.contains(&operator.as_str()).then(|| Filter::Compare(path, operator, value.clone()))
}

fn expect(tokens: &[Token], at: &mut usize, wanted: &Token) -> bool {
    let is_it = tokens.get(*at) == Some(wanted);
    *at += 1;
    is_it
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_matches_by_operator_logic_and_value_path() {
        let user = json!({
            "userName": "Anna@Example.com", "active": true, "externalId": "U1",
            "name": { "familyName": "Müller" },
            "emails": [{ "value": "a@x.org", "type": "work" }, { "value": "b@y.org", "type": "home" }],
        });
        for (text, is_match) in [
            ("userName eq \"anna@example.com\"", true),
            ("externalId eq \"u1\"", false),
            ("name.familyName sw \"mü\"", true),
            ("emails eq \"b@y.org\"", true),
            ("emails[type eq \"work\" and value co \"@y\"]", false),
            ("emails[type eq \"home\" and value co \"@y\"]", true),
            ("active eq true and not (title pr)", true),
            ("title pr or userName ne \"x\"", true),
            ("urn:ietf:params:scim:schemas:core:2.0:User:userName ew \".COM\"", true),
        ] {
            let filter = Filter::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(filter.matches(user.as_object().unwrap()), is_match, "{text}");
        }
        for bad in ["userName", "userName eq", "userName xx \"a\"", "(userName pr", "", "and"] {
            assert_eq!(Filter::parse(bad), None, "{bad}");
        }
    }
}
