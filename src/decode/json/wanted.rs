//! The members that columns read, as a tree, and a guess at which member comes next.

use super::super::column::Column;
use super::scan::{Broken, Scanner, unescape};

/// Names longer than this, and members after this many, are looked up each time.
const LONGEST_GUESS: usize = 64;
const MOST_GUESSES: usize = 256;

/// The root's place among the nodes.
pub(super) const ROOT: usize = 0;

/// A place in records that columns read, or that leads to one.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// For messages.
    pub(super) path: String,
    /// The wanted members of an object here, by name, sorted.
    pub(super) members: Vec<(Vec<u8>, usize)>,
    /// The columns that read the value here, by index.
    pub(super) columns: Vec<usize>,
    /// The last record in which the member stood, counted by the decoder.
    pub(super) seen: u64,
    guesses: Vec<Guess>,
}

/// What came at a position last time: producers write their members in one order.
#[derive(Debug, Default)]
struct Guess {
    /// The name as written, from its opening quote to the colon; empty where nothing is known.
    written: Vec<u8>,
    node: Option<usize>,
}

/// The tree of wanted members.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) nodes: Vec<Node>,
    scratch: Vec<u8>,
}

impl Wanted {
    pub(super) fn new(columns: &[Column]) -> Self {
        let mut wanted = Self { nodes: vec![Node::default()], scratch: Vec::new() };
        for (index, column) in columns.iter().enumerate() {
            let leaf = column.path.iter().fold(ROOT, |node, name| wanted.child(node, name));
            wanted.nodes[leaf].columns.push(index);
        }
        wanted
    }

    /// The node of the member `name` under `node`, made if it is not there.
    fn child(&mut self, node: usize, name: &str) -> usize {
        let count = self.nodes.len();
        let parent = &mut self.nodes[node];
        match parent.members.binary_search_by(|(member, _)| member.as_slice().cmp(name.as_bytes())) {
            Ok(place) => parent.members[place].1,
            Err(place) => {
                parent.members.insert(place, (name.as_bytes().to_vec(), count));
                let path = if node == ROOT { name.to_owned() } else { format!("{}.{name}", parent.path) };
                self.nodes.push(Node { path, ..Node::default() });
                count
            }
        }
    }

    /// The node of the member of that name at the root.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        let members = &self.nodes[ROOT].members;
        let found = members.binary_search_by(|(member, _)| member.as_slice().cmp(name)).ok();
        found.map(|place| members[place].1)
    }

    /// Goes past the name and colon of the member at `position` in the object at `node`; the member's node if it is a
    /// wanted one.
    ///
    /// A guess is taken only if the very bytes are those of last time, so it never changes the answer.
    #[inline]
    pub(super) fn member(
        &mut self,
        node: usize,
        position: usize,
        scanner: &mut Scanner<'_>,
    ) -> Result<Option<usize>, Broken> {
        match self.nodes[node].guesses.get(position) {
            Some(guess) if !guess.written.is_empty() && scanner.take(&guess.written) => {
                scanner.space();
                Ok(guess.node)
            }
            _ => self.look_up(node, position, scanner),
        }
    }

    fn look_up(&mut self, node: usize, position: usize, scanner: &mut Scanner<'_>) -> Result<Option<usize>, Broken> {
        let name = scanner.name()?;
        let mut text = &scanner.bytes[name.start + 1..name.end - 1];
        let mut readable = true;
        if name.escaped {
            self.scratch.clear();
            readable = unescape(text, &mut self.scratch).is_ok();
            text = &self.scratch;
        }
        let node = &mut self.nodes[node];
        let found = node.members.binary_search_by(|(member, _)| member.as_slice().cmp(text)).ok();
        let found = found.filter(|_| readable).map(|place| node.members[place].1);
        scanner.colon()?;
        if scanner.bytes.get(name.end) == Some(&b':')
            && name.end - name.start <= LONGEST_GUESS
            && position < MOST_GUESSES
        {
            if node.guesses.len() <= position {
                node.guesses.resize_with(position + 1, Guess::default);
            }
            let guess = &mut node.guesses[position];
            guess.written.clear();
            guess.written.extend_from_slice(&scanner.bytes[name.start..=name.end]);
            guess.node = found;
        }
        Ok(found)
    }
}
