//! The apps must use everything that `st` offers, so that a new Streamlit version brings its new elements to mind.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use streamfleet_testkit::process;

use super::apps_folder;

/// Prints every public name of `st` that is not one of its modules, a name per line.
const PUBLIC_NAMES: &str = "\
import inspect, streamlit as st
names = [name for name in dir(st) if not name.startswith('_')]
print(*[name for name in names if not inspect.ismodule(getattr(st, name))], sep='\\n')
";

/// Names that no app has to use, and why. None so far.
const EXEMPT: &[(&str, &str)] = &[];

#[test]
fn every_public_name_is_used() {
    let output = Command::new(process::python()).args(["-c", PUBLIC_NAMES]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let public = String::from_utf8(output.stdout).unwrap();
    let mut sources = Vec::new();
    collect_sources(&apps_folder(), &mut sources);
    let used: BTreeSet<&str> = sources.iter().flat_map(|source| names_in(source)).collect();
    let missing: Vec<_> =
        public.lines().filter(|name| !used.contains(name) && EXEMPT.iter().all(|(exempt, _)| exempt != name)).collect();
    assert!(missing.is_empty(), "no app in tests/apps uses {missing:?}");
}

/// What follows each `st.` in a source text.
fn names_in(source: &str) -> impl Iterator<Item = &str> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let standalone = move |at: usize| !source[..at].ends_with(|before: char| is_word(before) || before == '.');
    source
        .match_indices("st.")
        .filter(move |(at, _)| standalone(*at))
        .filter_map(move |(at, prefix)| source[at + prefix.len()..].split(|letter| !is_word(letter)).next())
}

fn collect_sources(folder: &Path, sources: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_sources(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "py") {
            sources.push(std::fs::read_to_string(&path).unwrap());
        }
    }
}
