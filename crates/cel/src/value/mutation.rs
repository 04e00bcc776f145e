//! Objects that mutations make: their names say where they belong.

use super::{EvalError, Object, Value};
use crate::budget::Budget;

/// So much that is wrong is told.
const MOST: usize = 16;

impl Value<'_> {
    /// What objects in it have a name that is not that of their place: `Object.spec` belongs into the field `spec` of
    /// an `Object`, and into its lists and maps. None of a value that is no object itself.
    pub fn misnamed(&self, budget: &mut Budget) -> Result<Vec<String>, EvalError> {
        let mut wrong = Vec::new();
        if let Self::Object(object @ Object::Made(_)) = self {
            self.check_names(&mut object.name().to_string(), &mut wrong, budget)?;
        }
        Ok(wrong)
    }

    fn check_names(
        &self,
        path: &mut String,
        wrong: &mut Vec<String>,
        budget: &mut Budget,
    ) -> Result<(), EvalError> {
        budget.work(16)?;
        if wrong.len() >= MOST {
            return Ok(());
        }
        match self {
            Self::Object(Object::Made(made)) => {
                if *made.name != **path {
                    wrong.push(format!(
                        "unexpected type name {}, expected {}, which matches field name path from root Object type",
                        model::field::quote(&made.name),
                        model::field::quote(path)
                    ));
                }
                for (name, value) in made.fields.iter() {
                    budget.work(name.len())?;
                    let length = path.len();
                    path.push('.');
                    path.push_str(name);
                    value.check_names(path, wrong, budget)?;
                    path.truncate(length);
                }
            }
            Self::List(list) => {
                for element in list.iter() {
                    element?.check_names(path, wrong, budget)?;
                }
            }
            Self::Map(map) => {
                for (_, value) in map.entries().iter() {
                    value.clone()?.check_names(path, wrong, budget)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The elements of a list, if it is one.
    pub fn elements(&self) -> Option<Result<Vec<Self>, EvalError>> {
        match self {
            Self::List(list) => Some(list.iter().collect()),
            _ => None,
        }
    }

    /// A field of an object that was made, if it is set.
    pub fn made_field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(Object::Made(made)) => made.fields.get(name),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Environment;

    #[test]
    fn objects_are_named_by_their_places() {
        let check = |source: &str, expected: &[&str]| {
            let program =
                Environment::new().with_mutation().compile(source).expect(source).program().expect(source);
            let mut budget = Budget::new(1_000);
            let value = program.evaluate(&[], &mut budget).expect(source);
            let wrong = value.misnamed(&mut budget).expect(source);
            let expected: Vec<String> = expected
                .chunks(2)
                .map(|pair| {
                    format!(
                        "unexpected type name \"{}\", expected \"{}\", which matches field name path from root Object \
                         type",
                        pair[0], pair[1]
                    )
                })
                .collect();
            assert_eq!(wrong, expected, "{source}");
        };
        check("Object{spec: Object.spec{replicas: 1}}", &[]);
        check("Object{spec: Object.spec{a: [Object.spec.a{b: {'x': Object.spec.a.b{}}}]}}", &[]);
        check("Object{spec: Object.specx{replicas: 1}}", &["Object.specx", "Object.spec"]);
        check(
            "Object{a: [dyn(Object.b{c: Object.a.c{}}), dyn({'x': Object{}})]}",
            &["Object.b", "Object.a", "Object", "Object.a"],
        );
        // What is not the whole begins where it says.
        check("Object.spec.template{spec: Object.spec.template.spec{}}", &[]);
        check("[Object.spec{}]", &[]);
    }
}
