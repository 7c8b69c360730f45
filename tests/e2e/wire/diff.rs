//! Compares what two servers showed, and says where they differ so that one need not run it again to see why.

use std::fmt;
use std::io::Write as _;
use std::process::{Command, Stdio};

use streamfleet_testkit::browser::Event;
use streamfleet_testkit::process;
use streamfleet_testkit::tree::{Kind, Shown};

use super::play::{Answer, Observation};
use super::scenario::Scenario;

/// Prints encoded messages as protobuf text, with the Python classes of the installed Streamlit.
const SHOW: &str = include_str!("show.py");
/// After so many differences the rest says nothing new.
const MOST: usize = 12;
/// Longer texts are cut when they are shown.
const LONGEST: usize = 4_000;

/// The differences between two servers; empty if they answered alike.
#[derive(Debug, Default)]
pub(super) struct Differences(Vec<Difference>);

/// One difference: where, and what either side had there.
#[derive(Debug)]
struct Difference {
    place: String,
    plain: Side,
    candidate: Side,
}

#[derive(Debug, PartialEq, Eq)]
enum Side {
    Nothing,
    Text(String),
    /// An encoded message: `element`, `block`, or the field of `ForwardMsg` that it stood in.
    Message(&'static str, Vec<u8>),
}

impl Differences {
    /// Compares the observations of two servers, step by step, up to the first step that differs.
    pub(super) fn between(scenario: &Scenario, plain: &[Observation], candidate: &[Observation]) -> Self {
        let steps = std::iter::once("opening the page".to_owned())
            .chain(scenario.steps.iter().enumerate().map(|(index, step)| format!("step {}: {step:?}", index + 1)));
        for (step, (plain, candidate)) in steps.zip(plain.iter().zip(candidate)) {
            let mut found = Self::default();
            found.compare(&step, plain, candidate);
            if !found.is_empty() {
                return found;
            }
        }
        Self::default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where the differences are.
    pub(super) fn places(&self) -> Vec<&str> {
        self.0.iter().map(|difference| difference.place.as_str()).collect()
    }

    fn compare(&mut self, step: &str, plain: &Observation, candidate: &Observation) {
        self.check(format!("{step}, runs"), Side::debug(&plain.runs), Side::debug(&candidate.runs));
        let query = |observation: &Observation| Side::Text(observation.query_string.clone());
        self.check(format!("{step}, query string"), query(plain), query(candidate));
        for place in plain.page.keys().chain(candidate.page.keys().filter(|place| !plain.page.contains_key(place))) {
            let (left, right) = (plain.page.get(place), candidate.page.get(place));
            let fragment = |shown: Option<&Shown>| Side::debug(&shown.map(|shown| shown.fragment_id.clone()));
            let (path, kind, _) = place;
            self.check(format!("{step}, {kind:?} at {path:?}"), Side::shown(left), Side::shown(right));
            self.check(format!("{step}, fragment of {kind:?} at {path:?}"), fragment(left), fragment(right));
        }
        for (index, (left, right)) in zip_longest(&plain.said, &candidate.said).enumerate() {
            self.check(format!("{step}, message {index} beside the page"), Side::event(left), Side::event(right));
        }
        for (left, right) in zip_longest(&plain.answers, &candidate.answers) {
            let request = left.or(right).map_or_else(String::new, |answer| answer.request.clone());
            let head = |answer: Option<&Answer>| Side::debug(&answer.map(|answer| &answer.head));
            let body = |answer: Option<&Answer>| Side::body(answer.map(|answer| answer.body.as_slice()));
            self.check(format!("{step}, {request}, head"), head(left), head(right));
            self.check(format!("{step}, {request}, body"), body(left), body(right));
        }
    }

    fn check(&mut self, place: String, plain: Side, candidate: Side) {
        if plain != candidate {
            self.0.push(Difference { place, plain, candidate });
        }
    }
}

impl Side {
    fn debug(value: &impl fmt::Debug) -> Self {
        Self::Text(format!("{value:#?}"))
    }

    fn shown(shown: Option<&Shown>) -> Self {
        shown.map_or(Self::Nothing, |shown| match shown.kind {
            Kind::Element | Kind::Transient => Self::Message("element", shown.content.clone()),
            Kind::Block => Self::Message("block", shown.content.clone()),
        })
    }

    fn event(event: Option<&Event>) -> Self {
        match event {
            Some(Event::Said(field, content)) => Self::Message(field, content.clone()),
            Some(other) => Self::debug(other),
            None => Self::Nothing,
        }
    }

    fn body(body: Option<&[u8]>) -> Self {
        body.map_or(Self::Nothing, |body| Self::Text(body.escape_ascii().to_string()))
    }

    /// The lines to show. Messages are decoded by Python, and shown escaped if that fails.
    fn lines(&self) -> Vec<String> {
        let text = match self {
            Self::Nothing => "(nothing)".to_owned(),
            Self::Text(text) => text.clone(),
            Self::Message(field, content) => {
                protobuf_text(field, content).unwrap_or_else(|| content.escape_ascii().to_string())
            }
        };
        text.lines().map(ToOwned::to_owned).collect()
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Difference { place, plain, candidate } in self.0.iter().take(MOST) {
            writeln!(out, "\nat {place}:")?;
            let (plain, candidate) = (plain.lines(), candidate.lines());
            let alike = |(left, right): &(&String, &String)| left == right;
            let head = plain.iter().zip(&candidate).take_while(alike).count();
            let shorter = plain.len().min(candidate.len()) - head;
            let tail = plain.iter().rev().zip(candidate.iter().rev()).take(shorter).take_while(alike).count();
            for line in plain.iter().take(head).skip(head.saturating_sub(2)) {
                writeln!(out, "    {}", cut(line))?;
            }
            for (sign, lines) in [('-', &plain), ('+', &candidate)] {
                for line in &lines[head..lines.len() - tail] {
                    writeln!(out, "  {sign} {}", cut(line))?;
                }
            }
        }
        let more = self.0.len().saturating_sub(MOST);
        if more > 0 { writeln!(out, "\nand {more} more") } else { Ok(()) }
    }
}

fn cut(line: &str) -> &str {
    let end = (0..=LONGEST.min(line.len())).rev().find(|at| line.is_char_boundary(*at));
    &line[..end.unwrap_or(0)]
}

fn zip_longest<'a, T>(left: &'a [T], right: &'a [T]) -> impl Iterator<Item = (Option<&'a T>, Option<&'a T>)> {
    (0..left.len().max(right.len())).map(|index| (left.get(index), right.get(index)))
}

fn protobuf_text(field: &str, content: &[u8]) -> Option<String> {
    let mut command = Command::new(process::python());
    command.args(["-c", SHOW, field]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    child.stdin.take()?.write_all(content).ok()?;
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
