//! What an expression costs at least and at most, before there is any data.

use std::collections::HashMap;
use std::sync::Arc;

use super::{CHECK, FORMAT_PATTERN, LIST, MAP, PATTERN, SELECT, STRUCT, TRAVERSAL, rounded};
use crate::ast::{Comprehension, Id, Kind, Literal};
use crate::checker::Reference;
use crate::declared::{Declared, Shape};
use crate::environment::Checked;
use crate::library::FUNCTIONS;
use crate::types::Type;

/// At least and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CostEstimate {
    /// At least this.
    pub min: u64,
    /// At most this.
    pub max: u64,
}

type Range = CostEstimate;

const UNKNOWN: Range = Range { min: 0, max: u64::MAX };

impl Range {
    const fn fixed(value: u64) -> Self {
        Self { min: value, max: value }
    }

    const fn from_to(min: u64, max: u64) -> Self {
        Self { min, max }
    }

    fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn by(self, factor: f64) -> Self {
        Self { min: rounded(self.min as f64 * factor), max: rounded(self.max as f64 * factor) }
    }

    fn or(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// How large keys and values of an aggregate are.
#[derive(Clone, Copy)]
struct Entries {
    list: bool,
    key: Range,
    value: Range,
}

/// A variable of a comprehension.
#[derive(Clone)]
struct Local {
    declared: Option<Arc<Declared>>,
    size: Option<Range>,
    entries: Option<Entries>,
}

/// A part of an expression, or an element of what it stands for.
struct Node<'c> {
    ty: &'c Type,
    declared: Option<Arc<Declared>>,
    size: Option<Range>,
    literal: Option<i64>,
}

struct Estimator<'c> {
    checked: &'c Checked,
    /// What is declared about what a part stands for.
    declared: HashMap<Id, Option<Arc<Declared>>>,
    sizes: HashMap<Id, Range>,
    entries: HashMap<Id, Entries>,
    locals: Vec<Local>,
}

/// A call: what it costs, and how large its result is if that is known.
type Call = (Range, Option<Range>);

/// Estimates the cost of an expression.
pub(crate) fn estimate(checked: &Checked) -> CostEstimate {
    let mut estimator = Estimator {
        checked,
        declared: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
        locals: Vec::new(),
    };
    estimator.cost(checked.ast.root)
}

fn literal_size(literal: &Literal) -> u64 {
    match literal {
        Literal::String(text) => text.chars().count() as u64,
        Literal::Bytes(bytes) => bytes.len() as u64,
        _ => 1,
    }
}

impl<'c> Estimator<'c> {
    fn kind(&self, id: Id) -> &'c Kind {
        self.checked.ast.kind(id)
    }

    fn ty(&self, id: Id) -> &'c Type {
        &self.checked.types[id as usize]
    }

    fn local(&self, id: Id) -> Option<&Local> {
        match (&self.checked.references[id as usize], self.kind(id)) {
            (Reference::Local(place), Kind::Ident(_)) => self.locals.get(*place),
            _ => None,
        }
    }

    fn declared(&self, id: Id) -> Option<Arc<Declared>> {
        match self.local(id) {
            Some(local) => local.declared.clone(),
            None => self.declared.get(&id).cloned().flatten(),
        }
    }

    fn size(&mut self, id: Id) -> Option<Range> {
        if let Some(size) = self.sizes.get(&id) {
            return Some(*size);
        }
        let fixed = match self.kind(id) {
            Kind::Literal(literal) => Some(literal_size(literal)),
            Kind::List(elements) => Some(elements.len() as u64),
            Kind::Map(entries) => Some(entries.len() as u64),
            _ => None,
        };
        if let Some(size) = fixed {
            return Some(Range::fixed(size));
        }
        if let Some(declared) = self.declared(id) {
            let size = Range::from_to(0, declared.most);
            self.sizes.insert(id, size);
            return Some(size);
        }
        if self.ty(id).is_scalar() {
            return Some(Range::fixed(1));
        }
        self.local(id).and_then(|local| local.size)
    }

    fn size_or_unknown(&mut self, id: Id) -> Range {
        self.size(id).unwrap_or(UNKNOWN)
    }

    fn entries(&self, id: Id) -> Option<Entries> {
        self.entries.get(&id).copied().or_else(|| self.local(id)?.entries)
    }

    fn cost(&mut self, id: Id) -> Range {
        match self.kind(id) {
            Kind::Literal(_) => Range::default(),
            Kind::Ident(_) => {
                let declared = match &self.checked.references[id as usize] {
                    Reference::Local(place) => {
                        self.locals.get(*place).and_then(|local| local.declared.clone())
                    }
                    Reference::Variable(number) => {
                        self.checked.variables.get(number).and_then(|variable| variable.declared.clone())
                    }
                    _ => None,
                };
                self.declared.insert(id, declared);
                Range::fixed(SELECT)
            }
            Kind::Select { operand, field, test } => {
                let cost = self.cost(*operand);
                if *test {
                    return cost;
                }
                let of = self.declared(*operand);
                let below = of.and_then(|declared| declared.field(field).cloned());
                self.declared.insert(id, below);
                match self.ty(*operand) {
                    Type::Map(_) | Type::Object(_) | Type::Param(_) => cost.plus(Range::fixed(SELECT)),
                    _ => cost,
                }
            }
            Kind::Call { function, target, arguments } => self.call(id, function, *target, arguments),
            Kind::List(elements) => {
                let mut cost = Range::fixed(LIST);
                let mut value = empty(elements.is_empty());
                for (element, _) in elements {
                    cost = cost.plus(self.cost(*element));
                    value = value.or(self.size_or_unknown(*element));
                }
                self.entries.insert(id, Entries { list: true, key: Range::fixed(1), value });
                cost
            }
            Kind::Map(fields) => {
                let mut cost = Range::fixed(MAP);
                let (mut key, mut value) = (empty(fields.is_empty()), empty(fields.is_empty()));
                for field in fields {
                    cost = cost.plus(self.cost(field.key)).plus(self.cost(field.value));
                    key = key.or(self.size_or_unknown(field.key));
                    value = value.or(self.size_or_unknown(field.value));
                }
                self.entries.insert(id, Entries { list: false, key, value });
                cost
            }
            Kind::Struct { fields, .. } => {
                fields.iter().fold(Range::fixed(STRUCT), |cost, field| cost.plus(self.cost(field.value)))
            }
            Kind::Comprehension(fold) if fold.is_binding(&self.checked.ast) => self.binding(id, fold),
            Kind::Comprehension(fold) => self.fold(id, fold),
        }
    }

    fn binding(&mut self, id: Id, fold: &Comprehension) -> Range {
        let mut cost = self.cost(fold.range).plus(self.cost(fold.init));
        let local = Local {
            declared: self.declared(fold.init),
            size: self.size(fold.init),
            entries: self.entries(fold.init),
        };
        self.locals.push(local);
        cost = cost.plus(self.cost(fold.result));
        // What the result is known to be is known of the whole.
        if let Some(size) = self.size(fold.result) {
            self.sizes.insert(id, size);
        }
        if let Some(entries) = self.entries(fold.result) {
            self.entries.insert(id, entries);
        }
        self.locals.pop();
        cost
    }

    fn fold(&mut self, id: Id, fold: &Comprehension) -> Range {
        let mut cost = self.cost(fold.range).plus(self.cost(fold.init));
        let accumulator = Local {
            declared: self.declared(fold.init),
            size: self.size(fold.init),
            entries: self.entries(fold.init),
        };
        self.locals.push(accumulator);
        let entries = self.entries(fold.range);
        let list =
            entries.map_or_else(|| matches!(self.ty(fold.range), Type::List(_)), |entries| entries.list);
        let declared = self.declared(fold.range);
        let key = Local {
            declared: declared.as_ref().filter(|_| !list).map(|of| match of.shape {
                // Keys have no bound of their own.
                Shape::Map(_) => Arc::new(Declared::of(Type::String)),
                _ => Arc::new(Declared::of(Type::Dyn)),
            }),
            size: entries.map(|entries| entries.key),
            entries: None,
        };
        let value = Local {
            declared: declared.and_then(|of| of.element().cloned()),
            size: entries.map(|entries| entries.value),
            entries: None,
        };
        match (fold.variable2.is_some(), list) {
            (true, _) => self.locals.extend([key, value]),
            (false, true) => self.locals.push(value),
            (false, false) => self.locals.push(key),
        }
        let each = self.cost(fold.condition).plus(self.cost(fold.step));
        let variables = if fold.variable2.is_some() { 2 } else { 1 };
        self.locals.truncate(self.locals.len() - variables);
        cost = cost.plus(self.cost(fold.result));
        self.locals.pop();
        let count = self.size_or_unknown(fold.range);
        cost = cost.plus(count.times(each));
        match self.kind(fold.init) {
            Kind::Literal(_) => {
                if let Some(size) = self.size(fold.init) {
                    self.sizes.insert(id, size);
                }
            }
            Kind::List(_) | Kind::Map(_) => {
                self.sizes.insert(id, count);
                if let Some(entries) = self.entries(fold.step) {
                    self.entries.insert(id, entries);
                }
            }
            _ => {}
        }
        cost
    }

    fn node(&mut self, id: Id) -> Node<'c> {
        let literal = match self.kind(id) {
            Kind::Literal(Literal::Int(number)) => Some(*number),
            _ => None,
        };
        Node { ty: self.ty(id), declared: self.declared(id), size: self.size(id), literal }
    }

    fn call(&mut self, id: Id, function: &str, target: Option<Id>, arguments: &[Id]) -> Range {
        if function == "dyn" {
            let cost = arguments.first().map_or(Range::default(), |argument| self.cost(*argument));
            if let Some(argument) = arguments.first() {
                if let Some(size) = self.size(*argument) {
                    self.sizes.insert(id, size);
                }
                if let Some(entries) = self.entries(*argument) {
                    self.entries.insert(id, entries);
                }
            }
            return cost.plus(Range::fixed(1));
        }
        let costs: Vec<Range> = arguments.iter().map(|argument| self.cost(*argument)).collect();
        let nodes: Vec<Node<'c>> = arguments.iter().map(|argument| self.node(*argument)).collect();
        let Reference::Call(name, overloads) = &self.checked.references[id as usize] else {
            return Range::default();
        };
        let Some(function) = FUNCTIONS.get(name) else { return Range::default() };
        let mut cost = Range::default();
        let mut on = None;
        if let Some(target) = target {
            cost = self.cost(target);
            on = Some(self.node(target));
        }
        let given = costs.iter().fold(Range::default(), |sum, cost| sum.plus(*cost));
        let mut called = Range::from_to(u64::MAX, 0);
        let mut result: Option<Range> = None;
        for overload in overloads {
            let overload = function.overloads[*overload].id.as_str();
            let (own, size) =
                self.overload(id, name, overload, on.as_ref(), &nodes, arguments, &costs, given);
            called = called.or(own);
            if let Some(size) = size {
                result = Some(result.map_or(size, |known| known.or(size)));
            }
            if matches!(overload, "index_list" | "index_map") {
                result = self.entries(arguments[0]).map(|entries| entries.value);
                let below = nodes[0].declared.as_ref().and_then(|of| of.element().cloned());
                self.declared.insert(id, below);
            }
            if result.is_none() {
                result = self.size(id);
            }
        }
        if let Some(result) = result {
            self.sizes.insert(id, result);
        }
        cost.plus(called)
    }

    /// What a call of an overload costs with its arguments, and how large its result is.
    #[allow(clippy::too_many_arguments)]
    fn overload(
        &mut self,
        id: Id,
        function: &str,
        overload: &str,
        target: Option<&Node<'c>>,
        nodes: &[Node<'c>],
        arguments: &[Id],
        costs: &[Range],
        given: Range,
    ) -> Call {
        let known =
            listed(overload, target, nodes).or_else(|| of_kubernetes(function, overload, target, nodes));
        if let Some((cost, result)) = known {
            return (cost.plus(given), result);
        }
        let size = |node: &Node<'c>| node.size.unwrap_or(UNKNOWN);
        let cost = match (overload, target, nodes) {
            ("string_format", Some(on), _) => size(on).by(TRAVERSAL),
            ("string_to_bytes", _, [of]) => {
                let size = size(of);
                let result = Range::from_to(size.min, size.max.wrapping_mul(4));
                return (size.by(TRAVERSAL).plus(given), Some(result));
            }
            ("bytes_to_string", _, [of]) => {
                let size = size(of);
                return (size.by(TRAVERSAL).plus(given), Some(Range::from_to(size.min / 4, size.max)));
            }
            ("strings_quote", _, [of]) => {
                let size = size(of);
                let most = size.max.wrapping_mul(2).wrapping_add(2);
                return (
                    size.by(TRAVERSAL).plus(given),
                    Some(Range::from_to(size.min.wrapping_add(2), most)),
                );
            }
            ("starts_with_string" | "ends_with_string", _, [part]) => size(part).by(TRAVERSAL),
            ("in_list", _, [_, list]) => size(list),
            ("matches_string", Some(on), [pattern]) => {
                size(on).plus(Range::fixed(1)).by(TRAVERSAL).times(size(pattern).by(PATTERN))
            }
            ("contains_string", Some(on), [part]) => size(on).by(TRAVERSAL).times(size(part).by(TRAVERSAL)),
            ("logical_or" | "logical_and", _, [_, _]) => {
                let cost = Range::from_to(costs[0].min, costs[0].plus(costs[1]).max);
                return (cost, None);
            }
            ("conditional", _, [_, then, otherwise]) => {
                let result = size(then).or(size(otherwise));
                if let (Some(one), Some(two)) = (self.entries(arguments[1]), self.entries(arguments[2])) {
                    self.entries.insert(id, union(one, two));
                }
                return (costs[0].plus(costs[1].or(costs[2])), Some(result));
            }
            ("add_string" | "add_bytes" | "add_list", _, [one, two]) => {
                let result = size(one).plus(size(two));
                if let (Some(one), Some(two)) = (self.entries(arguments[0]), self.entries(arguments[1])) {
                    self.entries.insert(id, union(one, two));
                }
                let own = if overload == "add_list" { Range::fixed(1) } else { result.by(TRAVERSAL) };
                return (own.plus(given), Some(result));
            }
            (
                "less_string"
                | "greater_string"
                | "less_equals_string"
                | "greater_equals_string"
                | "less_bytes"
                | "greater_bytes"
                | "less_equals_bytes"
                | "greater_equals_bytes"
                | "equals"
                | "not_equals",
                _,
                [one, two],
            ) => {
                let most = size(one).max.min(size(two).max);
                Range::from_to(u64::from(most > 0), most).by(TRAVERSAL)
            }
            _ => Range::fixed(1),
        };
        (cost.plus(given), None)
    }
}

fn union(one: Entries, two: Entries) -> Entries {
    Entries { list: one.list, key: one.key.or(two.key), value: one.value.or(two.value) }
}

/// The range of the sizes of nothing, to which others are added.
fn empty(nothing: bool) -> Range {
    Range::from_to(if nothing { 0 } else { u64::MAX }, 0)
}

/// The functions of lists and sets, whose cost goes by their overloads.
fn listed(overload: &str, target: Option<&Node<'_>>, nodes: &[Node<'_>]) -> Option<Call> {
    let size = |node: &Node<'_>| node.size.unwrap_or(UNKNOWN);
    let number = |node: &Node<'_>, otherwise: u64| match node.literal {
        Some(number) => u64::try_from(number).unwrap_or(0),
        None => otherwise,
    };
    let list = |factor: f64, size: Range| Some((size.by(factor).plus(Range::fixed(1 + LIST)), Some(size)));
    match (overload, target, nodes) {
        ("list_sets_contains_list" | "list_sets_intersects_list", _, [one, two]) => {
            Some((size(one).times(size(two)).plus(Range::fixed(1)), None))
        }
        ("list_sets_equivalent_list", _, [one, two]) => {
            Some((size(one).times(size(two)).by(2.0).plus(Range::fixed(1)), None))
        }
        ("list_slice", Some(on), [from, to]) => {
            let length = number(to, size(on).max).wrapping_sub(number(from, 0));
            list(1.0, Range::fixed(length))
        }
        ("lists_range", None, [count]) => list(1.0, Range::fixed(number(count, u64::MAX))),
        ("list_reverse", Some(on), []) => list(1.0, size(on)),
        ("list_flatten", Some(on), []) => list(1.0, size(on)),
        ("list_flatten_int", Some(on), [depth]) => list(number(depth, u64::MAX) as f64, size(on)),
        ("list_distinct", Some(on), []) => list(2.0, size(on).times(size(on))),
        (id, Some(on), []) if id.starts_with("list_") && id.ends_with("_sort") => sorted(id, size(on)),
        (id, Some(_), [keys]) if id.ends_with("_sortByAssociatedKeys") => sorted(id, size(keys)),
        _ => None,
    }
}

fn sorted(overload: &str, size: Range) -> Option<Call> {
    let text = overload.starts_with("list_string_") || overload.starts_with("list_bytes_");
    let factor = if text { 2.0 + TRAVERSAL } else { 2.0 };
    let size = size.times(size);
    Some((size.by(factor).plus(Range::fixed(1 + LIST)), Some(size)))
}

/// The functions of Kubernetes, whose cost goes by their names.
fn of_kubernetes(
    function: &str,
    overload: &str,
    target: Option<&Node<'_>>,
    nodes: &[Node<'_>],
) -> Option<Call> {
    let size = |node: &Node<'_>| node.size.unwrap_or(UNKNOWN);
    let one = Some((Range::fixed(1), None));
    match (function, target, nodes) {
        ("check", ..) => Some((Range::fixed(CHECK), None)),
        (
            "serviceAccount" | "path" | "group" | "resource" | "subresource" | "namespace" | "name"
            | "allowed" | "reason" | "error" | "errored",
            ..,
        ) => one,
        ("fieldSelector" | "labelSelector", _, [text]) => {
            let length = size(text);
            let requirements = length.by(0.5).by((LIST + STRUCT) as f64);
            Some((Range::fixed(LIST).plus(length.by(TRAVERSAL)).plus(requirements), None))
        }
        ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(on), _) => {
            let Some(element) = element(on) else {
                return Some((size(on).by(TRAVERSAL), None));
            };
            let mut each = Range::fixed(1);
            if matches!(element.ty, Type::String | Type::Bytes) {
                each = each.plus(size(&element).by(TRAVERSAL));
            }
            Some((size(on).times(each), None))
        }
        ("url" | "jsonpatch.escapeKey", _, [text]) => {
            let size = size(text);
            Some((size.by(TRAVERSAL), Some(size)))
        }
        ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(on), _) => {
            let size = size(on);
            Some((size.by(TRAVERSAL), Some(size)))
        }
        ("replace", Some(on), [old, new, ..]) => {
            let (text, old, new) = (size(on), size(old), size(new));
            Some((text.by(2.0 * TRAVERSAL), Some(replaced(text, old, new))))
        }
        ("split", Some(on), _) => {
            let size = size(on);
            let most = nodes.get(1).and_then(|most| most.literal).map_or(size.max, |most| most as u64);
            Some((size.by(2.0 * TRAVERSAL), Some(Range::from_to(0, most))))
        }
        ("join", Some(on), _) => {
            let count = size(on);
            let mut result = element(on).map_or(Range::default(), |element| count.times(size(&element)));
            if let Some(separator) = nodes.first() {
                let between = Range::from_to(count.min.saturating_sub(1), count.max.saturating_sub(1));
                result = result.plus(size(separator).times(between));
            }
            Some((result.by(TRAVERSAL), Some(result)))
        }
        ("find" | "findAll", Some(on), [pattern, ..]) => {
            let size_on = size(on);
            let text = size_on.plus(Range::fixed(1)).by(TRAVERSAL);
            let pattern = size(pattern).by(PATTERN);
            Some((text.times(pattern), Some(Range::from_to(0, size_on.max))))
        }
        ("ip", ..) if overload == "cidr_ip" => one,
        (
            "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver",
            _,
            [text, ..],
        ) => Some((size(text).by(TRAVERSAL), None)),
        ("ip.isCanonical", _, [text, ..]) => Some((size(text).by(2.0 * TRAVERSAL), None)),
        ("containsIP", _, [other, ..]) => {
            let address = Range::from_to(4, 16);
            let mut cost = address.plus(address).by(TRAVERSAL);
            if overload == "cidr_contains_ip_string" {
                cost = cost.plus(size(other).by(TRAVERSAL));
            }
            Some((cost, None))
        }
        ("containsCIDR", _, [other, ..]) => {
            let address = Range::from_to(4, 16);
            let compared = address.plus(address).by(TRAVERSAL);
            let mut cost = compared.plus(address.by(TRAVERSAL)).plus(Range::fixed(1));
            if overload == "cidr_contains_cidr_string" {
                cost = cost.plus(size(other).by(TRAVERSAL));
            }
            Some((cost, None))
        }
        ("validate", _, [text, ..]) => Some((size(text).by(TRAVERSAL).by(FORMAT_PATTERN * PATTERN), None)),
        (
            "masked"
            | "prefixLength"
            | "family"
            | "isUnspecified"
            | "isLoopback"
            | "isLinkLocalMulticast"
            | "isLinkLocalUnicast"
            | "isGlobalUnicast"
            | "format.named"
            | "sign"
            | "asInteger"
            | "isInteger"
            | "asApproximateFloat"
            | "isGreaterThan"
            | "isLessThan"
            | "compareTo"
            | "add"
            | "sub"
            | "major"
            | "minor"
            | "patch"
            | "getScheme"
            | "getHostname"
            | "getHost"
            | "getPort"
            | "getEscapedPath"
            | "getQuery",
            ..,
        ) => one,
        ("_==_", _, [left, right]) if left.ty == right.ty => match left.ty.name() {
            "net.IP" | "net.CIDR" | "kubernetes.Quantity" | "kubernetes.Semver" => one,
            name if name.starts_with("kubernetes.authorization.") => one,
            "kubernetes.NamedFormat" => Some((Range::from_to(1, 64).by(TRAVERSAL), None)),
            "kubernetes.URL" => {
                let most = right.size.map_or(1, |size| size.max);
                Some((Range::from_to(1, most).by(TRAVERSAL), None))
            }
            _ => None,
        },
        _ => None,
    }
}

/// An element of a list, of which only type and declaration are known.
fn element<'n>(list: &'n Node<'_>) -> Option<Node<'n>> {
    let ty = list.ty.parameters()?.first()?;
    let declared = list.declared.as_ref().and_then(|of| of.element().cloned());
    let size = declared.as_ref().map(|declared| Range::from_to(0, declared.most));
    Some(Node { ty, declared, size, literal: None })
}

/// How long a text is in which something is replaced.
fn replaced(text: Range, old: Range, new: Range) -> Range {
    let (mut count, mut kept) = (Range::default(), Range::default());
    if old.min == 0 {
        count.max = text.max.saturating_add(1);
        kept.max = text.max;
    } else if new.max <= old.min {
        kept.max = text.max;
    } else {
        count.max = rounded(text.max as f64 / old.min as f64);
    }
    if old.max == 0 {
        count.min = text.min.saturating_add(1);
        kept.min = text.min;
    } else if old.max <= new.min {
        kept.min = text.min;
    } else {
        count.min = rounded(text.min as f64 / old.max as f64);
    }
    count.times(new).plus(kept)
}
