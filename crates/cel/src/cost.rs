//! What expressions cost, in Kubernetes' units: as calls are made, and beforehand, by what is declared about sizes.
//!
//! Both follow Kubernetes 1.36 closely, since the estimate decides whether a definition is accepted and the real
//! cost whether an object is.

mod estimate;

pub use estimate::CostEstimate;
pub(crate) use estimate::estimate;

use crate::budget::Budget;
use crate::library::Other;
use crate::value::{EvalError, Map, Object, Value};

/// Looking at a variable or a field.
pub(crate) const SELECT: u64 = 1;
/// Making a list, a map, an object.
pub(crate) const LIST: u64 = 10;
pub(crate) const MAP: u64 = 30;
pub(crate) const STRUCT: u64 = 40;
/// Going through a text, for each character.
pub(crate) const TRAVERSAL: f64 = 0.1;
/// Each character of a pattern.
pub(crate) const PATTERN: f64 = 0.25;
/// Asking what somebody may do: two questions are affordable.
pub(crate) const CHECK: u64 = 350_000;
/// How long patterns of named formats are at most.
pub(crate) const FORMAT_PATTERN: f64 = 128.0;

/// How the cost of a call is counted when it is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CallCost {
    /// So much.
    Fixed(u64),
    /// Parsing a selector.
    Selector,
    /// Looking at all of the first argument, whatever is in it.
    Scan,
    /// Going through the first argument so many times.
    Traverse(f64),
    /// Going twice through the result.
    Result,
    /// A pattern and a text, the second argument and the first.
    Pattern,
    /// A named format, which stands for a pattern.
    Validate,
    /// A text in a text.
    Contains,
    /// Each element of the second argument.
    InList,
    /// The smaller of both.
    Compare,
    /// As [`CallCost::Compare`], but values that only functions know cost 1.
    Equal,
    /// Both.
    Concatenate,
    /// An address in a range; whether it is text first.
    ContainsIp(bool),
    /// A range in a range; whether it is text first.
    ContainsCidr(bool),
    /// Each element with each of the other, so many times.
    Sets(f64),
    /// A list as long as the result.
    ListOfResult,
    /// A list of lists, and how deep.
    Flatten,
    /// Each element of an argument with each other.
    SelfCompare(usize),
}

impl CallCost {
    /// How a call is counted; `overload` is empty if which one it is shows only when it is called.
    pub(crate) fn of(function: &str, overload: &str) -> Self {
        match overload {
            "list_sets_contains_list" | "list_sets_intersects_list" => return Self::Sets(1.0),
            "list_sets_equivalent_list" => return Self::Sets(2.0),
            "list_slice" | "lists_range" | "list_reverse" => return Self::ListOfResult,
            "list_flatten" | "list_flatten_int" => return Self::Flatten,
            "list_distinct" => return Self::SelfCompare(0),
            id if id.ends_with("_sortByAssociatedKeys") => return Self::SelfCompare(1),
            id if id.ends_with("_sort") => return Self::SelfCompare(0),
            _ => {}
        }
        match function {
            "check" => Self::Fixed(CHECK),
            "fieldSelector" | "labelSelector" => Self::Selector,
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => Self::Scan,
            "url"
            | "lowerAscii"
            | "upperAscii"
            | "substring"
            | "trim"
            | "jsonpatch.escapeKey"
            | "cidr"
            | "isIP"
            | "isCIDR"
            | "quantity"
            | "isQuantity"
            | "semver"
            | "isSemver" => Self::Traverse(1.0),
            "replace" | "split" | "ip.isCanonical" => Self::Traverse(2.0),
            "join" => Self::Result,
            "find" | "findAll" => Self::Pattern,
            "ip" if overload == "cidr_ip" => Self::Fixed(1),
            "ip" => Self::Traverse(1.0),
            "containsIP" => Self::ContainsIp(overload == "cidr_contains_ip_string"),
            "containsCIDR" => Self::ContainsCidr(overload == "cidr_contains_cidr_string"),
            "validate" => Self::Validate,
            "_==_" => Self::Equal,
            "_!=_" => Self::Compare,
            _ => match overload {
                "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string"
                | "strings_quote" | "string_format" => Self::Traverse(1.0),
                "in_list" => Self::InList,
                "less_string"
                | "greater_string"
                | "less_equals_string"
                | "greater_equals_string"
                | "less_bytes"
                | "greater_bytes"
                | "less_equals_bytes"
                | "greater_equals_bytes" => Self::Compare,
                "add_string" | "add_bytes" => Self::Concatenate,
                "matches_string" => Self::Pattern,
                "contains_string" => Self::Contains,
                _ => Self::Fixed(1),
            },
        }
    }

    /// Whether it is known before the call, so that it need not be made if it costs too much.
    pub(crate) fn is_known_before(self) -> bool {
        !matches!(self, Self::Result | Self::ListOfResult)
    }

    /// What a call costs with these arguments. The result is looked at only where it must be.
    pub(crate) fn count(
        self,
        arguments: &[Value<'_>],
        result: Option<&Value<'_>>,
        budget: &mut Budget,
    ) -> Result<u64, EvalError> {
        let size = |index: usize| arguments.get(index).map_or(1, Value::size);
        let pattern = |text: u64, pattern: u64| {
            rounded((1.0 + text as f64) * TRAVERSAL).saturating_mul(rounded(pattern as f64 * PATTERN))
        };
        let list = |elements: f64| 1 + LIST + elements as u64;
        Ok(match self {
            Self::Fixed(cost) => cost,
            Self::Selector => selector(size(1)),
            Self::Scan => match arguments.first() {
                Some(value) => scan(value, budget)?,
                None => 0,
            },
            Self::Traverse(times) => rounded(size(0) as f64 * times * TRAVERSAL),
            Self::Result => rounded(result.map_or(0, Value::size) as f64 * 2.0 * TRAVERSAL),
            Self::Pattern => pattern(size(0), size(1)),
            Self::Validate => match arguments.first() {
                Some(Value::Other(Other::Format(format))) => pattern(size(1), format.pattern),
                _ => 1,
            },
            Self::Contains => {
                rounded(size(0) as f64 * TRAVERSAL).saturating_mul(rounded(size(1) as f64 * TRAVERSAL))
            }
            Self::InList => size(1),
            Self::Compare => rounded(size(0).min(size(1)) as f64 * TRAVERSAL),
            Self::Equal => match arguments.first() {
                Some(Value::Other(_)) => 1,
                _ => rounded(size(0).min(size(1)) as f64 * TRAVERSAL),
            },
            Self::Concatenate => rounded((size(0) + size(1)) as f64 * TRAVERSAL),
            Self::ContainsIp(text) => {
                let read = if text { rounded(size(1) as f64 * TRAVERSAL) } else { 0 };
                rounded(2.0 * size(0) as f64 * TRAVERSAL) + read
            }
            Self::ContainsCidr(text) => {
                let read = if text { rounded(size(1) as f64 * TRAVERSAL) } else { 0 };
                rounded(2.0 * size(0) as f64 * TRAVERSAL) + rounded(size(0) as f64 * TRAVERSAL) + 1 + read
            }
            Self::Sets(times) => 1 + (size(0).saturating_mul(size(1)) as f64 * times) as u64,
            Self::ListOfResult => list(result.map_or(0, Value::size) as f64),
            Self::Flatten => {
                let depth = match arguments.get(1) {
                    Some(Value::Int(depth)) => *depth as f64,
                    _ => 1.0,
                };
                list((size(0) as f64 * depth).max(0.0))
            }
            Self::SelfCompare(index) => {
                let elements = size(index) as f64;
                let text = matches!(arguments.get(index), Some(Value::List(values))
                    if !values.is_empty() && matches!(values.get(0), Ok(Value::String(_) | Value::Bytes(_))));
                let each = if text { 2.0 + TRAVERSAL } else { 2.0 };
                list(elements * elements * each)
            }
        })
    }
}

/// The next whole number.
pub(crate) fn rounded(cost: f64) -> u64 {
    cost.ceil() as u64
}

/// What parsing a selector of that length costs.
pub(crate) fn selector(length: u64) -> u64 {
    let requirements = rounded(length as f64 * 0.5);
    LIST + rounded(length as f64 * TRAVERSAL) + requirements.saturating_mul(LIST + STRUCT)
}

/// What looking at everything in a value costs. What is shared in many places is looked at so often, which is work.
fn scan(value: &Value<'_>, budget: &mut Budget) -> Result<u64, EvalError> {
    budget.work(8)?;
    Ok(match value {
        Value::String(text) => (text.len() as f64 * TRAVERSAL) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * TRAVERSAL) as u64,
        Value::List(list) => {
            let mut cost = 0_u64;
            for element in list.iter() {
                let element = match element {
                    Ok(element) => scan(&element, budget)?,
                    Err(_) => 1,
                };
                cost = cost.saturating_add(element);
            }
            cost
        }
        Value::Map(map) => scan_map(map, budget)?,
        Value::Object(Object::Json(fields, _)) => scan_map(&Map::Json(fields, None), budget)?,
        _ => 1,
    })
}

fn scan_map(map: &Map<'_>, budget: &mut Budget) -> Result<u64, EvalError> {
    budget.work(map.len().saturating_mul(16))?;
    let mut cost = 0_u64;
    for (key, value) in map.entries().iter() {
        let value = match value {
            Ok(value) => scan(value, budget)?,
            Err(_) => 1,
        };
        cost = cost.saturating_add(scan(key, budget)?).saturating_add(value);
    }
    Ok(cost)
}
