//! The page that deltas add up to, kept the way the browser keeps it.
//!
//! A delta puts an element or a block at a path. What a run does not write again stays until the run ends; then what is
//! left of earlier runs goes: everything after a run of the whole script, and what belongs to the fragments after a run of
//! those. Nodes stay encoded. Where a browser closes the gaps that stale nodes leave, this tree keeps them, so that a
//! path always means what the server means by it.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::client::{ClientError, decode, metadata};
use crate::mask;
use crate::wire::{Delta, DeltaKind, Finish, Forward, ForwardMsg, RunIdentity};

/// A path from the root: first the container (0 main, 1 sidebar, 2 event, 3 bottom), then child indices.
pub type Path = Vec<u32>;

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An encoded `Element`.
    Element,
    /// An encoded `Block`.
    Block,
    /// An encoded `Element` that is shown for a while, over what is at the path.
    Transient,
}

/// A node's content, masked, for comparing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// What it is.
    pub kind: Kind,
    /// The fragment that made it, or empty.
    pub fragment_id: String,
    /// The encoded message, masked.
    pub content: Vec<u8>,
}

/// The page at one moment, for comparing. Several transient elements share a path.
pub type Snapshot = BTreeMap<(Path, Kind, usize), Shown>;

#[derive(Debug, Clone)]
struct Origin {
    run_id: String,
    fragment_id: String,
}

#[derive(Debug)]
struct Node {
    origin: Origin,
    body: Body,
    transient: Vec<Bytes>,
}

#[derive(Debug)]
enum Body {
    Element(Bytes),
    Block(Bytes, BTreeMap<u32, Node>),
    /// Only a transient was put here.
    Nothing,
}

/// A page.
#[derive(Debug, Default)]
pub struct Tree {
    roots: BTreeMap<u32, Node>,
    run: RunIdentity,
    cached: HashMap<String, ForwardMsg>,
}

impl Tree {
    /// Applies a message. Messages that don't change the page are ignored.
    pub fn apply(&mut self, message: &ForwardMsg) -> Result<(), ClientError> {
        match &message.kind {
            Some(Forward::NewSession(_)) => self.run = metadata(message)?.run.unwrap_or_default(),
            Some(Forward::Delta(encoded)) => self.apply_delta(message, decode(encoded)?)?,
            Some(Forward::RefHash(hash)) => {
                let mut original = self.cached.get(hash).cloned().ok_or_else(|| {
                    ClientError::Garbled(format!("a reference to a message that was never sent, {hash}"))
                })?;
                original.metadata = message.metadata.clone();
                if let Some(Forward::Delta(encoded)) = &original.kind {
                    self.apply_delta(&original, decode(encoded)?)?;
                }
            }
            Some(Forward::ScriptFinished(status)) => match Finish::try_from(*status) {
                Ok(Finish::Success) => self.remove_stale(&[]),
                Ok(Finish::FragmentSuccess) => self.remove_stale(&self.run.fragment_ids.clone()),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn apply_delta(&mut self, message: &ForwardMsg, delta: Delta) -> Result<(), ClientError> {
        let meta = metadata(message)?;
        if meta.cacheable {
            let hash = String::from_utf8_lossy(&message.hash).into_owned();
            self.cached.insert(hash, message.clone());
        }
        let origin = Origin { run_id: self.run.script_run_id.clone(), fragment_id: delta.fragment_id };
        let Some((last, parents)) = meta.delta_path.split_last() else { return Ok(()) };
        let mut siblings = &mut self.roots;
        for index in parents {
            let parent = siblings.entry(*index).or_insert_with(|| Node::block(origin.clone(), Bytes::new()));
            siblings = parent.children();
        }
        match delta.kind {
            Some(DeltaKind::NewElement(element)) => {
                let node = Node { origin, body: Body::Element(element), transient: Vec::new() };
                siblings.insert(*last, node);
            }
            Some(DeltaKind::AddBlock(block)) => {
                let mut node = Node::block(origin, block);
                if let Some(Node { body: Body::Block(_, children), .. }) = siblings.remove(last) {
                    *node.children() = children;
                }
                siblings.insert(*last, node);
            }
            Some(DeltaKind::NewTransient(transient)) => {
                let nothing = || Node { origin: origin.clone(), body: Body::Nothing, transient: Vec::new() };
                siblings.entry(*last).or_insert_with(nothing).transient = transient.elements;
            }
            None => {}
        }
        Ok(())
    }

    fn remove_stale(&mut self, fragments: &[String]) {
        // The containers at the root are nobody's.
        for root in self.roots.values_mut() {
            remove_stale(root.children(), &self.run.script_run_id, fragments);
        }
    }

    /// The hashes that the server may refer to in the next run.
    pub fn cached_hashes(&self) -> Vec<String> {
        self.cached.keys().cloned().collect()
    }

    /// The page for comparing.
    pub fn snapshot(&self) -> Snapshot {
        let mut shown = Snapshot::new();
        self.walk(&mut |path, kind, ordinal, origin, content| {
            let fragment_id = origin.fragment_id.clone();
            shown.insert((path.to_vec(), kind, ordinal), Shown { kind, fragment_id, content: mask::bytes(content) });
        });
        shown
    }

    /// All encoded elements and blocks in the order of the page.
    pub fn contents(&self) -> Vec<&[u8]> {
        let mut contents = Vec::new();
        for node in self.roots.values() {
            node.walk(&mut Vec::new(), 0, &mut |_, _, _, _, content| contents.push(content));
        }
        contents
    }

    /// The ids of all widgets in the order of the page.
    pub fn widget_ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for id in self.contents().into_iter().filter_map(widget_id) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    /// The id of the widget with this key.
    pub fn widget(&self, key: &str) -> Option<String> {
        self.widget_ids().into_iter().find(|id| key_of(id) == Some(key))
    }

    /// The ids of the widgets without a key, in the order of the page.
    pub fn keyless_widgets(&self) -> Vec<String> {
        self.widget_ids().into_iter().filter(|id| key_of(id).is_none()).collect()
    }

    /// The fragment that a widget with this id was made in, or an empty string.
    pub fn fragment_of(&self, id: &str) -> String {
        let mut found = String::new();
        self.walk(&mut |_, _, _, origin, content| {
            if widget_id(content).as_deref() == Some(id) {
                found.clone_from(&origin.fragment_id);
            }
        });
        found
    }

    /// Whether `text` is anywhere on the page.
    pub fn contains(&self, text: &str) -> bool {
        self.contents().into_iter().any(|content| find(content, text.as_bytes()).is_some())
    }

    /// The paths of media files on the page, like `/media/<hash>.png`, in order and without doubles.
    pub fn media_urls(&self) -> Vec<String> {
        let mut urls: Vec<String> = Vec::new();
        let is_url = |value: &[u8]| value.starts_with(b"/") && find(value, b"/media/").is_some();
        for found in self.contents().into_iter().flat_map(|content| strings(content, &is_url, 6)) {
            // What comes before is the base path, which requests are given anyway.
            let url = found.find("/media/").map_or_else(String::new, |at| found[at..].to_owned());
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        urls
    }

    /// The strings in a field of all elements, given as the field numbers that lead to it from `Element`.
    pub fn element_strings(&self, field: &[u64]) -> Vec<String> {
        let mut found = Vec::new();
        self.walk(&mut |_, kind, _, _, content| {
            if kind == Kind::Element {
                found.extend(strings_at(content, field));
            }
        });
        found
    }

    fn walk<'a>(&'a self, visit: &mut impl FnMut(&[u32], Kind, usize, &'a Origin, &'a [u8])) {
        for (index, node) in &self.roots {
            node.walk(&mut Vec::new(), *index, visit);
        }
    }
}

impl Node {
    fn block(origin: Origin, block: Bytes) -> Self {
        Self { origin, body: Body::Block(block, BTreeMap::new()), transient: Vec::new() }
    }

    /// The children of a block. Anything else becomes a block, as a browser would refuse such a delta.
    fn children(&mut self) -> &mut BTreeMap<u32, Self> {
        if !matches!(self.body, Body::Block(..)) {
            self.body = Body::Block(Bytes::new(), BTreeMap::new());
        }
        match &mut self.body {
            Body::Block(_, children) => children,
            Body::Element(_) | Body::Nothing => unreachable!("it was made a block"),
        }
    }

    fn walk<'a>(
        &'a self,
        path: &mut Path,
        index: u32,
        visit: &mut impl FnMut(&[u32], Kind, usize, &'a Origin, &'a [u8]),
    ) {
        path.push(index);
        match &self.body {
            Body::Element(element) => visit(path, Kind::Element, 0, &self.origin, element),
            Body::Block(block, _) => visit(path, Kind::Block, 0, &self.origin, block),
            Body::Nothing => {}
        }
        for (ordinal, element) in self.transient.iter().enumerate() {
            visit(path, Kind::Transient, ordinal, &self.origin, element);
        }
        if let Body::Block(_, children) = &self.body {
            for (index, child) in children {
                child.walk(path, *index, visit);
            }
        }
        path.pop();
    }
}

/// Removes what an earlier run left. `fragments` are those that ran; none means that the whole script did.
fn remove_stale(nodes: &mut BTreeMap<u32, Node>, run_id: &str, fragments: &[String]) {
    nodes.retain(|_, node| {
        let ran = fragments.is_empty() || fragments.contains(&node.origin.fragment_id);
        !ran || node.origin.run_id == run_id
    });
    for node in nodes.values_mut() {
        if let Body::Block(_, children) = &mut node.body {
            remove_stale(children, run_id, fragments);
        }
    }
}

/// The widget id in an encoded element or block.
fn widget_id(content: &[u8]) -> Option<String> {
    strings(content, &|value| value.starts_with(b"$$ID-"), 2).into_iter().next()
}

/// The wanted string fields, at most `depth` messages deep.
fn strings(content: &[u8], wanted: &dyn Fn(&[u8]) -> bool, depth: u32) -> Vec<String> {
    if wanted(content) {
        return String::from_utf8(content.to_vec()).into_iter().collect();
    }
    let inner = if depth == 0 { None } else { fields(content) };
    inner.unwrap_or_default().into_iter().flat_map(|(_, value)| strings(value, wanted, depth - 1)).collect()
}

/// The strings in the field that these field numbers lead to.
fn strings_at(content: &[u8], field: &[u64]) -> Vec<String> {
    let Some((number, rest)) = field.split_first() else {
        return String::from_utf8(content.to_vec()).into_iter().collect();
    };
    let inner = fields(content).unwrap_or_default().into_iter().filter(|(found, _)| found == number);
    inner.flat_map(|(_, value)| strings_at(value, rest)).collect()
}

/// The user's key in `$$ID-<hash>-<key>`.
fn key_of(id: &str) -> Option<&str> {
    id.strip_prefix("$$ID-")?.split_once('-').map(|(_, key)| key).filter(|key| *key != "None")
}

/// The length-delimited fields of an encoded message; `None` if it is none.
fn fields(mut rest: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let skipped = match tag & 7 {
            0 => varint(&mut rest).map(|_| 0)?,
            1 => 8,
            2 => usize::try_from(varint(&mut rest)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (value, after) = rest.split_at_checked(skipped)?;
        if tag & 7 == 2 {
            found.push((tag >> 3, value));
        }
        rest = after;
    }
    Some(found)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    prost::encoding::decode_varint(rest).ok()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Metadata, Transient};

    fn encoded(message: &impl prost::Message) -> Bytes {
        message.encode_to_vec().into()
    }

    fn message(kind: Forward, metadata: &Metadata) -> ForwardMsg {
        ForwardMsg { hash: "hash".into(), metadata: encoded(metadata), kind: Some(kind) }
    }

    fn start(run: &str, fragments: &[&str]) -> ForwardMsg {
        let fragment_ids = fragments.iter().map(ToString::to_string).collect();
        let run = Some(RunIdentity { script_run_id: run.to_owned(), fragment_ids });
        message(Forward::NewSession(Bytes::new()), &Metadata { run, ..Metadata::default() })
    }

    fn delta(path: &[u32], fragment: &str, kind: DeltaKind) -> ForwardMsg {
        let delta = Delta { fragment_id: fragment.to_owned(), kind: Some(kind) };
        let metadata = Metadata { delta_path: path.to_vec(), cacheable: true, ..Metadata::default() };
        message(Forward::Delta(encoded(&delta)), &metadata)
    }

    fn element(path: &[u32], fragment: &str, content: &'static str) -> ForwardMsg {
        delta(path, fragment, DeltaKind::NewElement(content.into()))
    }

    fn end(finish: Finish) -> ForwardMsg {
        message(Forward::ScriptFinished(finish.into()), &Metadata::default())
    }

    fn shown(messages: &[ForwardMsg]) -> Vec<String> {
        let mut tree = Tree::default();
        for message in messages {
            tree.apply(message).unwrap();
        }
        tree.contents()
            .iter()
            .map(|content| String::from_utf8_lossy(content).into_owned())
            .filter(|content| !content.is_empty())
            .collect()
    }

    #[test]
    fn a_full_run_removes_what_it_did_not_write() {
        let first = [start("1", &[]), element(&[0, 0], "", "a"), element(&[0, 1], "", "b"), end(Finish::Success)];
        let second = [start("2", &[]), element(&[0, 0], "", "c")];
        assert_eq!(shown(&[&first[..], &second].concat()), ["c", "b"]);
        assert_eq!(shown(&[&first[..], &second, &[end(Finish::EarlyForRerun)]].concat()), ["c", "b"]);
        assert_eq!(shown(&[&first[..], &second, &[end(Finish::Success)]].concat()), ["c"]);
    }

    #[test]
    fn a_fragment_run_removes_only_from_its_fragments() {
        let home = delta(&[0, 1], "", DeltaKind::AddBlock("block".into()));
        let first = [start("1", &[]), element(&[0, 0], "", "a"), home];
        let inside = [element(&[0, 1, 0], "f", "b"), element(&[0, 1, 1], "f", "c"), end(Finish::Success)];
        let second = [start("2", &["f"]), element(&[0, 1, 0], "f", "d"), end(Finish::FragmentSuccess)];
        assert_eq!(shown(&[&first[..], &inside, &second].concat()), ["a", "block", "d"]);
    }

    #[test]
    fn a_block_keeps_its_children_and_a_transient_what_it_covers() {
        let block = |content: &'static str| delta(&[0, 0], "", DeltaKind::AddBlock(content.into()));
        let transient = |elements| delta(&[0, 0, 0], "", DeltaKind::NewTransient(Transient { elements }));
        let before = [start("1", &[]), block("old"), element(&[0, 0, 0], "", "child"), block("new")];
        assert_eq!(shown(&before), ["new", "child"]);
        let busy = [&before[..], &[transient(vec!["busy".into()])]].concat();
        assert_eq!(shown(&busy), ["new", "child", "busy"]);
        assert_eq!(shown(&[&busy[..], &[transient(Vec::new())]].concat()), ["new", "child"]);
    }

    #[test]
    fn a_reference_stands_for_the_message_with_its_hash() {
        let metadata = Metadata { delta_path: vec![0, 3], ..Metadata::default() };
        let reference = message(Forward::RefHash("hash".to_owned()), &metadata);
        assert_eq!(shown(&[start("1", &[]), element(&[0, 0], "", "a"), reference]), ["a", "a"]);
    }

    #[test]
    fn widgets_are_found_by_key_and_by_order() {
        let mut tree = Tree::default();
        for (index, id) in ["$$ID-aa-None", "$$ID-bb-my-key", "$$ID-cc-None"].into_iter().enumerate() {
            // Element { button: Button { id } }
            let button = [&[0x0a, u8::try_from(id.len()).unwrap()], id.as_bytes()].concat();
            let content = [&[0x9a, 0x01, u8::try_from(button.len()).unwrap()], &button[..]].concat();
            let path = [0, u32::try_from(index).unwrap()];
            tree.apply(&delta(&path, "f", DeltaKind::NewElement(content.into()))).unwrap();
        }
        assert_eq!(tree.widget("my-key").as_deref(), Some("$$ID-bb-my-key"));
        assert_eq!(tree.keyless_widgets(), ["$$ID-aa-None", "$$ID-cc-None"]);
        assert_eq!(tree.fragment_of("$$ID-bb-my-key"), "f");
    }
}
