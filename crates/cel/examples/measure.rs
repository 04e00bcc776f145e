//! Measures how long expressions take: `cargo run --release -p cel --example measure`.
use std::time::Instant;

use cel::{Budget, Environment, PER_CALL_LIMIT, Type, Value};
use serde_json::json;

fn main() {
    let data = json!({
        "metadata": {"name": "web", "labels": {"app": "web", "tier": "front"}},
        "spec": {"replicas": 3, "template": {"spec": {"containers": [
            {"name": "a", "image": "registry.example.com/a:1", "ports": [{"port": 80}, {"port": 443}]},
            {"name": "b", "image": "registry.example.com/b:2", "ports": [{"port": 8080}]}]}}},
    });
    let conditions = "object.spec.replicas <= 5 && object.metadata.name.startsWith('w') && has(object.metadata.labels) \
                      && object.metadata.labels['app'] == 'web' && object.spec.replicas > 1";
    let hundred = format!("({conditions}) && ({conditions}) && ({conditions})");
    let looped = "object.spec.template.spec.containers.all(c, c.image.startsWith('registry.example.com/') && \
                  c.ports.exists(p, p.port > 79) && c.name.matches('^[a-z]$'))";
    let environment = Environment::new().with_variable("object", Type::Dyn);
    for source in [hundred.as_str(), looped] {
        let began = Instant::now();
        let checked = environment.compile(source).expect("an expression");
        let program = checked.program().expect("constants are right");
        let compiled = began.elapsed();
        let rounds = 20_000;
        let began = Instant::now();
        let mut cost = 0;
        for _ in 0..rounds {
            let mut budget = Budget::new(PER_CALL_LIMIT);
            let value = Value::from_json(&data, None).expect("plain data");
            let result = program.evaluate(&[value], &mut budget).expect("a value");
            assert_eq!(result.as_bool(), Some(true));
            cost = budget.cost();
        }
        let each = began.elapsed() / rounds;
        println!("{} parts, cost {cost}: compiled in {compiled:?}, evaluated in {each:?}", checked.parts());
    }
}
