//! Imports between the files of the crate.
//!
//! The reader follows each path that begins with `crate`, `self`, `super`, a child module or an
//! imported name, in `use` declarations and in code. A name that a `mod.rs` re-exports counts as
//! the file that defines it.
//!
//! The reader does not see method calls on an `impl` block of another file, names made by macros,
//! modules inside of a file, and code under `#[cfg(test)]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::files::{rust_files, text_of};

/// A path of module names from the root of the crate.
type ModulePath = Vec<String>;

/// One file of the crate.
#[derive(Debug, Default)]
struct Module {
    file: PathBuf,
    children: BTreeSet<String>,
    definitions: BTreeSet<String>,
    /// Imported names, with the path that each stands for.
    bindings: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    /// Every path that the file names.
    paths: BTreeSet<Vec<String>>,
}

/// All files of a crate, by module path.
#[derive(Debug, Default)]
pub(super) struct Crate(BTreeMap<ModulePath, Module>);

/// An import of one file from another; files are named by their module path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Import {
    pub(super) from: String,
    pub(super) to: String,
    /// The imported path as it is written.
    pub(super) path: String,
}

impl Crate {
    /// Reads all sources below a folder, except test modules and binaries.
    pub(super) fn read(root: &Path) -> Self {
        let mut modules = Self::default();
        for path in rust_files(root) {
            let file = path.strip_prefix(root).unwrap().to_owned();
            let is_test = file.iter().any(|part| part == "tests" || part == "tests.rs");
            if is_test || file.starts_with("bin") || file == Path::new("main.rs") {
                continue;
            }
            let code = without_tests(&tokens(&text_of(&path)));
            modules.0.insert(module_path(&file), Module::parse(file, &code));
        }
        let paths: Vec<ModulePath> = modules.0.keys().cloned().collect();
        for path in paths {
            if let Some((name, parent)) = path.split_last()
                && let Some(parent) = modules.0.get_mut(parent)
            {
                parent.children.insert(name.clone());
            }
        }
        modules
    }

    /// Returns the imports between files, without those from and to a `mod.rs`.
    ///
    /// A `mod.rs` declares its children, and a child names the type of its folder by `super`. Each
    /// such pair would be a circle, although it is one unit in Rust. Circles between the children
    /// are found. A name that the `mod.rs` re-exports counts as the file that defines it.
    pub(super) fn imports(&self) -> BTreeSet<Import> {
        let is_file = |path: &ModulePath| {
            let file = &self.0[path].file;
            !file.ends_with("mod.rs") && !file.ends_with("lib.rs")
        };
        let mut imports = BTreeSet::new();
        for (from, module) in self.0.iter().filter(|(from, _)| is_file(from)) {
            for path in &module.paths {
                let to = self.resolve(from, path, 0);
                if let Some(to) = to.filter(|to| to != from && is_file(to)) {
                    imports.insert(Import {
                        from: from.join("/"),
                        to: to.join("/"),
                        path: path.join("::"),
                    });
                }
            }
        }
        imports
    }

    /// Returns the module that defines the item of a path, or the last module on the way to it.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<ModulePath> {
        // Two re-exports may name each other.
        if depth > 16 {
            return None;
        }
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => ModulePath::new(),
            "self" => from.to_vec(),
            "super" => from.split_last()?.1.to_vec(),
            name => {
                let module = &self.0[from];
                if module.children.contains(name) {
                    child(from, name)
                } else {
                    let bound = module.bindings.get(name).filter(|bound| *bound != path)?;
                    let whole: Vec<String> = bound.iter().chain(rest).cloned().collect();
                    return self.resolve(from, &whole, depth + 1);
                }
            }
        };
        while let Some((name, more)) = rest.split_first() {
            let module = self.0.get(&at)?;
            if name == "super" {
                at.pop();
            } else if module.children.contains(name) {
                at.push(name.clone());
            } else if module.definitions.contains(name) {
                return Some(at);
            } else if let Some(bound) = module.bindings.get(name) {
                let whole: Vec<String> = bound.iter().chain(more).cloned().collect();
                return self.resolve(&at, &whole, depth + 1);
            } else {
                let globbed = module.globs.iter().find_map(|glob| {
                    let place = self.resolve(&at, glob, depth + 1)?;
                    let is_there = self.0.get(&place)?.definitions.contains(name);
                    is_there.then_some(place)
                });
                return globbed.or(Some(at));
            }
            rest = more;
        }
        Some(at)
    }
}

/// Returns the groups of files that import each other, directly or by way of others.
pub(super) fn circles<'a>(imports: &'a BTreeSet<Import>) -> BTreeSet<BTreeSet<&'a str>> {
    let mut next: BTreeMap<&'a str, BTreeSet<&'a str>> = BTreeMap::new();
    for Import { from, to, .. } in imports {
        next.entry(from).or_default().insert(to);
    }
    let around = |from: &&'a str| -> BTreeSet<&'a str> {
        reach(&next, from).into_iter().filter(|to| reach(&next, to).contains(from)).collect()
    };
    next.keys().map(around).filter(|circle| !circle.is_empty()).collect()
}

/// Returns the files that a file imports, directly or by way of others.
fn reach<'a>(next: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &'a str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        open.extend(next.get(at).into_iter().flatten().filter(|to| seen.insert(**to)));
    }
    seen
}

impl Module {
    fn parse(file: PathBuf, code: &[String]) -> Self {
        let mut module = Self { file, ..Self::default() };
        let mut at = 0;
        while at < code.len() {
            let token = code[at].as_str();
            let name = code.get(at + 1);
            match token {
                "use" => at = module.import(code, at + 1, &[]),
                "struct" | "enum" | "trait" | "fn" | "type" | "const" | "static" | "union"
                | "macro_rules" => {
                    let skipped = usize::from(token == "macro_rules");
                    module.definitions.extend(code.get(at + 1 + skipped).cloned());
                    // The name of a constant function follows its `fn`.
                    at += if name.is_some_and(|name| name == "fn") { 1 } else { 2 };
                }
                _ if is_name(token) && name.is_some_and(|name| name == "::") => {
                    let mut path = vec![token.to_owned()];
                    while code.get(at + 1).is_some_and(|token| token == "::")
                        && code.get(at + 2).is_some_and(|token| is_name(token))
                    {
                        path.push(code[at + 2].clone());
                        at += 2;
                    }
                    module.paths.insert(path);
                    at += 1;
                }
                _ => at += 1,
            }
        }
        module
    }

    /// Reads one `use` tree that begins at a token; returns the token behind it.
    fn import(&mut self, code: &[String], mut at: usize, prefix: &[String]) -> usize {
        let mut path = prefix.to_vec();
        while let Some(token) = code.get(at) {
            at += 1;
            match token.as_str() {
                "::" => continue,
                "*" => {
                    self.globs.push(path.clone());
                    self.paths.insert(path.clone());
                    return at;
                }
                "{" => {
                    while code.get(at).is_some_and(|token| token != "}") {
                        at = self.import(code, at, &path);
                        at += usize::from(code.get(at).is_some_and(|token| token == ","));
                    }
                    return at + 1;
                }
                // Behind a path, `self` is the module itself.
                "self" if !path.is_empty() => {}
                name if is_name(name) => path.push(name.to_owned()),
                _ => return at,
            }
            let ends = |token: &String| token != "::";
            if code.get(at).is_none_or(ends) {
                let mut bound = path.last().cloned();
                if code.get(at).is_some_and(|token| token == "as") {
                    bound = code.get(at + 1).cloned();
                    at += 2;
                }
                self.paths.insert(path.clone());
                self.bindings.extend(bound.map(|name| (name, path)));
                return at;
            }
        }
        at
    }
}

fn child(parent: &[String], name: &str) -> ModulePath {
    parent.iter().cloned().chain([name.to_owned()]).collect()
}

/// `engine/mod.rs` and `engine.rs` are the module `engine`; `lib.rs` is the root.
fn module_path(file: &Path) -> ModulePath {
    let mut path: ModulePath =
        file.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if path.last().is_some_and(|name| name == "mod") || path == ["lib"] {
        path.pop();
    }
    path
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_') && token != "as"
}

/// Splits a source into names, `::` and single characters; comments, strings and characters are
/// left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let name = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let hashes = rest[1.min(rest.len())..].chars().take_while(|c| *c == '#').count();
        rest = if rest.starts_with("//") {
            rest.find('\n').map_or("", |end| &rest[end..])
        } else if first == 'r' && rest[1 + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = &rest[2 + hashes..];
            body.find(&end).map_or("", |at| &body[at + end.len()..])
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let is_end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                is_end
            });
            end.map_or("", |at| &rest[at + 2..])
        } else if first == '\'' {
            behind_quote(&rest[1..])
        } else if name > 0 {
            tokens.push(rest[..name].to_owned());
            &rest[name..]
        } else if let Some(behind) = rest.strip_prefix("::") {
            tokens.push("::".to_owned());
            behind
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            &rest[first.len_utf8()..]
        };
    }
    tokens
}

/// Returns the text behind a character literal; a lifetime has no second quote.
fn behind_quote(rest: &str) -> &str {
    if let Some(escaped) = rest.strip_prefix('\\') {
        let body = escaped.chars().next().map_or("", |c| &escaped[c.len_utf8()..]);
        return body.find('\'').map_or("", |end| &body[end + 1..]);
    }
    let behind = rest.chars().next().map_or("", |c| &rest[c.len_utf8()..]);
    behind.strip_prefix('\'').unwrap_or(rest)
}

/// Leaves out every item under `#[cfg(test)]`.
fn without_tests(code: &[String]) -> Vec<String> {
    const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < code.len() {
        if !code[at..].iter().take(7).eq(CFG_TEST) {
            kept.push(code[at].clone());
            at += 1;
            continue;
        }
        at += CFG_TEST.len();
        let mut depth = 0_usize;
        while let Some(token) = code.get(at) {
            at += 1;
            match token.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && (token == "}" || token == ";") {
                break;
            }
        }
    }
    kept
}

#[test]
fn groups_aliases_and_re_exports_lead_to_the_file_that_defines_an_item() {
    let module = |file: &str, text: &str| {
        let file = PathBuf::from(file);
        (module_path(&file), Module::parse(file, &without_tests(&tokens(text))))
    };
    let mut files = Crate(BTreeMap::from([
        module("lib.rs", "pub mod a; pub mod b;"),
        module(
            "a/mod.rs",
            "mod x; mod y; mod z; pub use x::{self, deep::{One as Uno, Two}}; pub struct Own;",
        ),
        module("a/x.rs", "use super::{y::{Why, self}, Own}; pub mod deep; // use super::z::Zed;\n"),
        module("a/x/deep.rs", "pub struct One; pub enum Two {} const fn f() -> char { '\"' }"),
        module(
            "a/y.rs",
            "use super::Uno; #[cfg(test)] mod tests { use super::super::z::Zed; } struct Why;",
        ),
        module("a/z.rs", "struct Zed; fn f() { crate::a::Two::new(\"super::y::Why\"); y(); }"),
        module("b.rs", "use crate::a as other; fn f() { other::x::deep::f() }"),
    ]));
    for (parent, name) in
        [("", "a"), ("", "b"), ("a", "x"), ("a", "y"), ("a", "z"), ("a/x", "deep")]
    {
        let parent: ModulePath = module_path(Path::new(parent));
        files.0.get_mut(&parent).unwrap().children.insert(name.to_owned());
    }
    let imports = files.imports();
    let found: BTreeSet<String> =
        imports.iter().map(|import| format!("{} -> {}", import.from, import.to)).collect();
    let expected = ["a/x -> a/y", "a/y -> a/x/deep", "a/z -> a/x/deep", "b -> a/x/deep"];
    assert_eq!(found, expected.map(str::to_owned).into());
    assert_eq!(circles(&imports), BTreeSet::new());
    files
        .0
        .get_mut(&module_path(Path::new("a/x/deep")))
        .unwrap()
        .paths
        .insert(vec!["super".to_owned(), "Why".to_owned()]);
    let imports = files.imports();
    assert_eq!(circles(&imports), [["a/x/deep", "a/y"].into()].into());
}
