//! What an expression may speak of: variables, their types, and which libraries there are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::structural::PatternRoom;

use crate::ast::{Ast, Id, Kind, Literal, operator};
use crate::checker::{self, Reference};
use crate::cost::{self, CostEstimate};
use crate::declared::{Declared, ObjectShape};
use crate::parser;
use crate::program::{Program, ProgramError};
use crate::source::Issues;
use crate::types::Type;
use crate::validators;

/// The variables of an expression and what is declared about them.
///
/// All functions of Kubernetes' environment are there. Variables get their numbers in the order in which they are
/// declared; a variable whose name has points in it (`variables.replicas`) is meant by that selection.
///
/// Another variable costs no more than itself, however many there are: what was compiled keeps of the environment
/// only the variables that it speaks of.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub(crate) variables: Vec<Variable>,
    pub(crate) by_name: HashMap<Arc<str>, usize>,
    pub(crate) objects: Arc<HashMap<Arc<str>, Arc<ObjectShape>>>,
    pub(crate) mutation: bool,
}

/// A variable.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub(crate) name: Arc<str>,
    pub(crate) ty: Type,
    pub(crate) declared: Option<Arc<Declared>>,
}

/// An expression that was parsed and whose types are right.
#[derive(Clone, Debug)]
pub struct Checked {
    pub(crate) ast: Ast,
    pub(crate) types: Vec<Type>,
    pub(crate) references: Vec<Reference>,
    pub(crate) locals: usize,
    /// The variables that it speaks of, by their numbers.
    pub(crate) variables: BTreeMap<usize, Variable>,
}

impl Environment {
    /// Nothing but the functions.
    pub fn new() -> Self {
        Self::default()
    }

    /// With what a mutation makes: objects of any fields (`Object{spec: Object.spec{…}}`) and `JSONPatch`.
    #[must_use]
    pub fn with_mutation(mut self) -> Self {
        self.mutation = true;
        self
    }

    /// With a variable of this type. Of two with the same name the second counts.
    #[must_use]
    pub fn with_variable(self, name: &str, ty: Type) -> Self {
        self.add(name, ty, None)
    }

    /// With a variable about whose data that is declared. Objects in it must have names
    /// ([`Declared::named`]).
    #[must_use]
    pub fn with_declared(self, name: &str, declared: &Arc<Declared>) -> Self {
        self.with_types(declared).add(name, declared.ty(), Some(declared.clone()))
    }

    /// With a variable that may be absent.
    #[must_use]
    pub fn with_optional(self, name: &str, declared: &Arc<Declared>) -> Self {
        self.with_types(declared).add(name, Type::optional(declared.ty()), Some(declared.clone()))
    }

    fn with_types(mut self, declared: &Arc<Declared>) -> Self {
        let objects = Arc::make_mut(&mut self.objects);
        declared.objects(&mut |object| {
            objects.insert(object.name.clone(), object.clone());
        });
        self
    }

    fn add(mut self, name: &str, ty: Type, declared: Option<Arc<Declared>>) -> Self {
        let name: Arc<str> = name.into();
        self.by_name.insert(name.clone(), self.variables.len());
        self.variables.push(Variable { name, ty, declared });
        self
    }

    /// The number of a variable.
    pub fn variable(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The type of a variable.
    pub fn variable_type(&self, name: &str) -> Option<&Type> {
        Some(&self.variables[self.variable(name)?].ty)
    }

    /// Reads an expression and checks its types.
    pub fn compile(&self, source: &str) -> Result<Checked, Issues> {
        let ast = parser::parse(source)?;
        let mut issues = Issues::new(source);
        let checker::Outcome { ast, types, references, locals } = checker::check(self, ast, &mut issues);
        if issues.is_empty() {
            validators::validate(&ast, &types, &references, &mut issues);
        }
        let variables = references
            .iter()
            .filter_map(|reference| match reference {
                Reference::Variable(number) => Some((*number, self.variables[*number].clone())),
                _ => None,
            })
            .collect();
        issues.into_result(Checked { ast, types, references, locals, variables })
    }
}

impl Checked {
    /// The type of what it comes to.
    pub fn output(&self) -> &Type {
        &self.types[self.ast.root as usize]
    }

    /// Whether it speaks of a variable.
    pub fn uses(&self, name: &str) -> bool {
        self.variables.values().any(|variable| *variable.name == *name)
    }

    /// Whether it selects this field of this variable: `claims.email`, `has(claims.email)`, `claims.?email`.
    pub fn selects(&self, variable: &str, field: &str) -> bool {
        let kind = |node: Id| self.ast.kind(node);
        // A point before a name says that it is no local one.
        let is_variable = |node: Id| matches!(kind(node), Kind::Ident(name) if name.strip_prefix('.').unwrap_or(name) == variable);
        let is_field =
            |node: Id| matches!(kind(node), Kind::Literal(Literal::String(name)) if **name == *field);
        self.ast.nodes.iter().any(|node| match &node.kind {
            Kind::Select { operand, field: selected, .. } => is_variable(*operand) && **selected == *field,
            Kind::Call { function, target: None, arguments } if **function == *operator::OPTIONAL_SELECT => {
                matches!(arguments[..], [operand, selected] if is_variable(operand) && is_field(selected))
            }
            _ => false,
        })
    }

    /// The numbers of the variables that it speaks of, each once.
    pub fn variables(&self) -> impl Iterator<Item = usize> + '_ {
        self.variables.keys().copied()
    }

    /// What it costs at least and at most, by what is declared about sizes.
    pub fn estimate(&self) -> CostEstimate {
        cost::estimate(self)
    }

    /// Makes it ready to be evaluated.
    pub fn program(&self) -> Result<Program, ProgramError> {
        self.program_within(&mut PatternRoom::default())
    }

    /// Makes it ready to be evaluated, where its patterns have the room that others have left.
    pub fn program_within(&self, patterns: &mut PatternRoom) -> Result<Program, ProgramError> {
        Program::new(self, patterns)
    }

    /// How many parts it has.
    pub fn parts(&self) -> usize {
        self.ast.nodes.len()
    }

    /// Whether it is a literal.
    pub fn is_literal(&self) -> bool {
        matches!(self.ast.kind(self.ast.root), Kind::Literal(_))
    }
}
