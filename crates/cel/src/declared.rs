//! What is declared about data: its type, its fields, and how large it can be.
//!
//! A [`Declared`] is made from an OpenAPI schema ([`schema`](crate::schema)) or by hand. It gives an expression
//! its types, tells the estimate of costs how many elements, characters or entries there can be, and says how
//! JSON is read: which text is a moment, which list is a set.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::types::Type;

/// What is declared about a piece of data.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    pub(crate) shape: Shape,
    /// How many characters, elements or entries it can have; 0 where that is not meant.
    pub(crate) most: u64,
    /// How few bytes of JSON it can have.
    pub(crate) least_json: u64,
    /// Whether `null` stands for itself.
    pub(crate) nullable: bool,
}

/// What sort of data it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Dyn,
    IntOrString,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    /// A type that only functions know, or one without anything declared.
    Other(Type),
    List(Arc<Declared>, ListKind),
    Map(Arc<Declared>),
    Object(Arc<ObjectShape>),
}

/// How elements of a list are told from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    /// By where they stand.
    Atomic,
    /// They are what they are; their order means nothing.
    Set,
    /// By these fields.
    Map(Arc<[Arc<str>]>),
}

/// An object with fields.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectShape {
    pub(crate) name: Arc<str>,
    /// By the names that expressions say.
    pub(crate) fields: BTreeMap<Arc<str>, Field>,
}

/// A field of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name in JSON.
    pub(crate) json: Arc<str>,
    pub(crate) declared: Arc<Declared>,
}

impl ObjectShape {
    /// What is declared about a field, by its name in JSON.
    pub(crate) fn field_of_json(&self, name: &str) -> Option<&Field> {
        let plain = self.fields.get(name).filter(|field| *field.json == *name);
        plain.or_else(|| self.fields.get(&*crate::escape::escape(name)?).filter(|field| *field.json == *name))
    }
}

impl Declared {
    pub(crate) fn new(shape: Shape, most: u64, least_json: u64) -> Self {
        Self { shape, most, least_json, nullable: false }
    }

    /// Data of this type, about which nothing else is known.
    pub fn of(ty: Type) -> Self {
        let shape = match ty {
            Type::Dyn => Shape::Dyn,
            Type::Bool => Shape::Bool,
            Type::Int => Shape::Int,
            Type::Uint => Shape::Uint,
            Type::Double => Shape::Double,
            Type::String => Shape::String,
            Type::Bytes => Shape::Bytes,
            Type::Timestamp => Shape::Timestamp,
            Type::Duration => Shape::Duration,
            Type::List(of) => Shape::List(Arc::new(Self::of(of[0].clone())), ListKind::Atomic),
            Type::Map(of) => Shape::Map(Arc::new(Self::of(of[1].clone()))),
            other => Shape::Other(other),
        };
        Self::new(shape, 0, 1)
    }

    /// An object of this type's name with these fields, by the names that expressions say.
    pub fn object(name: &str, fields: impl IntoIterator<Item = (&'static str, Arc<Declared>)>) -> Self {
        let fields = fields
            .into_iter()
            .map(|(name, declared)| (Arc::from(name), Field { json: name.into(), declared }))
            .collect();
        Self::new(Shape::Object(Arc::new(ObjectShape { name: name.into(), fields })), 0, 2)
    }

    /// The type that expressions see.
    pub fn ty(&self) -> Type {
        match &self.shape {
            Shape::Dyn | Shape::IntOrString => Type::Dyn,
            Shape::Bool => Type::Bool,
            Shape::Int => Type::Int,
            Shape::Uint => Type::Uint,
            Shape::Double => Type::Double,
            Shape::String => Type::String,
            Shape::Bytes => Type::Bytes,
            Shape::Timestamp => Type::Timestamp,
            Shape::Duration => Type::Duration,
            Shape::Other(ty) => ty.clone(),
            Shape::List(element, _) => Type::list(element.ty()),
            Shape::Map(value) => Type::map(Type::String, value.ty()),
            Shape::Object(object) => Type::Object(object.name.clone()),
        }
    }

    /// How few bytes it takes as JSON: how often it can be in a request follows from that.
    pub fn least_json(&self) -> u64 {
        self.least_json
    }

    /// What is declared about elements of a list or values of a map.
    pub fn element(&self) -> Option<&Arc<Declared>> {
        match &self.shape {
            Shape::List(element, _) | Shape::Map(element) => Some(element),
            _ => None,
        }
    }

    /// What is declared about a field, by the name that expressions say.
    pub fn field(&self, name: &str) -> Option<&Arc<Declared>> {
        match &self.shape {
            Shape::Object(object) => object.fields.get(name).map(|field| &field.declared),
            _ => None,
        }
    }

    /// Calls for each object in it, itself included.
    pub(crate) fn objects(self: &Arc<Self>, each: &mut impl FnMut(&Arc<ObjectShape>)) {
        match &self.shape {
            Shape::Object(object) => {
                each(object);
                object.fields.values().for_each(|field| field.declared.objects(each));
            }
            Shape::List(element, _) | Shape::Map(element) => element.objects(each),
            _ => {}
        }
    }

    /// The same with names for the objects in it that have none: that of the place where they are.
    #[must_use]
    pub fn named(self: &Arc<Self>, name: &str) -> Arc<Self> {
        let shape = match &self.shape {
            Shape::Object(object) => {
                let own: Cow<'_, str> =
                    if &*object.name == "object" { name.into() } else { (&*object.name).into() };
                let fields = object
                    .fields
                    .iter()
                    .map(|(field, of)| {
                        let declared = of.declared.named(&format!("{own}.{field}"));
                        (field.clone(), Field { json: of.json.clone(), declared })
                    })
                    .collect();
                Shape::Object(Arc::new(ObjectShape { name: own.as_ref().into(), fields }))
            }
            Shape::Map(value) => Shape::Map(value.named(&format!("{name}.@elem"))),
            Shape::List(element, kind) => Shape::List(element.named(&format!("{name}.@idx")), kind.clone()),
            _ => return self.clone(),
        };
        Arc::new(Self { shape, ..Self::clone(self) })
    }
}
