//! Expressions (CEL) of the server's own configuration files.
//!
//! Whoever writes those files is trusted; what the expressions are evaluated on is not, so that each evaluation has
//! the bounds of all others.

use cel::{Budget, Checked, Environment, EvalError, PER_CALL_LIMIT, Program, Type, Value};

/// An expression with one variable, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct Expression {
    source: String,
    checked: Checked,
    program: Program,
}

impl Expression {
    /// Reads one; says in Kubernetes' words what is wrong with it.
    pub(crate) fn read(environment: &Environment, source: &str) -> Result<Self, String> {
        let checked =
            environment.compile(source).map_err(|issues| format!("compilation failed: {issues}"))?;
        let program = checked.program().map_err(|error| format!("program instantiation failed: {error}"))?;
        Ok(Self { source: source.to_owned(), checked, program })
    }

    /// The type of what it comes to, as far as that is known before.
    pub(crate) fn output(&self) -> &Type {
        self.checked.output()
    }

    /// Whether it selects this field of this variable.
    pub(crate) fn selects(&self, variable: &str, field: &str) -> bool {
        self.checked.selects(variable, field)
    }

    /// What it was read from.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// What it comes to for this value of its variable; `work` is what is left of it for all that are evaluated for one
    /// request.
    pub(crate) fn evaluate<'a>(
        &'a self,
        variable: &Value<'a>,
        work: &mut u64,
    ) -> Result<Value<'a>, EvalError> {
        let (variables, mut budget) = ([variable.clone()], Budget::going_on(PER_CALL_LIMIT, *work));
        let value = self.program.evaluate(&variables, &mut budget);
        *work = budget.work_left();
        value
    }
}
