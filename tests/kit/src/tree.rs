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
                Ok(Finish::Success) => remove_stale(&mut self.roots, &self.run.script_run_id, &[]),
                Ok(Finish::FragmentSuccess) => {
                    remove_stale(&mut self.roots, &self.run.script_run_id, &self.run.fragment_ids);
                }
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
        for url in self.contents().into_iter().flat_map(|content| strings(content, "/media/", 6)) {
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        urls
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
    strings(content, "$$ID-", 2).into_iter().next()
}

/// The string fields that start with `prefix`, at most `depth` messages deep.
fn strings(content: &[u8], prefix: &str, depth: u32) -> Vec<String> {
    if content.starts_with(prefix.as_bytes()) {
        return String::from_utf8(content.to_vec()).into_iter().collect();
    }
    let inner = if depth == 0 { None } else { fields(content) };
    inner.unwrap_or_default().into_iter().flat_map(|value| strings(value, prefix, depth - 1)).collect()
}

/// The user's key in `$$ID-<hash>-<key>`.
fn key_of(id: &str) -> Option<&str> {
    id.strip_prefix("$$ID-")?.split_once('-').map(|(_, key)| key).filter(|key| *key != "None")
}

/// The length-delimited fields of an encoded message; `None` if it is none.
fn fields(mut rest: &[u8]) -> Option<Vec<&[u8]>> {
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
            found.push(value);
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
