//! What the fields of a kind mean: types, list types and keys, merge strategies.
//!
//! The built-in kinds come from a table that `cargo xtask codegen schema` makes from the published
//! Kubernetes definitions; it is read once, on first use. Custom kinds make their own [`Definitions`]
//! through [`Builder`]. All that follows (decoding, pruning, merging, OpenAPI) sees no difference.
//!
//! Two sets of keys live side by side, since Kubernetes' two merges differ: [`ListKind`] is what
//! server-side apply goes by, [`Patch`] what strategic merge patch goes by.

mod table;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::gvk::GroupVersionKind;
use crate::structural::Structural;

/// The type of one kind, with all types that it refers to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Schema {
    definitions: Arc<Definitions>,
    root: TypeId,
    structural: Option<Arc<Structural>>,
}

/// The definition of the metadata of all objects.
pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// A type inside a schema: what tree walks carry along.
#[derive(Clone, Copy, Debug)]
pub struct TypeRef<'a> {
    definitions: &'a Definitions,
    id: TypeId,
}

/// A set of types that refer to each other.
#[derive(Debug, Default)]
pub struct Definitions {
    types: Vec<Type>,
    structs: Vec<Struct>,
    names: HashMap<Cow<'static, str>, StructId>,
    kinds: HashMap<GroupVersionKind, StructId>,
}

/// A type.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Anything at all, `null` included.
    Any,
    /// Anything; what it is follows from the value: fields of objects stand for themselves, lists are one value.
    Deduced,
    /// A type of the built-in definitions. Nobody who looks for a type finds this one, but the one that is meant.
    Elsewhere(TypeId),
    /// An object of whatever fields, kept as it is.
    Raw(Raw),
    /// A value without parts.
    Scalar(Scalar),
    /// An object of known fields.
    Struct {
        /// Which fields.
        id: StructId,
        /// Whether server-side apply takes it as one value.
        atomic: bool,
    },
    /// An object of any fields, all of one type.
    Map {
        /// The type of the values.
        values: TypeId,
        /// Whether server-side apply takes it as one value.
        atomic: bool,
    },
    /// A list.
    List {
        /// The type of the items.
        items: TypeId,
        /// How server-side apply tells its items apart.
        kind: ListKind,
    },
}

/// Objects of whatever fields; they differ in name only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raw {
    /// `runtime.RawExtension`: an embedded object.
    Extension,
    /// `metav1.FieldsV1`: a set of fields.
    Fields,
}

/// Values without parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// A text.
    String,
    /// Bytes, written in base64.
    Bytes,
    /// A moment to the second.
    Time,
    /// A moment to the microsecond.
    MicroTime,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A floating-point number.
    Number,
    /// True or false.
    Boolean,
    /// A whole number or a text such as `25%`.
    IntOrString,
    /// An amount of a resource.
    Quantity,
}

/// How server-side apply tells the items of a list apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Not at all: the list is one value.
    Atomic,
    /// By value; each occurs once.
    Set,
    /// By the values of these fields.
    Map(Box<[Cow<'static, str>]>),
}

/// An object type of known fields.
#[derive(Debug, Default)]
pub struct Struct {
    /// The definition's name in OpenAPI, such as `io.k8s.api.core.v1.Pod`; empty for a nameless type.
    pub name: Cow<'static, str>,
    /// Whether unknown fields are kept instead of pruned.
    pub preserve_unknown: bool,
    /// Whether server-side apply takes it as one value, unless the field says otherwise.
    pub atomic: bool,
    /// The kinds that have this type.
    pub kinds: Vec<GroupVersionKind>,
    /// The fields, sorted by name.
    pub fields: Vec<Field>,
}

/// A field of a [`Struct`].
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its type.
    pub ty: TypeId,
    /// Whether the definitions call it required. Built-in kinds enforce that in [`crate::validate`].
    pub required: bool,
    /// Whether `null` is a value of its own. Where not, as in all built-in kinds, it means absent.
    pub nullable: bool,
    /// What few fields have.
    pub extra: Option<Box<FieldExtra>>,
}

/// What few fields have.
#[derive(Debug, Default)]
pub struct FieldExtra {
    /// How strategic merge patch treats it.
    pub patch: Patch,
    /// The value that stands for an absent key of a list item.
    pub default: Option<Value>,
}

/// How strategic merge patch treats a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// Whether a list is merged rather than replaced.
    pub merge: bool,
    /// Whether fields that the patch does not name are dropped (`retainKeys`).
    pub retain_keys: bool,
    /// Whether an object is replaced rather than merged.
    pub replace: bool,
    /// The field by which items of a merged list are told apart; [`None`] for lists of scalars.
    pub key: Option<Cow<'static, str>>,
}

/// Names a [`Type`] inside its [`Definitions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(u32);

/// Names a [`Struct`] inside its [`Definitions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StructId(u32);

/// Makes [`Definitions`], for kinds that are not built in.
#[derive(Debug, Default)]
pub struct Builder {
    definitions: Definitions,
}

/// All built-in definitions.
pub fn builtin_definitions() -> &'static Arc<Definitions> {
    static BUILTIN: LazyLock<Arc<Definitions>> = LazyLock::new(|| Arc::new(table::builtin()));
    &BUILTIN
}

/// The schema of a built-in kind.
pub fn builtin(kind: &GroupVersionKind) -> Option<Schema> {
    let definitions = builtin_definitions();
    let id = *definitions.kinds.get(kind)?;
    Some(Schema { definitions: definitions.clone(), root: definitions.struct_type(id), structural: None })
}

impl Schema {
    /// The type of the whole object.
    pub fn root(&self) -> TypeRef<'_> {
        TypeRef { definitions: &self.definitions, id: self.root }
    }

    /// The type under a chain of field names; list and map levels are passed by `*`.
    pub fn at(&self, path: &[&str]) -> Option<TypeRef<'_>> {
        path.iter().try_fold(self.root(), |ty, name| match ty.get() {
            Type::Map { .. } | Type::List { .. } => ty.element(),
            _ => Some(ty.field(name)?.1),
        })
    }

    /// All types of the schema.
    pub fn definitions(&self) -> &Arc<Definitions> {
        &self.definitions
    }

    /// What a definition says of a custom kind, beside the types.
    pub fn structural(&self) -> Option<&Arc<Structural>> {
        self.structural.as_ref()
    }

    /// The same types, of a custom kind of which a definition says this.
    #[must_use]
    pub fn custom(self, structural: Arc<Structural>) -> Self {
        Self { structural: Some(structural), ..self }
    }

    /// Whether the schema has strategic merge keys: those of built-in kinds have.
    pub fn is_builtin(&self) -> bool {
        Arc::ptr_eq(&self.definitions, builtin_definitions())
    }
}

impl<'a> TypeRef<'a> {
    /// The type itself.
    pub fn get(self) -> &'a Type {
        &self.definitions.types[self.id.0 as usize]
    }

    /// The fields, if it has known ones.
    pub fn structure(self) -> Option<&'a Struct> {
        match self.get() {
            Type::Struct { id, .. } => Some(self.definitions.structure(*id)),
            _ => None,
        }
    }

    /// A known field by name, with its type.
    pub fn field(self, name: &str) -> Option<(&'a Field, TypeRef<'a>)> {
        let field = self.structure()?.field(name)?;
        Some((field, self.of(field.ty)))
    }

    /// What a field of that name holds: a known field's type, or a map's values.
    pub fn child(self, name: &str) -> Option<TypeRef<'a>> {
        match self.get() {
            Type::Map { values, .. } => Some(self.of(*values)),
            _ => Some(self.field(name)?.1),
        }
    }

    /// The type of a list's items or a map's values.
    pub fn element(self) -> Option<TypeRef<'a>> {
        match self.get() {
            Type::Map { values, .. } => Some(self.of(*values)),
            Type::List { items, .. } => Some(self.of(*items)),
            _ => None,
        }
    }

    /// Another type of the same definitions.
    pub fn of(self, id: TypeId) -> TypeRef<'a> {
        match self.definitions.types[id.0 as usize] {
            Type::Elsewhere(id) => TypeRef { definitions: builtin_definitions(), id },
            _ => TypeRef { definitions: self.definitions, id },
        }
    }

    /// Whether it is one of the built-in definitions.
    pub fn is_builtin(self) -> bool {
        std::ptr::eq(self.definitions, Arc::as_ptr(builtin_definitions()))
    }
}

impl Definitions {
    /// A struct by its OpenAPI name.
    pub fn by_name(&self, name: &str) -> Option<&Struct> {
        Some(self.structure(*self.names.get(name)?))
    }

    /// The type of a struct by its OpenAPI name.
    pub fn type_of(&self, name: &str) -> Option<TypeRef<'_>> {
        Some(self.get(self.struct_type(*self.names.get(name)?)))
    }

    /// A type by its id.
    pub fn get(&self, id: TypeId) -> TypeRef<'_> {
        TypeRef { definitions: self, id }
    }

    /// A struct by its id.
    pub fn structure(&self, id: StructId) -> &Struct {
        &self.structs[id.0 as usize]
    }

    /// All structs.
    pub fn structs(&self) -> impl Iterator<Item = &Struct> {
        self.structs.iter()
    }

    /// All kinds.
    pub fn kinds(&self) -> impl Iterator<Item = &GroupVersionKind> {
        self.kinds.keys()
    }

    /// The plain (not overridden) type of a struct: made first, so its place is known.
    fn struct_type(&self, id: StructId) -> TypeId {
        TypeId(id.0)
    }
}

impl Struct {
    /// A field by name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let at = self.fields.binary_search_by(|field| field.name.as_ref().cmp(name)).ok()?;
        Some(&self.fields[at])
    }
}

impl Field {
    /// How strategic merge patch treats it.
    pub fn patch(&self) -> &Patch {
        static NONE: Patch = Patch { merge: false, retain_keys: false, replace: false, key: None };
        self.extra.as_ref().map_or(&NONE, |extra| &extra.patch)
    }

    /// The value that stands for its absence in a list item's key.
    pub fn default(&self) -> Option<&Value> {
        self.extra.as_ref()?.default.as_ref()
    }
}

impl Builder {
    /// Declares so many structs, to be filled in by [`Builder::define`]: they may refer to each other.
    pub fn with_structs(count: u32) -> Self {
        let mut definitions = Definitions::default();
        for id in 0..count {
            definitions.structs.push(Struct::default());
            definitions.types.push(Type::Struct { id: StructId(id), atomic: false });
        }
        Self { definitions }
    }

    /// The type of a declared struct.
    pub fn struct_type(&self, index: u32) -> TypeId {
        TypeId(index)
    }

    /// The type of the metadata of all objects.
    pub fn object_meta(&mut self) -> TypeId {
        let id = builtin_definitions().names.get(OBJECT_META).map(|id| TypeId(id.0));
        self.add(id.map_or(Type::Deduced, Type::Elsewhere))
    }

    /// Adds a type, or finds an equal one.
    pub fn add(&mut self, ty: Type) -> TypeId {
        let types = &mut self.definitions.types;
        // Structs' own types stand first and are found by id, not by looking.
        let start = self.definitions.structs.len();
        let at = types[start..].iter().position(|known| *known == ty).map(|at| at + start);
        let at = at.unwrap_or_else(|| {
            types.push(ty);
            types.len() - 1
        });
        TypeId(at as u32)
    }

    /// Fills in a declared struct.
    pub fn define(&mut self, index: u32, mut definition: Struct) {
        definition.fields.sort_by(|a, b| a.name.cmp(&b.name));
        let id = StructId(index);
        self.definitions.types[index as usize] = Type::Struct { id, atomic: definition.atomic };
        if !definition.name.is_empty() {
            self.definitions.names.insert(definition.name.clone(), id);
        }
        for kind in &definition.kinds {
            self.definitions.kinds.insert(kind.clone(), id);
        }
        self.definitions.structs[index as usize] = definition;
    }

    /// The definitions, complete.
    pub fn finish(self) -> Arc<Definitions> {
        Arc::new(self.definitions)
    }

    /// A schema whose root is a declared struct.
    pub fn schema(self, root: u32) -> Schema {
        Schema { definitions: self.finish(), root: TypeId(root), structural: None }
    }
}

#[cfg(test)]
mod tests;
