//! Expressions of policies and conditions, compiled: what they may speak of, what they have to come to, and how deep
//! they may go with the variables that they speak of.

use std::cell::RefCell;
use std::sync::LazyLock;

use cel::{Checked, Environment, PatternRoom, Program, Type};

use super::request;

/// How many variables there are that a policy does not have itself.
pub(super) const FIXED: usize = 7;
/// How many variables a policy may have itself.
pub(super) const MOST_VARIABLES: usize = 1_000;
/// How many steps may be within each other while an expression is evaluated, with those of the variables that it
/// speaks of: each takes some of the stack.
const DEEPEST: usize = 640;

/// An expression, ready to be asked, or why it is not.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) source: String,
    pub(super) program: Result<Program, String>,
}

/// What an expression is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Whether somebody is asked at all. It speaks of no variables of the policy.
    Condition,
    /// What a variable is.
    Variable,
    /// Whether something may be written.
    Validation,
    /// What is said where it may not. Nobody is asked for that what somebody may do.
    Message,
    /// What is noted.
    Annotation,
    /// The fields that are to be set.
    ApplyConfiguration,
    /// A list of changes.
    JsonPatch,
}

/// Compiles the expressions of one policy, the variables first, in their order.
pub(super) struct Compiler {
    /// Without the variables of the policy.
    plain: Environment,
    all: Environment,
    /// For what is said.
    message: Environment,
    /// For what is changed.
    mutation: Environment,
    /// How deep each variable of the policy is with those that it speaks of.
    depths: Vec<usize>,
    /// What patterns in all of them may still take.
    patterns: RefCell<PatternRoom>,
}

/// The variables that are there without a policy's own; [`FIXED`] in number. What is not there has a name that no
/// expression can say.
fn environment(parameters: bool, authorizer: bool) -> Environment {
    let object = |name: &str| Type::object(name);
    Environment::new()
        .with_variable("object", Type::Dyn)
        .with_variable("oldObject", Type::Dyn)
        .with_declared("request", &request::DECLARED)
        .with_declared("namespaceObject", &request::NAMESPACE)
        .with_variable(
            if authorizer { "authorizer" } else { "@authorizer" },
            object("kubernetes.authorization.Authorizer"),
        )
        .with_variable(
            if authorizer { "authorizer.requestResource" } else { "@authorizer.requestResource" },
            object("kubernetes.authorization.ResourceCheck"),
        )
        .with_variable(if parameters { "params" } else { "@params" }, Type::Dyn)
}

impl Purpose {
    /// What it has to come to; anything, where that is empty.
    fn types(self) -> &'static [Type] {
        static PATCH: LazyLock<[Type; 1]> = LazyLock::new(|| [Type::list(Type::object("JSONPatch"))]);
        static OBJECT: LazyLock<[Type; 1]> = LazyLock::new(|| [Type::object("Object")]);
        match self {
            Self::Variable => &[],
            Self::Condition | Self::Validation => &[Type::Bool],
            Self::Message => &[Type::String],
            Self::Annotation => &[Type::String, Type::Null],
            Self::ApplyConfiguration => &*OBJECT,
            Self::JsonPatch => &*PATCH,
        }
    }

    fn check(self, output: &Type) -> Result<(), String> {
        let types = self.types();
        if types.is_empty() || types.contains(output) {
            return Ok(());
        }
        let got = go_name(output);
        match types {
            [one] => Err(format!("must evaluate to {} but got {got}", go_name(one))),
            more => {
                let names: Vec<String> = more.iter().map(go_name).collect();
                Err(format!("must evaluate to one of [{}] but got {got}", names.join(" ")))
            }
        }
    }
}

/// A type as Kubernetes names it here.
fn go_name(ty: &Type) -> String {
    match ty {
        Type::Null | Type::Timestamp | Type::Duration => ty.name().to_owned(),
        other => other.to_string(),
    }
}

impl Compiler {
    /// For a policy that may take parameters.
    pub(super) fn new(parameters: bool) -> Self {
        let plain = environment(parameters, true);
        Self {
            all: plain.clone(),
            mutation: plain.clone().with_mutation(),
            plain,
            message: environment(parameters, false),
            depths: Vec::new(),
            patterns: RefCell::default(),
        }
    }

    /// Compiles an expression.
    pub(super) fn compile(&self, purpose: Purpose, source: &str) -> Result<Program, String> {
        self.compile_all(purpose, source).map(|(_, program, _)| program)
    }

    /// Compiles an expression as what its policy asks for it, and keeps its source.
    pub(super) fn expression(&self, purpose: Purpose, source: &str) -> Expression {
        Expression { source: source.to_owned(), program: self.compile(purpose, source) }
    }

    /// Compiles the next variable, of which all that come after may speak, whether it can be evaluated or not.
    pub(super) fn variable(&mut self, name: &str, source: &str) -> Result<Program, String> {
        let compiled = self.compile_all(Purpose::Variable, source);
        let (ty, depth) = match &compiled {
            Ok((checked, _, depth)) => (checked.output().clone(), *depth),
            Err(_) => (Type::Dyn, 0),
        };
        let name = format!("variables.{name}");
        for environment in [&mut self.all, &mut self.message, &mut self.mutation] {
            *environment = std::mem::take(environment).with_variable(&name, ty.clone());
        }
        self.depths.push(depth);
        compiled.map(|(_, program, _)| program)
    }

    fn compile_all(&self, purpose: Purpose, source: &str) -> Result<(Checked, Program, usize), String> {
        let environment = match purpose {
            Purpose::Condition => &self.plain,
            Purpose::Message => &self.message,
            Purpose::Variable | Purpose::Validation | Purpose::Annotation => &self.all,
            Purpose::ApplyConfiguration | Purpose::JsonPatch => &self.mutation,
        };
        let checked =
            environment.compile(source).map_err(|issues| format!("compilation failed: {issues}"))?;
        purpose.check(checked.output())?;
        let program = checked
            .program_within(&mut self.patterns.borrow_mut())
            .map_err(|error| format!("program instantiation failed: {error}"))?;
        let own = checked.variables().filter_map(|number| self.depths.get(number.checked_sub(FIXED)?));
        let depth = program.depth().saturating_add(own.max().copied().unwrap_or(0));
        if depth > DEEPEST {
            return Err(format!(
                "it and the variables that it uses nest {depth} levels deep, which is more than {DEEPEST}"
            ));
        }
        Ok((checked, program, depth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_come_to_what_they_are_for() {
        let mut compiler = Compiler::new(true);
        compiler.variable("list", "[1, 2]").expect("it is right");
        let check = |purpose, source: &str, expected: Result<(), &str>| {
            let compiled = compiler.compile(purpose, source).map(drop);
            assert_eq!(
                compiled.as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|why| *why),
                "{source}"
            );
        };
        check(Purpose::Condition, "params.a == 1", Ok(()));
        check(Purpose::Condition, "object.flag", Err("must evaluate to bool but got dyn"));
        check(Purpose::Validation, "variables.list.size() > 1", Ok(()));
        check(
            Purpose::Validation,
            "namespaceObject == null || namespaceObject.metadata.labels['a'] == 'b'",
            Ok(()),
        );
        check(
            Purpose::Validation,
            "namespaceObject.metadata.creationTimestamp > timestamp('2020-01-01T00:00:00Z')",
            Ok(()),
        );
        check(Purpose::Validation, "1", Err("must evaluate to bool but got int"));
        check(Purpose::Message, "'a'", Ok(()));
        check(Purpose::Message, "object.metadata.name", Err("must evaluate to string but got dyn"));
        check(Purpose::Annotation, "null", Ok(()));
        check(
            Purpose::Annotation,
            "variables.list",
            Err("must evaluate to one of [string null_type] but got list(int)"),
        );
        check(Purpose::ApplyConfiguration, "Object{spec: Object.spec{replicas: 1}}", Ok(()));
        check(Purpose::ApplyConfiguration, "'x'", Err("must evaluate to Object but got string"));
        check(
            Purpose::ApplyConfiguration,
            "Object.spec{}",
            Err("must evaluate to Object but got Object.spec"),
        );
        check(Purpose::JsonPatch, "[JSONPatch{op: 'add', path: '/a', value: variables.list}]", Ok(()));
        check(Purpose::JsonPatch, "[1]", Err("must evaluate to list(JSONPatch) but got list(int)"));
        let undeclared = |purpose, source: &str, what: &str| {
            let error = compiler.compile(purpose, source).expect_err(source);
            assert!(error.contains(&format!("undeclared reference to '{what}'")), "{error}");
        };
        undeclared(Purpose::Condition, "variables.list.size() > 1", "variables");
        undeclared(Purpose::Validation, "Object{} == null", "Object");
        undeclared(Purpose::Message, "authorizer.path('/').check('get').reason()", "authorizer");
        let unknown =
            compiler.compile(Purpose::Validation, "namespaceObject.metadata.ownerReferences.size() == 0");
        assert!(unknown.is_err_and(|why| why.contains("undefined field 'ownerReferences'")));
        let without = Compiler::new(false).compile(Purpose::Validation, "params == null");
        assert!(without.is_err_and(|why| why.contains("undeclared reference to 'params'")));
    }

    #[test]
    fn variables_of_variables_are_only_so_deep() {
        let terms = " + 1".repeat(200);
        let mut compiler = Compiler::new(false);
        compiler.variable("v0", &format!("1{terms}")).expect("one is not too deep");
        let mut deep = 0;
        let refused = loop {
            match compiler.variable(&format!("v{}", deep + 1), &format!("variables.v{deep}{terms}")) {
                Ok(_) => deep += 1,
                Err(why) => break why,
            }
        };
        assert_eq!(deep, DEEPEST / 200 - 1, "each counts with all that it uses");
        assert!(refused.contains(&format!("more than {DEEPEST}")), "{refused}");
        let side_by_side: Vec<String> = (0..=deep).map(|number| format!("variables.v{number}")).collect();
        let used = compiler.compile(Purpose::Validation, &format!("{} > 1", side_by_side.join(" + ")));
        assert!(used.is_ok(), "those beside each other do not add up: {used:?}");
    }
}
