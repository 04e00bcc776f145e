//! All that is fed, a file each.

mod archive;
mod certificate;
mod dns;
mod dockerfile;
mod exposition;
mod expression;
mod field_set;
mod json;
mod json_patch;
mod json_path;
mod llb;
mod manifest;
mod netlink;
mod protobuf;
mod reference;
mod registry;
mod review;
mod schema;
mod selector;
mod shim;
mod spdy;
mod token;
mod yaml;

use crate::Target;

/// Every target.
pub fn all() -> Vec<Target> {
    vec![
        archive::TARGET,
        certificate::TARGET,
        dns::TARGET,
        dockerfile::TARGET,
        exposition::TARGET,
        expression::TARGET,
        field_set::TARGET,
        json::TARGET,
        json_patch::TARGET,
        json_path::TARGET,
        llb::TARGET,
        manifest::TARGET,
        netlink::TARGET,
        protobuf::TARGET,
        reference::TARGET,
        registry::TARGET,
        review::TARGET,
        schema::TARGET,
        selector::TARGET,
        shim::TARGET,
        spdy::TARGET,
        token::TARGET,
        yaml::TARGET,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_one() {
        for target in all() {
            let examples = (target.examples)();
            let taken = examples.iter().filter(|example| (target.read)(example)).count();
            assert!(taken * 2 > examples.len(), "`{}` takes {taken} of {}", target.name, examples.len());
        }
    }

    #[test]
    fn names_are_told_apart() {
        let names: std::collections::BTreeSet<&str> = all().iter().map(|target| target.name).collect();
        assert_eq!(names.len(), all().len());
    }
}
