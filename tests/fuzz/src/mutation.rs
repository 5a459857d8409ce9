//! Mutation of bytes at BER elements, so that the damage passes the first checks.

/// Deterministic, and small enough to be printed as one number (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    /// Returns any 64-bit number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `limit`, or 0 if `limit` is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.any() % limit as u64) as usize }
    }

    fn byte(&mut self) -> u8 {
        // Bytes with a meaning in a header are more useful than others.
        const TELLING: [u8; 24] = [
            0x00, 0x01, 0x02, 0x04, 0x0a, 0x1f, 0x20, 0x30, 0x31, 0x3f, 0x42, 0x60, 0x61, 0x64,
            0x65, 0x73, 0x78, 0x79, 0x7f, 0x80, 0x84, 0x8a, 0xa0, 0xff,
        ];
        if self.below(3) == 0 { self.any() as u8 } else { TELLING[self.below(TELLING.len())] }
    }
}

/// An element, decomposed as far as possible.
#[derive(Debug, Clone)]
enum Node {
    /// Bytes that are no element, header included.
    Raw(Vec<u8>),
    /// An identifier and contents that are no elements.
    Leaf(u8, Vec<u8>),
    /// An identifier and elements.
    Branch(u8, Vec<Node>),
}

/// The maximum depth that is decomposed; deeper elements are raw bytes.
const DEPTH: usize = 40;
/// The maximum length of the output: enough for every limit but that of a message.
const LONGEST: usize = 400 << 10;

/// Returns a mutation of `bytes`, with parts of `other`.
pub fn mutate(bytes: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut nodes = read(bytes, 0);
    let donors = read(other, 0);
    for _ in 0..=dice.below(4) {
        change(&mut nodes, &donors, dice);
    }
    let mut out = Vec::new();
    write(&nodes, dice, &mut out);
    if dice.below(3) == 0 {
        scratch(&mut out, dice);
    }
    out.truncate(LONGEST);
    out
}

fn read(mut bytes: &[u8], depth: usize) -> Vec<Node> {
    let mut nodes = Vec::new();
    while !bytes.is_empty() {
        let Some((tag, content, rest)) = element(bytes) else {
            nodes.push(Node::Raw(bytes.to_vec()));
            break;
        };
        // The values of controls are elements, too, although their headers do not say so.
        let is_wrapped = tag == 0x04 && matches!(element(content), Some((0x30, _, [])));
        nodes.push(if (tag & 0x20 != 0 || is_wrapped) && depth < DEPTH {
            Node::Branch(tag, read(content, depth + 1))
        } else {
            Node::Leaf(tag, content.to_vec())
        });
        bytes = rest;
    }
    nodes
}

/// Returns identifier and contents of the first element, and the remaining bytes.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Makes one change somewhere in the tree.
fn change(nodes: &mut Vec<Node>, donors: &[Node], dice: &mut Dice) {
    // Walks down a random path and stops at a random level.
    if !nodes.is_empty() && dice.below(4) != 0 {
        let at = dice.below(nodes.len());
        if let Node::Branch(_, children) = &mut nodes[at] {
            return change(children, donors, dice);
        }
    }
    let at = dice.below(nodes.len());
    match dice.below(10) {
        0 if !nodes.is_empty() => drop(nodes.remove(at)),
        1 if !nodes.is_empty() => {
            let copy = nodes[at].clone();
            let times = 1 + dice.below(3) * dice.below(40);
            nodes.splice(at..at, std::iter::repeat_n(copy, times));
        }
        2 if nodes.len() > 1 => nodes.swap(at, 0),
        3 => nodes.insert(at, pick(donors, dice)),
        4 if !nodes.is_empty() => {
            let inner = std::mem::replace(&mut nodes[at], Node::Raw(Vec::new()));
            let levels = 1 + dice.below(14);
            nodes[at] = (0..levels).fold(inner, |node, _| Node::Branch(0x30, vec![node]));
        }
        5 => nodes.insert(at, Node::Leaf(dice.byte(), vec![dice.byte(); dice.below(9)])),
        6 => nodes.insert(at, Node::Raw(vec![dice.byte(); 1 + dice.below(4)])),
        _ if !nodes.is_empty() => match &mut nodes[at] {
            Node::Leaf(tag, content) => match dice.below(6) {
                0 => *tag = dice.byte(),
                1 => content.truncate(dice.below(content.len())),
                2 => content.extend(std::iter::repeat_n(dice.byte(), dice.below(200))),
                3 => *content = number(dice),
                4 => content.extend_from_slice(b";range=0-4294967296"),
                _ => scratch(content, dice),
            },
            Node::Branch(tag, children) => match dice.below(3) {
                0 => *tag = dice.byte(),
                1 => children.clear(),
                _ => children.push(pick(donors, dice)),
            },
            Node::Raw(bytes) => scratch(bytes, dice),
        },
        _ => {}
    }
}

/// Returns an element of the other input.
fn pick(donors: &[Node], dice: &mut Dice) -> Node {
    let mut nodes = donors;
    loop {
        if nodes.is_empty() {
            return Node::Leaf(dice.byte(), Vec::new());
        }
        match &nodes[dice.below(nodes.len())] {
            Node::Branch(_, children) if dice.below(3) != 0 => nodes = children,
            node => return node.clone(),
        }
    }
}

/// Returns an integer near a limit of its encoding.
fn number(dice: &mut Dice) -> Vec<u8> {
    const EDGES: [u64; 10] =
        [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, u64::MAX];
    let bytes = EDGES[dice.below(EDGES.len())].to_be_bytes();
    bytes[dice.below(9)..].to_vec()
}

/// Damages bytes without regard to their structure.
fn scratch(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len());
        match dice.below(4) {
            0 if !bytes.is_empty() => drop(bytes.remove(at)),
            1 => bytes.insert(at, dice.byte()),
            2 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            _ if !bytes.is_empty() => bytes[at] = dice.byte(),
            _ => {}
        }
    }
}

/// Encodes the elements, mostly with correct lengths.
fn write(nodes: &[Node], dice: &mut Dice, out: &mut Vec<u8>) {
    for node in nodes {
        let (tag, content) = match node {
            Node::Raw(bytes) => {
                out.extend_from_slice(bytes);
                continue;
            }
            Node::Leaf(tag, content) => (*tag, content.clone()),
            Node::Branch(tag, children) => {
                let mut content = Vec::new();
                write(children, dice, &mut content);
                (*tag, content)
            }
        };
        out.push(tag);
        let mut length = content.len() as u64;
        match dice.below(400) {
            0 => length = length.saturating_sub(1),
            1 => length += 1,
            2 => length = dice.any() >> dice.below(64),
            _ => {}
        }
        let bytes = length.to_be_bytes();
        match (length, dice.below(60)) {
            (_, 0) => out.extend([0x80]),
            (0..=0x7f, 1..50) => out.push(length as u8),
            (_, 1) => {
                out.push(0x88);
                out.extend_from_slice(&bytes);
            }
            _ => {
                out.push(0x84);
                out.extend_from_slice(&bytes[4..]);
            }
        }
        out.extend_from_slice(&content);
    }
}
