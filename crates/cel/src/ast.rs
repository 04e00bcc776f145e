//! The tree of an expression: nodes in one list, referring to each other by number.
//!
//! Macros are expanded while the tree is made, so that what is here knows only literals, names, selections,
//! calls, aggregates and comprehensions. Depth and number of nodes are bounded, so that whoever walks the tree
//! may do it by recursion.

use std::sync::Arc;

/// How deep a tree may be: each level costs whoever walks it a frame of the stack.
pub(crate) const DEEPEST: u16 = 320;
/// How many nodes a tree may have; some macros repeat what they are applied to.
pub(crate) const MOST_NODES: usize = 100_000;

/// The number of a node in its tree.
pub(crate) type Id = u32;

/// The name under which comprehensions hold what they have so far; no source can say it.
pub(crate) const ACCUMULATOR: &str = "@result";

/// A tree: an expression that was parsed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ast {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: Id,
}

/// A node and where it stands in the source, in characters.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) at: u32,
    /// One more than its deepest child.
    depth: u16,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Literal(Literal),
    Ident(Arc<str>),
    Select {
        operand: Id,
        field: Arc<str>,
        test: bool,
    },
    Call {
        function: Arc<str>,
        target: Option<Id>,
        arguments: Vec<Id>,
    },
    /// Elements, each with whether it is there only if it has a value.
    List(Vec<(Id, bool)>),
    Map(Vec<Entry>),
    Struct {
        name: Arc<str>,
        fields: Vec<Field>,
    },
    Comprehension(Box<Comprehension>),
}

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
}

/// An entry of a map.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Id,
    pub(crate) value: Id,
    pub(crate) optional: bool,
}

/// A field of a message.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: Arc<str>,
    pub(crate) value: Id,
    pub(crate) optional: bool,
    pub(crate) at: u32,
}

/// A loop: macros become this.
#[derive(Clone, Debug)]
pub(crate) struct Comprehension {
    pub(crate) range: Id,
    pub(crate) variable: Arc<str>,
    pub(crate) variable2: Option<Arc<str>>,
    pub(crate) accumulator: Arc<str>,
    pub(crate) init: Id,
    pub(crate) condition: Id,
    pub(crate) step: Id,
    pub(crate) result: Id,
}

impl Ast {
    /// The node of this number.
    pub(crate) fn get(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    /// What the node of this number is.
    pub(crate) fn kind(&self, id: Id) -> &Kind {
        &self.nodes[id as usize].kind
    }

    /// How deep the tree below a node is, itself included.
    pub(crate) fn depth(&self, id: Id) -> u16 {
        self.get(id).depth
    }

    /// Adds a node; its children are there already.
    pub(crate) fn add(&mut self, at: u32, kind: Kind) -> Id {
        let mut deepest = 0;
        children(&kind, |child| deepest = deepest.max(self.nodes[child as usize].depth));
        let id = Id::try_from(self.nodes.len()).unwrap_or(Id::MAX);
        self.nodes.push(Node { kind, at, depth: deepest.saturating_add(1) });
        id
    }

    /// A copy of a node with everything below it. [`None`] if the tree has become too large.
    pub(crate) fn copy(&mut self, id: Id) -> Option<Id> {
        if self.nodes.len() >= MOST_NODES {
            return None;
        }
        let Node { mut kind, at, .. } = self.get(id).clone();
        let mut fits = true;
        children_mut(&mut kind, |child| match fits.then(|| self.copy(*child)).flatten() {
            Some(copied) => *child = copied,
            None => fits = false,
        });
        fits.then(|| self.add(at, kind))
    }
}

impl Comprehension {
    /// Whether it only gives a name to a value, without a loop.
    pub(crate) fn is_binding(&self, ast: &Ast) -> bool {
        matches!(ast.kind(self.range), Kind::List(elements) if elements.is_empty())
            && matches!(ast.kind(self.condition), Kind::Literal(Literal::Bool(false)))
            && &*self.accumulator != ACCUMULATOR
    }
}

/// Calls for each child, in the order of the source.
pub(crate) fn children(kind: &Kind, mut each: impl FnMut(Id)) {
    match kind {
        Kind::Literal(_) | Kind::Ident(_) => {}
        Kind::Select { operand, .. } => each(*operand),
        Kind::Call { target, arguments, .. } => target.iter().chain(arguments).for_each(|id| each(*id)),
        Kind::List(elements) => elements.iter().for_each(|(id, _)| each(*id)),
        Kind::Map(entries) => entries.iter().for_each(|entry| {
            each(entry.key);
            each(entry.value);
        }),
        Kind::Struct { fields, .. } => fields.iter().for_each(|field| each(field.value)),
        Kind::Comprehension(fold) => {
            [fold.range, fold.init, fold.condition, fold.step, fold.result].into_iter().for_each(each);
        }
    }
}

fn children_mut(kind: &mut Kind, mut each: impl FnMut(&mut Id)) {
    match kind {
        Kind::Literal(_) | Kind::Ident(_) => {}
        Kind::Select { operand, .. } => each(operand),
        Kind::Call { target, arguments, .. } => target.iter_mut().chain(arguments).for_each(each),
        Kind::List(elements) => elements.iter_mut().for_each(|(id, _)| each(id)),
        Kind::Map(entries) => entries.iter_mut().for_each(|entry| {
            each(&mut entry.key);
            each(&mut entry.value);
        }),
        Kind::Struct { fields, .. } => fields.iter_mut().for_each(|field| each(&mut field.value)),
        Kind::Comprehension(fold) => {
            each(&mut fold.range);
            each(&mut fold.init);
            each(&mut fold.condition);
            each(&mut fold.step);
            each(&mut fold.result);
        }
    }
}

/// The names of operators, as functions.
pub(crate) mod operator {
    pub(crate) const CONDITIONAL: &str = "_?_:_";
    pub(crate) const AND: &str = "_&&_";
    pub(crate) const OR: &str = "_||_";
    pub(crate) const NOT: &str = "!_";
    pub(crate) const NEGATE: &str = "-_";
    pub(crate) const EQUALS: &str = "_==_";
    pub(crate) const NOT_EQUALS: &str = "_!=_";
    pub(crate) const LESS: &str = "_<_";
    pub(crate) const LESS_EQUALS: &str = "_<=_";
    pub(crate) const GREATER: &str = "_>_";
    pub(crate) const GREATER_EQUALS: &str = "_>=_";
    pub(crate) const ADD: &str = "_+_";
    pub(crate) const SUBTRACT: &str = "_-_";
    pub(crate) const MULTIPLY: &str = "_*_";
    pub(crate) const DIVIDE: &str = "_/_";
    pub(crate) const MODULO: &str = "_%_";
    pub(crate) const INDEX: &str = "_[_]";
    pub(crate) const OPTIONAL_INDEX: &str = "_[?_]";
    pub(crate) const OPTIONAL_SELECT: &str = "_?._";
    pub(crate) const IN: &str = "@in";
    pub(crate) const NOT_STRICTLY_FALSE: &str = "@not_strictly_false";
    pub(crate) const MAP_INSERT: &str = "cel.@mapInsert";
}
