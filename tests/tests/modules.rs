//! Holds the modules of every crate to one direction: in `src` and in each of its folders, no module needs itself by
//! way of its neighbours, and nobody needs `commands`.
//!
//! Read from the text: every path that begins with `crate::`, `super::` or `self::`. What a folder gives out of a
//! module (`pub use a::X`) counts as that module. A module and the folder it lies in may know each other. Tests may look
//! anywhere.

use e2e::tool::root;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The neighbours in one folder: module → modules it needs, with the file that says so.
type Needs = BTreeMap<String, BTreeMap<String, PathBuf>>;

/// Folders of a crate, `[]` for `src` itself.
type Folders = BTreeMap<Vec<String>, Needs>;

/// Circles that are known. The list may only get shorter.
const KNOWN: &[&str] = &[];

#[test]
fn no_module_needs_itself_by_way_of_its_neighbours() {
    let (mut found, mut arrows) = (Vec::new(), Vec::new());
    for member in members() {
        for (folder, needs) in folders_of(&root().join(&member).join("src")) {
            let circles: BTreeSet<Vec<&String>> = needs.keys().map(|m| circle(&needs, m)).collect();
            for circle in circles.iter().filter(|circle| circle.len() > 1) {
                let names: Vec<&str> = circle.iter().map(|name| name.as_str()).collect();
                let place: Vec<&str> = folder.iter().map(String::as_str).collect();
                let place = [&[member.as_str()], &place[..]].concat().join("/");
                let line = format!("{place}: {}", names.join(" "));
                if !KNOWN.contains(&line.as_str()) {
                    for (from, to) in circle.iter().flat_map(|a| circle.iter().map(move |b| (a, b)))
                    {
                        if let Some(file) = needs[*from].get(*to) {
                            arrows.push(format!("{from} needs {to}: {}", file.display()));
                        }
                    }
                }
                found.push(line);
            }
        }
    }
    assert_eq!(found, KNOWN, "circles of modules: found, and known; new arrows: {arrows:#?}");
}

#[test]
fn nobody_needs_the_verbs() {
    for member in members() {
        let folders = folders_of(&root().join(&member).join("src"));
        for (module, needs) in &folders[&[][..]] {
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
    write("b/mod.rs", "mod inner;\nmod near;\nmod far;\npub use far::deep::{Y as Z, W};\n");
    write(
        "b/inner.rs",
        "// crate::d\nfn f() { super::super::a::g(); super::own(); super::near::h() }\n",
    );
    write("b/near.rs", "use super::{W, Z};\n");
    write("b/far/mod.rs", "mod deep;\n");
    write("b/far/deep.rs", "use {std::fs, crate::b::inner::{self, f as g}};\n");
    write("c.rs", "#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n");
    write("c/tests.rs", "use crate::d;\n");
    write("d.rs", "");
    let folders = folders_of(folder.path());
    let named = |folder: &[&str], module: &str| {
        let folder: Vec<String> = folder.iter().map(|&name| name.to_owned()).collect();
        folders[&folder][module].keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(named(&[], "a"), ["b", "c"]);
    assert_eq!(named(&[], "b"), ["a"]);
    assert!(named(&[], "c").is_empty() && named(&[], "d").is_empty());
    assert_eq!(named(&["b"], "inner"), ["near"]);
    assert_eq!(named(&["b"], "near"), ["far"]);
    assert_eq!(named(&["b"], "far"), ["inner"]);
    let root = &folders[&[][..]];
    assert_eq!(circle(root, &"a".to_owned()), ["a", "b"]);
    assert_eq!(circle(root, &"c".to_owned()), ["c"]);
    let b = &folders[&["b".to_owned()][..]];
    assert_eq!(circle(b, &"far".to_owned()), ["far", "inner", "near"]);
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

fn folders_of(src: &Path) -> Folders {
    let mut files = Vec::new();
    collect(src, &mut Vec::new(), &mut files);
    let is_root = |place: &[String]| matches!(place, [name] if name == "lib" || name == "main");
    let mut folders = Folders::from([(Vec::new(), Needs::new())]);
    for (place, _) in files.iter().filter(|(place, _)| !is_root(place)) {
        for depth in 0..place.len() {
            let folder = folders.entry(place[..depth].to_vec()).or_default();
            folder.entry(place[depth].clone()).or_default();
        }
    }

    // What a folder gives out of its modules under the same or another name.
    let mut given_out: BTreeMap<Vec<String>, BTreeMap<String, String>> = BTreeMap::new();
    for (place, path) in &files {
        let folder = if is_root(place) { &[][..] } else { place };
        let Some(modules) = folders.get(folder) else { continue };
        for (names, given) in uses(&code(path)) {
            if let Some(module) = names.first().filter(|name| modules.contains_key(*name)) {
                given_out.entry(folder.to_vec()).or_default().insert(given, module.clone());
            }
        }
    }

    let mut arrows = Vec::new();
    for (place, path) in files.iter().filter(|(place, _)| !is_root(place)) {
        for names in paths(&code(path), place) {
            let module = resolved(&names, &folders, &given_out);
            let same = place.iter().zip(&module).take_while(|(a, b)| a == b).count();
            if same < place.len().min(module.len()) {
                arrows.push((
                    place[..same].to_vec(),
                    place[same].clone(),
                    module[same].clone(),
                    path,
                ));
            }
        }
    }
    for (folder, from, to, path) in arrows {
        let needs = folders.get_mut(&folder).and_then(|needs| needs.get_mut(&from));
        needs.expect("every module is there").entry(to).or_insert_with(|| path.clone());
    }
    folders
}

/// The module that a path leads to, as far as its names are modules or given out by one.
fn resolved(
    names: &[String],
    folders: &Folders,
    given_out: &BTreeMap<Vec<String>, BTreeMap<String, String>>,
) -> Vec<String> {
    let mut module = Vec::new();
    for name in names {
        let inside = folders.get(&module).is_some_and(|modules| modules.contains_key(name));
        let given = given_out.get(&module).and_then(|given| given.get(name));
        match (inside, given) {
            (true, _) => module.push(name.clone()),
            (false, Some(child)) => {
                module.push(child.clone());
                break;
            }
            (false, None) => break,
        }
    }
    module
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

/// Paths that begin with `crate`, `super` or `self`, from the root of the crate; `place` is where the code lies.
fn paths(code: &str, place: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for head in ["crate", "super", "self"] {
        for (at, _) in code.match_indices(&format!("{head}::")) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| is_name(c) || c == ':') {
                continue;
            }
            let mut rest = &code[at..];
            let mut base = place.to_vec();
            while let Some((head, deeper)) = rest.split_once("::") {
                match head {
                    "crate" => base.clear(),
                    "super" => drop(base.pop()),
                    "self" => {}
                    _ => break,
                }
                rest = deeper;
            }
            let tails = tree(rest).0.into_iter();
            found.extend(tails.map(|(names, _)| [&base[..], &names].concat()));
        }
    }
    found
}

/// What `use` brings: paths without `self::`, and the name that each gives.
fn uses(code: &str) -> Vec<(Vec<String>, String)> {
    let starts = code
        .match_indices("use ")
        .filter(|(at, _)| !code[..*at].chars().next_back().is_some_and(|c| is_name(c) || c == ':'));
    let all = starts.flat_map(|(at, head)| tree(&code[at + head.len()..]).0);
    let own = all.map(|(mut names, given)| {
        names.retain(|name| name != "self");
        (names, given)
    });
    own.collect()
}

/// `a::{b, c::{d as e}}` → paths with the names they give, and what follows.
fn tree(text: &str) -> (Vec<(Vec<String>, String)>, &str) {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        let mut all = Vec::new();
        loop {
            let (paths, after) = tree(rest);
            all.extend(paths);
            rest = after.trim_start();
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return (all, rest.strip_prefix('}').unwrap_or(rest)),
            }
        }
    }
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return (Vec::new(), rest);
    }
    if let Some(deeper) = rest.strip_prefix("::") {
        let (paths, after) = tree(deeper);
        let whole = |(names, given): (Vec<String>, String)| {
            let given = if names == ["self"] { name.to_owned() } else { given };
            let names = names.into_iter().filter(|name| name != "self");
            ([name.to_owned()].into_iter().chain(names).collect(), given)
        };
        if paths.is_empty() {
            return (vec![(vec![name.to_owned()], name.to_owned())], after);
        }
        return (paths.into_iter().map(whole).collect(), after);
    }
    if let Some(renamed) = rest.strip_prefix(" as ") {
        let end = renamed.find(|c| !is_name(c)).unwrap_or(renamed.len());
        return (vec![(vec![name.to_owned()], renamed[..end].to_owned())], &renamed[end..]);
    }
    (vec![(vec![name.to_owned()], name.to_owned())], rest)
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
