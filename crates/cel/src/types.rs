//! Types of expressions.

use std::fmt;
use std::sync::Arc;

/// The heaviest type that an expression may have, counted in types that it is made of.
pub(crate) const HEAVIEST: u32 = 4096;

/// The type of an expression, a variable or a field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// What could not be typed: it was complained about.
    Error,
    /// Anything, known only when it is evaluated.
    Dyn,
    /// `null`.
    Null,
    /// `true` and `false`.
    Bool,
    /// A signed number of 64 bits.
    Int,
    /// A number of 64 bits without a sign.
    Uint,
    /// A floating-point number.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// A moment.
    Timestamp,
    /// A span of time.
    Duration,
    /// A list of what is in it.
    List(Parameters),
    /// A map: keys, values.
    Map(Parameters),
    /// A message of this name, which has fields.
    Object(Arc<str>),
    /// A type that only functions know, with its parameters.
    Opaque(&'static str, Parameters),
    /// A type as a value, of which type if that is known.
    Type(Parameters),
    /// A type that is still to be found.
    Param(u32),
}

/// Types that another is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Parameters {
    types: Arc<[Type]>,
    weight: u32,
}

impl Parameters {
    pub(crate) fn new(types: impl Into<Arc<[Type]>>) -> Self {
        let types = types.into();
        let weight = types.iter().fold(1_u32, |sum, part| sum.saturating_add(part.weight()));
        Self { types, weight }
    }
}

impl std::ops::Deref for Parameters {
    type Target = [Type];

    fn deref(&self) -> &[Type] {
        &self.types
    }
}

/// The name of optional values' type.
pub(crate) const OPTIONAL: &str = "optional_type";

impl Type {
    /// A list of these.
    pub fn list(element: Type) -> Self {
        Self::List(Parameters::new([element]))
    }

    /// A map from these to those.
    pub fn map(key: Type, value: Type) -> Self {
        Self::Map(Parameters::new([key, value]))
    }

    /// A value of this type or none.
    pub fn optional(value: Type) -> Self {
        Self::Opaque(OPTIONAL, Parameters::new([value]))
    }

    /// The type of a type.
    pub fn of(value: Type) -> Self {
        Self::Type(Parameters::new([value]))
    }

    /// A message.
    pub fn object(name: &str) -> Self {
        Self::Object(name.into())
    }

    pub(crate) fn opaque(name: &'static str) -> Self {
        Self::Opaque(name, Parameters::new([]))
    }

    pub(crate) fn weight(&self) -> u32 {
        self.parameters().map_or(1, |parameters| parameters.weight)
    }

    pub(crate) fn parameters(&self) -> Option<&Parameters> {
        match self {
            Self::List(parameters)
            | Self::Map(parameters)
            | Self::Opaque(_, parameters)
            | Self::Type(parameters) => Some(parameters),
            _ => None,
        }
    }

    /// The same with other parameters.
    pub(crate) fn with(&self, parameters: Vec<Type>) -> Self {
        let parameters = Parameters::new(parameters);
        match self {
            Self::List(_) => Self::List(parameters),
            Self::Map(_) => Self::Map(parameters),
            Self::Opaque(name, _) => Self::Opaque(name, parameters),
            Self::Type(_) => Self::Type(parameters),
            _ => self.clone(),
        }
    }

    /// What is in an optional value.
    pub(crate) fn in_optional(&self) -> Option<&Type> {
        match self {
            Self::Opaque(OPTIONAL, parameters) => parameters.first(),
            _ => None,
        }
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn)
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// Whether all values of it have the same size.
    pub(crate) fn is_scalar(&self) -> bool {
        match self {
            Self::Bool | Self::Double | Self::Duration | Self::Int | Self::Timestamp | Self::Uint => true,
            Self::Opaque(OPTIONAL, parameters) => parameters.first().is_some_and(Self::is_scalar),
            _ => false,
        }
    }

    /// The name of the type as a value, without parameters.
    pub fn name(&self) -> &str {
        match self {
            Self::Error => "!error!",
            Self::Dyn => "dyn",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Duration => "google.protobuf.Duration",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Object(name) => name,
            Self::Opaque(name, _) => name,
            Self::Type(_) => "type",
            Self::Param(_) => "param",
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::Param(number) => write!(f, "_var{number}"),
            _ => {
                f.write_str(self.name())?;
                let Some(parameters) = self.parameters().filter(|parameters| !parameters.is_empty()) else {
                    return Ok(());
                };
                for (index, parameter) in parameters.iter().enumerate() {
                    f.write_str(if index == 0 { "(" } else { ", " })?;
                    parameter.fmt(f)?;
                }
                f.write_str(")")
            }
        }
    }
}

/// Which types stand for which parameters, found so far; what did not fit can be taken back.
#[derive(Debug, Default)]
pub(crate) struct Unifier {
    bound: Vec<Option<Type>>,
    trail: Vec<(u32, Option<Type>)>,
    /// Steps that are left: types may be made that would take for ever.
    steps: u64,
    /// How deep this step is.
    depth: u32,
}

/// How deep types are compared.
const DEEPEST: u32 = 1_000;

impl Unifier {
    pub(crate) fn new(steps: u64) -> Self {
        Self { steps, ..Self::default() }
    }

    /// Whether there was more to do than allowed.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.steps == 0
    }

    /// A parameter that stands for nothing yet.
    pub(crate) fn fresh(&mut self) -> Type {
        Type::Param(self.fresh_range(1))
    }

    /// So many parameters in a row, of which this is the first.
    pub(crate) fn fresh_range(&mut self, count: u32) -> u32 {
        let first = self.bound.len();
        self.bound.resize(first + count as usize, None);
        u32::try_from(first).unwrap_or(u32::MAX)
    }

    fn find(&self, parameter: u32) -> Option<&Type> {
        self.bound.get(parameter as usize)?.as_ref()
    }

    fn bind(&mut self, parameter: u32, to: Type) {
        if let Some(place) = self.bound.get_mut(parameter as usize) {
            self.trail.push((parameter, place.replace(to)));
        }
    }

    /// Whether values of the second types can be used where the first are wanted. If not, nothing is remembered of it.
    pub(crate) fn assignable_all(&mut self, first: &[Type], second: &[Type]) -> bool {
        let mark = self.trail.len();
        let fits = first.len() == second.len()
            && first.iter().zip(second).all(|(first, second)| self.assign(first, second));
        if !fits {
            for (parameter, before) in self.trail.drain(mark..).rev().collect::<Vec<_>>() {
                self.bound[parameter as usize] = before;
            }
        }
        if mark == 0 {
            self.trail.clear();
        }
        fits
    }

    pub(crate) fn assignable(&mut self, first: &Type, second: &Type) -> bool {
        self.assignable_all(std::slice::from_ref(first), std::slice::from_ref(second))
    }

    fn assign(&mut self, first: &Type, second: &Type) -> bool {
        if self.depth == DEEPEST {
            self.steps = 0;
        }
        if self.steps == 0 {
            return false;
        }
        self.steps -= 1;
        self.depth += 1;
        let fits = self.fits(first, second);
        self.depth -= 1;
        fits
    }

    fn fits(&mut self, first: &Type, second: &Type) -> bool {
        if let Type::Param(parameter) = second {
            let (valid, known) = self.stands_for(first, *parameter);
            if valid || known {
                return valid;
            }
        }
        if let Type::Param(parameter) = first {
            return self.stands_for(second, *parameter).0;
        }
        if first.is_dyn_or_error() || second.is_dyn_or_error() {
            return true;
        }
        let nullable = |other: &Type| {
            matches!(
                other,
                Type::Null | Type::Opaque(..) | Type::Object(_) | Type::Duration | Type::Timestamp
            )
        };
        match (first, second) {
            (Type::Null, other) | (other, Type::Null) => nullable(other),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(one), Type::List(two)) | (Type::Map(one), Type::Map(two)) => {
                self.assign_parts(one, two)
            }
            (Type::Opaque(name, one), Type::Opaque(other, two)) => {
                name == other && self.assign_parts(one, two)
            }
            _ => first == second,
        }
    }

    fn assign_parts(&mut self, one: &Parameters, two: &Parameters) -> bool {
        one.len() == two.len() && one.iter().zip(two.iter()).all(|(one, two)| self.assign(one, two))
    }

    /// Whether a parameter can stand for a type, and whether it stood for one already.
    fn stands_for(&mut self, wanted: &Type, parameter: u32) -> (bool, bool) {
        if *wanted == Type::Param(parameter) {
            return (true, true);
        }
        if let Some(found) = self.find(parameter).cloned() {
            if *wanted == found {
                return (true, true);
            }
            if !self.assign(wanted, &found) {
                return (false, true);
            }
            let general = most_general(wanted, &found);
            if self.absent(parameter, &general) {
                self.bind(parameter, general);
            }
            return (true, true);
        }
        if self.absent(parameter, wanted) {
            self.bind(parameter, wanted.clone());
            return (true, false);
        }
        (false, false)
    }

    /// Whether a parameter is nowhere in a type.
    fn absent(&mut self, parameter: u32, within: &Type) -> bool {
        if self.steps == 0 {
            return false;
        }
        self.steps -= 1;
        let mut within = within;
        let mut found;
        while let Type::Param(other) = within {
            if *other == parameter {
                return false;
            }
            match self.find(*other) {
                Some(next) => found = next.clone(),
                None => return true,
            }
            within = &found;
        }
        match within.parameters().cloned() {
            Some(parameters) => parameters.iter().all(|part| self.absent(parameter, part)),
            None => true,
        }
    }

    /// The type with parameters replaced by what they stand for; those that stand for nothing become `dyn` if so
    /// wanted. What would become too heavy is `dyn` as well.
    pub(crate) fn resolve(&self, wanted: &Type, to_dyn: bool) -> Type {
        let mut wanted = wanted;
        while let Type::Param(parameter) = wanted {
            match self.find(*parameter) {
                Some(found) => wanted = found,
                None => return if to_dyn { Type::Dyn } else { wanted.clone() },
            }
        }
        let Some(parameters) = wanted.parameters().filter(|parameters| !parameters.is_empty()) else {
            return wanted.clone();
        };
        let mut parts = Vec::with_capacity(parameters.len());
        let mut weight = 0_u32;
        for part in parameters.iter() {
            let part = self.resolve(part, to_dyn);
            weight = weight.saturating_add(part.weight());
            if weight > HEAVIEST {
                return Type::Dyn;
            }
            parts.push(part);
        }
        wanted.with(parts)
    }
}

/// Which of two types that fit each other says less.
pub(crate) fn most_general(one: &Type, two: &Type) -> Type {
    if says_less(one, two) { one.clone() } else { two.clone() }
}

fn says_less(one: &Type, two: &Type) -> bool {
    match (one, two) {
        (Type::Dyn | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Param(_)) => false,
        (Type::Type(_), Type::Type(_)) => true,
        (Type::List(one), Type::List(two)) | (Type::Map(one), Type::Map(two)) => all_say_less(one, two),
        (Type::Opaque(name, one), Type::Opaque(other, two)) => name == other && all_say_less(one, two),
        _ => one == two,
    }
}

fn all_say_less(one: &Parameters, two: &Parameters) -> bool {
    one.len() == two.len() && one.iter().zip(two.iter()).all(|(one, two)| says_less(one, two))
}
