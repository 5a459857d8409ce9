//! The language of the tree: comments, messages and test names name their subject.
//!
//! The rules are in CONTRIBUTING.md. They have no exceptions.

use std::path::Path;

use crate::files::{rust_files, text_of};

/// The words that no sentence of a comment begins with, because they name no subject.
const EMPTY_SUBJECTS: [&str; 11] = [
    "What",
    "Whatever",
    "Who",
    "Whom",
    "Whoever",
    "Nobody",
    "Somebody",
    "Everybody",
    "Anybody",
    "That",
    "Of",
];
/// The first words that no test name has.
const EMPTY_TEST_SUBJECTS: [&str; 7] =
    ["what", "who", "whom", "whoever", "nobody", "somebody", "everybody"];
/// The phrases that no log message and no error has.
const VAGUE_PHRASES: [&str; 7] =
    ["whoever", "whom", "nobody", "somebody", "is told", "by then", "goes on"];
/// A shorter doc comment only repeats the name of its item.
const SHORTEST_DOC: usize = 3;
/// A longer name does not fit a line of the test report.
const LONGEST_TEST_NAME: usize = 80;
/// The mean of plain technical English.
const LONGEST_MEAN_SENTENCE: f64 = 20.0;

#[derive(Debug, PartialEq)]
enum Token<'a> {
    /// The prefix (`//`, `///` or `//!`) and the text behind it.
    Comment(&'static str, &'a str),
    /// The contents of a string literal, with its escapes.
    Text(&'a str),
    /// An identifier, a number or one other character.
    Code(&'a str),
}

#[derive(Debug)]
struct Located<'a> {
    line: usize,
    token: Token<'a>,
    /// Only white space precedes the token on its line.
    is_first: bool,
}

#[derive(Debug, PartialEq)]
struct Finding {
    line: usize,
    fault: &'static str,
    text: String,
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the length of the raw string at the beginning of `rest`, and of its delimiters.
fn raw_string(rest: &str) -> Option<(usize, usize, usize)> {
    let opening = ["r", "br", "cr"].iter().find(|mark| rest.starts_with(**mark))?.len();
    let hashes = rest[opening..].bytes().take_while(|b| *b == b'#').count();
    let begin = opening + hashes + 1;
    rest[opening + hashes..].starts_with('"').then_some(())?;
    let closing = format!("\"{}", "#".repeat(hashes));
    let length = rest[begin..].find(&closing).map_or(rest.len() - begin, |at| at);
    Some((begin + length + closing.len(), begin, closing.len()))
}

/// Returns the length of the string literal at the beginning of `rest`.
fn string(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return at + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    rest.len()
}

/// Returns the length of the character literal, or of the lone quote of a lifetime.
fn quote(rest: &str) -> usize {
    let mut chars = rest[1..].char_indices();
    match chars.next() {
        Some((_, '\\')) => rest.get(3..).and_then(|r| r.find('\'')).map_or(1, |at| at + 4),
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(1, |(at, _)| at + 2),
        None => 1,
    }
}

fn comment(text: &str) -> Token<'_> {
    for prefix in ["//!", "///"] {
        if text.starts_with(prefix) && !text.starts_with("////") {
            return Token::Comment(prefix, text[3..].trim());
        }
    }
    Token::Comment("//", text[2..].trim())
}

fn lex(source: &str) -> Vec<Located<'_>> {
    let mut found = Vec::new();
    let (mut rest, mut line, mut is_first) = (source, 1, true);
    while let Some(c) = rest.chars().next() {
        let (length, token) = if c.is_whitespace() {
            (c.len_utf8(), None)
        } else if rest.starts_with("//") {
            let length = rest.find('\n').unwrap_or(rest.len());
            (length, Some(comment(&rest[..length])))
        } else if rest.starts_with("/*") {
            let length = rest.find("*/").map_or(rest.len(), |at| at + 2);
            (length, Some(Token::Comment("//", rest[2..length].trim())))
        } else if let Some((length, begin, closing)) = raw_string(rest) {
            let length = length.min(rest.len());
            (length, Some(Token::Text(&rest[begin..length.saturating_sub(closing).max(begin)])))
        } else if c == '"' {
            let length = string(rest);
            (length, Some(Token::Text(&rest[1..(length - 1).max(1)])))
        } else if c == '\'' {
            let length = quote(rest);
            (length, Some(Token::Code(&rest[..length])))
        } else {
            let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let length = word.max(c.len_utf8());
            (length, Some(Token::Code(&rest[..length])))
        };
        if let Some(token) = token {
            found.push(Located { line, token, is_first });
            is_first = false;
        }
        let (taken, left) = rest.split_at(length);
        let breaks = taken.matches('\n').count();
        line += breaks;
        is_first |= breaks > 0;
        rest = left;
    }
    found
}

fn words(text: &str) -> usize {
    text.split_whitespace().filter(|word| word.contains(is_word)).count()
}

/// Returns the sentences of a comment. A sentence ends with a full stop and white space.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split(". ").map(str::trim)
}

fn begins_with(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| !rest.starts_with(is_word))
}

fn contains_phrase(text: &str, phrase: &str) -> bool {
    let text = text.to_lowercase();
    text.match_indices(phrase).any(|(at, _)| {
        !text[..at].ends_with(is_word) && !text[at + phrase.len()..].starts_with(is_word)
    })
}

/// Finds the faults of comments. Adjacent lines of one kind are one comment.
fn comments(tokens: &[Located<'_>], findings: &mut Vec<Finding>) {
    let mut last: Option<(usize, &str)> = None;
    let mut blocks: Vec<(usize, &str, String)> = Vec::new();
    for Located { line, token, is_first } in tokens {
        let Token::Comment(prefix, text) = token else {
            last = None;
            continue;
        };
        match blocks.last_mut() {
            Some(block) if *is_first && last == Some((*line - 1, prefix)) => {
                block.2.push(' ');
                block.2.push_str(text);
            }
            _ => blocks.push((*line, prefix, (*text).to_owned())),
        }
        last = is_first.then_some((*line, *prefix));
    }
    for (line, prefix, text) in blocks {
        for sentence in sentences(&text) {
            if EMPTY_SUBJECTS.iter().any(|word| begins_with(sentence, word)) {
                let (fault, text) = ("sentence without a subject", sentence.to_owned());
                findings.push(Finding { line, fault, text });
            }
        }
        if prefix != "//" && words(&text) < SHORTEST_DOC {
            findings.push(Finding { line, fault: "doc comment without content", text });
        }
    }
}

/// Returns the position of the bracket that opens a log macro or an `#[error]` attribute.
fn message_at(code: &[Option<&str>], at: usize) -> Option<usize> {
    let is_log = |name: &str| {
        matches!(name, "event" | "span")
            || ["trace", "debug", "info", "warn", "error"]
                .iter()
                .any(|level| name.strip_prefix(level).is_some_and(|r| r.is_empty() || r == "_span"))
    };
    match code[at..] {
        [Some(name), Some("!"), Some("(" | "[" | "{"), ..] if is_log(name) => Some(at + 2),
        [Some("#"), Some("["), Some("error"), Some("("), ..] => Some(at + 3),
        _ => None,
    }
}

/// Returns whether a test attribute begins here, such as `#[test]` or `#[tokio::test(…)]`.
fn is_test_at(code: &[Option<&str>], at: usize) -> bool {
    let [Some("#"), Some("["), path @ ..] = &code[at..] else { return false };
    let end = path.iter().position(|c| matches!(c, Some("]" | "(") | None)).unwrap_or(0);
    end > 0 && path[end - 1] == Some("test")
}

/// Finds the faults of messages and test names.
fn code(tokens: &[Located<'_>], findings: &mut Vec<Finding>) {
    let tokens: Vec<&Located<'_>> =
        tokens.iter().filter(|t| !matches!(t.token, Token::Comment(..))).collect();
    let code: Vec<Option<&str>> = tokens
        .iter()
        .map(|t| match t.token {
            Token::Code(text) => Some(text),
            _ => None,
        })
        .collect();
    for at in 0..code.len() {
        if let Some(opening) = message_at(&code, at) {
            let mut depth = 0;
            for (token, code) in tokens.iter().zip(&code).skip(opening) {
                match code {
                    Some("(" | "[" | "{") => depth += 1,
                    Some(")" | "]" | "}") => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
                let Token::Text(text) = token.token else { continue };
                if VAGUE_PHRASES.iter().any(|phrase| contains_phrase(text, phrase)) {
                    let (line, text) = (token.line, text.to_owned());
                    findings.push(Finding { line, fault: "vague message", text });
                }
            }
        }
        if is_test_at(&code, at) {
            let named = (at..code.len().saturating_sub(1)).find(|n| code[*n] == Some("fn"));
            let Some((line, name)) = named.and_then(|n| Some((tokens[n + 1].line, code[n + 1]?)))
            else {
                continue;
            };
            let subject = name.split('_').next().unwrap_or_default();
            if EMPTY_TEST_SUBJECTS.contains(&subject) {
                let fault = "test name without a subject";
                findings.push(Finding { line, fault, text: name.to_owned() });
            }
            if name.len() > LONGEST_TEST_NAME {
                findings.push(Finding { line, fault: "long test name", text: name.to_owned() });
            }
        }
    }
}

fn findings(source: &str) -> Vec<Finding> {
    let tokens = lex(source);
    let mut findings = Vec::new();
    comments(&tokens, &mut findings);
    code(&tokens, &mut findings);
    findings.sort_by_key(|finding| finding.line);
    findings
}

/// Returns the mean number of words in the sentences of paragraphs and list items.
fn mean_sentence(markdown: &str) -> f64 {
    let mut paragraphs = vec![String::new()];
    let mut is_code = false;
    for line in markdown.lines().map(str::trim) {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let item = ["- ", "* "]
            .iter()
            .find_map(|mark| line.strip_prefix(mark))
            .or_else(|| number.strip_prefix(". ").filter(|_| number.len() < line.len()));
        let is_break = line.is_empty() || ["#", "|", "<", "[!"].iter().any(|m| line.starts_with(m));
        if is_fence || is_break || item.is_some() {
            paragraphs.push(item.unwrap_or_default().to_owned());
        } else if !is_code && let Some(paragraph) = paragraphs.last_mut() {
            paragraph.push(' ');
            paragraph.push_str(line);
        }
        if is_code {
            paragraphs.push(String::new());
        }
    }
    let (mut sentences, mut count) = (0_u32, 0_u32);
    for paragraph in paragraphs {
        // Code between backticks is one word.
        let plain: String = paragraph
            .split('`')
            .enumerate()
            .map(|(n, s)| if n % 2 == 1 { "code" } else { s })
            .collect();
        let mut open = false;
        for word in plain.split_whitespace() {
            count += u32::from(word.contains(is_word));
            open = !word.ends_with(['.', '!', '?']);
            sentences += u32::from(!open);
        }
        sentences += u32::from(open);
    }
    f64::from(count) / f64::from(sentences.max(1))
}

#[test]
fn comments_messages_and_test_names_have_a_subject() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for file in ["src", "tests", "benches", "examples"].map(|f| rust_files(&root.join(f))).concat()
    {
        let name = file.strip_prefix(root).unwrap().display().to_string();
        for Finding { line, fault, text } in findings(&text_of(&file)) {
            found.push(format!("{name}:{line}: {fault}: {text}"));
        }
    }
    assert!(found.is_empty(), "{} findings\n{}", found.len(), found.join("\n"));
}

#[test]
fn the_mean_sentence_of_the_readme_has_at_most_20_words() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mean = mean_sentence(&text_of(&root.join("README.md")));
    assert!(mean > 5.0 && mean <= LONGEST_MEAN_SENTENCE, "README.md: {mean:.1} words a sentence");
}

#[test]
fn the_scanner_finds_each_fault_at_its_line() {
    let long = format!("fn {}() {{}}", "a".repeat(81));
    let fits = format!("fn {}() {{}}", "a".repeat(80));
    let faulty = [
        ("// What a run did.", 1),
        ("\n\n//! Who may sign in, and why.", 3),
        ("/// Nobody is left behind here.", 1),
        ("struct S;\n/// Whoever signs in first.\nstruct T;", 2),
        ("let x = 1; // That is one.\n", 1),
        ("/// Of three words.", 1),
        ("/* What a block says. */", 1),
        ("/// Returns the run. What follows\n/// is checked.", 1),
        ("// Reads the entry.\n// Nobody else does.", 1),
        ("/// Its name.", 1),
        ("//! Two words", 1),
        ("/// Two\n/// words", 1),
        ("struct S {\n    /// The.\n    field: u8,\n}", 2),
        ("fn f() {\n    tracing::warn!(id, \"nobody answers {id}\");\n}", 2),
        ("info!(\n    a = g(1),\n    \"the run\n    goes on\"\n);", 3),
        ("#[error(\"{0} is told\")]\nA(u8),", 1),
        ("error!(r#\"it was \"gone\" by then\"#);", 1),
        ("#[test]\nfn what_a_run_does() {}", 2),
        ("#[tokio::test(flavor = \"multi_thread\")]\nasync fn nobody_leaves() {}", 2),
        (&format!("#[test]\n#[ignore = \"slow\"]\n{long}"), 3),
    ];
    for (source, line) in faulty {
        let lines: Vec<usize> = findings(source).iter().map(|f| f.line).collect();
        assert_eq!(lines, [line], "{source}");
    }
    let plain = [
        "// Whose entry the run reads, and what it finds.",
        "// Returns the run, e.g.\n/// of one page, and what follows.",
        "/// Returns the name.",
        "//// What a rule is.",
        "let url = \"https://example.com\"; let s = \"// What a string says.\";",
        "let s = r#\"\n/// What a raw \"string\" says.\n\"#;",
        "let c = '\"'; // A quote is no string.\nlet d = '\\''; let l: &'static str = x;",
        "info!(\"the run continues\"); f(\"nobody\");",
        "assert!(is_so, \"somebody\");",
        "#[error(\"the server is down\")]\nDown,",
        "fn what_a_run_does() {}",
        "#[test]\nfn whatever_happens() {}",
        &format!("#[test]\n{fits}"),
    ];
    for source in plain {
        assert_eq!(findings(source), [], "{source}");
    }
}

#[test]
fn the_mean_sentence_counts_words_of_prose_only() {
    let text = "# A heading of five words\n\nOne two three. Four\nfive.\n\n| a | b |\n\
                \n```\nnot counted at all.\n```\n* one `a b c` two\n3. four! five six\n";
    // The sentences have 3, 2, 3, 1 and 2 words.
    assert!((mean_sentence(text) - 11.0 / 5.0).abs() < 1e-9, "{}", mean_sentence(text));
}
