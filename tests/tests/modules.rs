//! Holds the modules of every crate to one direction: at the top level of `src`, no module needs itself by way of
//! others, and nobody needs `commands`.
//!
//! Read from the text: every path that begins with `crate::` or with the `super::`s that lead to the root. What
//! `lib.rs` gives out of a module (`pub use a::X`) counts as that module. Tests may look anywhere.

use e2e::tool::root;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Module → modules it needs, with the file that says so.
type Needs = BTreeMap<String, BTreeMap<String, PathBuf>>;

#[test]
fn no_module_needs_itself_by_way_of_others() {
    let (mut found, mut arrows) = (Vec::new(), Vec::new());
    for member in members() {
        let needs = needs_of(&root().join(&member).join("src"));
        let circles: BTreeSet<Vec<&String>> = needs.keys().map(|m| circle(&needs, m)).collect();
        for circle in circles.iter().filter(|circle| circle.len() > 1) {
            let names: Vec<&str> = circle.iter().map(|name| name.as_str()).collect();
            found.push(format!("{member}: {}", names.join(" ")));
            for (from, to) in circle.iter().flat_map(|a| circle.iter().map(move |b| (a, b))) {
                if let Some(file) = needs[*from].get(*to) {
                    arrows.push(format!("{from} needs {to}: {}", file.display()));
                }
            }
        }
    }
    assert!(found.is_empty(), "circles of modules: {found:#?}; their arrows: {arrows:#?}");
}

#[test]
fn nobody_needs_the_verbs() {
    for member in members() {
        for (module, needs) in needs_of(&root().join(&member).join("src")) {
            let file = needs.get("commands");
            assert!(file.is_none(), "{member}: `{module}` needs `commands`: {file:?}");
        }
    }
}

#[test]
fn a_circle_is_seen_through_groups_and_supers_but_not_through_tests() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        fs::write(path, text).expect("it can be written");
    };
    write("lib.rs", "mod a;\nmod b;\nmod c;\nmod d;\npub use c::{Thing, Other};\n");
    write("a.rs", "use crate::{\n    b::{self, X},\n    Thing,\n};\n");
    write("b/mod.rs", "mod inner;\n");
    write("b/inner.rs", "// crate::d\nfn f() { super::super::a::g(); super::own(); }\n");
    write("c.rs", "#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n");
    write("c/tests.rs", "use crate::d;\n");
    write("d.rs", "");
    let needs = needs_of(folder.path());
    let named = |module: &str| needs[module].keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(named("a"), ["b", "c"]);
    assert_eq!(named("b"), ["a"]);
    assert!(named("c").is_empty() && named("d").is_empty());
    assert_eq!(circle(&needs, &"a".to_owned()), ["a", "b"]);
    assert_eq!(circle(&needs, &"c".to_owned()), ["c"]);
}

fn members() -> Vec<String> {
    let path = root().join("Cargo.toml");
    let text = fs::read_to_string(&path).expect("the workspace has a Cargo.toml");
    let (_, list) = text.split_once("members = [").expect("a list of members");
    let (list, _) = list.split_once(']').expect("the list ends");
    let members: Vec<String> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(members.iter().any(|member| member == "trainer"), "{members:?}");
    members
}

/// Modules that `of` needs, at whatever distance, and that need it; itself included.
fn circle<'a>(needs: &'a Needs, of: &'a String) -> Vec<&'a String> {
    let forward = reach(needs, of);
    forward.iter().copied().filter(|other| reach(needs, other).contains(of)).collect()
}

fn reach<'a>(needs: &'a Needs, from: &'a String) -> BTreeSet<&'a String> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        if seen.insert(module) {
            open.extend(needs[module].keys());
        }
    }
    seen
}

fn needs_of(src: &Path) -> Needs {
    let mut files = Vec::new();
    collect(src, &mut Vec::new(), &mut files);
    let is_root = |place: &[String]| matches!(place, [name] if name == "lib" || name == "main");
    let modules = files.iter().filter(|(place, _)| !is_root(place)).map(|(p, _)| p[0].clone());
    let mut needs: Needs = modules.map(|module| (module, BTreeMap::new())).collect();

    let mut given_out = BTreeMap::new();
    for (_, path) in files.iter().filter(|(place, _)| is_root(place)) {
        for (_, names) in paths(&code(path), &["use"]) {
            if let Some(module) = names.first().filter(|name| needs.contains_key(*name)) {
                given_out.extend(names.iter().skip(1).map(|name| (name.clone(), module.clone())));
            }
        }
    }
    for (place, path) in files.iter().filter(|(place, _)| !is_root(place)) {
        for (supers, names) in paths(&code(path), &["crate", "super"]) {
            // As many `super`s as the module is deep lead to the root.
            if supers != 0 && supers != place.len() {
                continue;
            }
            for name in names {
                let module = given_out.get(&name).unwrap_or(&name);
                if *module != place[0] && needs.contains_key(module) {
                    let own = needs.get_mut(&place[0]).expect("every module is there");
                    own.entry(module.clone()).or_insert_with(|| path.clone());
                }
            }
        }
    }
    needs
}

/// Files of modules with their places, `a/b/mod.rs` at `[a, b]`; those of tests left out.
fn collect(folder: &Path, place: &mut Vec<String>, files: &mut Vec<(Vec<String>, PathBuf)>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        let name = path.file_stem().expect("entries have names").to_string_lossy().into_owned();
        if name == "tests" {
            continue;
        }
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        place.push(name);
        if path.is_dir() {
            collect(&path, place, files);
        } else if is_source {
            let whole = place.len() > 1 && place.last().is_some_and(|name| name == "mod");
            files.push((place[..place.len() - usize::from(whole)].to_vec(), path));
        }
        place.pop();
    }
}

/// A file without comments and without its tests, which come last.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let lines: Vec<&str> = text.lines().map(|l| l.split("//").next().unwrap_or(l)).collect();
    let begins_tests = |at: &usize| {
        lines[*at].trim() == "#[cfg(test)]"
            && lines[*at + 1..]
                .iter()
                .find(|line| !line.trim_start().starts_with("#["))
                .is_some_and(|line| line.contains("mod ") && line.ends_with('{'))
    };
    let end = (0..lines.len()).find(begins_tests).unwrap_or(lines.len());
    lines[..end].join("\n")
}

/// Paths that begin with one of `heads`: how many `super`s, and the names that come next. After `use` these are the
/// first name and those taken from it.
fn paths(code: &str, heads: &[&str]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for head in heads {
        let wanted = if *head == "use" { "use ".to_owned() } else { format!("{head}::") };
        for (at, _) in code.match_indices(&wanted) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let mut rest = &code[at + wanted.len()..];
            let mut supers = usize::from(*head == "super");
            while let Some(deeper) = rest.strip_prefix("super::") {
                (rest, supers) = (deeper, supers + 1);
            }
            for prefix in ["self::", "crate::"].into_iter().filter(|_| *head == "use") {
                rest = rest.strip_prefix(prefix).unwrap_or(rest);
            }
            let mut names = group(rest);
            if *head == "use" && !rest.starts_with('{') {
                let after = rest.trim_start_matches(is_name).strip_prefix("::");
                names.extend(after.into_iter().flat_map(group));
            }
            found.push((supers, names));
        }
    }
    found
}

/// The name at the beginning, or the first name of each entry of a `{…}`.
fn group(text: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|&c| is_name(c)).collect();
    let Some(inside) = text.strip_prefix('{') else { return vec![name(text)] };
    let (mut names, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                names.push(name(&inside[from..at]));
                from = at + 1;
            }
            '}' => depth -= 1,
            _ => {}
        }
        if c == '}' && from == at + 1 {
            break;
        }
    }
    names.retain(|name: &String| !name.is_empty());
    names
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
