//! Which devices a group may use: rules of the v1 controller, or a program on v2.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::CgroupError;
use crate::spec::DeviceRule;
use crate::sys::bpf::{self, Instruction};

const READ: u32 = 2;
const WRITE: u32 = 4;
const MKNOD: u32 = 1;
const ALL_ACCESS: u32 = READ | WRITE | MKNOD;

/// A rule, its letters and blanks understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    allow: bool,
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Any,
    Block = 1,
    Char = 2,
}

/// The files and lines that put rules in force on v1, in order.
pub(super) fn v1_rules(rules: &[DeviceRule]) -> Result<Vec<(&'static str, String)>, CgroupError> {
    let mut lines = Vec::new();
    for rule in parse(rules)? {
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let letters: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
            .into_iter()
            .filter_map(|(bit, letter)| (rule.access & bit != 0).then_some(letter))
            .collect();
        let mut line = |kind: &str| {
            lines.push((file, format!("{kind} {}:{} {letters}", number(rule.major), number(rule.minor))));
        };
        match rule.kind {
            Kind::Char => line("c"),
            Kind::Block => line("b"),
            Kind::Any if (rule.major, rule.minor, rule.access) == (None, None, ALL_ACCESS) => {
                lines.push((file, "a".to_owned()));
            }
            // The controller takes `a` for everything, whatever else the line says.
            Kind::Any => {
                line("b");
                line("c");
            }
        }
    }
    Ok(lines)
}

/// Attaches a program that decides by `rules` to a v2 group, in place of one attached earlier.
pub(super) fn attach_filter(directory: &Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
    let failed = |source| CgroupError::DeviceFilter { path: directory.to_owned(), source };
    let program = program(&parse(rules)?);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let group: OwnedFd =
        openat(CWD, directory, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    let earlier = bpf::attached(&group).map_err(failed)?;
    let program = bpf::load_device_program(&program).map_err(failed)?;
    // The new one first: with both in force a device must please both, so nothing opens meanwhile.
    bpf::attach(&group, &program).map_err(failed)?;
    earlier.iter().try_for_each(|program| bpf::detach(&group, program)).map_err(failed)
}

fn parse(rules: &[DeviceRule]) -> Result<Vec<Rule>, CgroupError> {
    rules.iter().map(parse_one).collect()
}

fn parse_one(rule: &DeviceRule) -> Result<Rule, CgroupError> {
    let kind = match rule.kind.as_deref() {
        None | Some("a" | "") => Kind::Any,
        Some("c" | "u") => Kind::Char,
        Some("b") => Kind::Block,
        Some(other) => return Err(CgroupError::Invalid(format!("device rule of unknown type `{other}`"))),
    };
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| CgroupError::Invalid(format!("device rule with number {number}"))),
    };
    let mut access = 0;
    for letter in rule.access.as_deref().filter(|access| !access.is_empty()).unwrap_or("rwm").chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            other => return Err(CgroupError::Invalid(format!("device rule with unknown access `{other}`"))),
        };
    }
    Ok(Rule { allow: rule.allow, kind, major: number(rule.major)?, minor: number(rule.minor)?, access })
}

/// The program: the last rule that matches decides, and without one the device is forbidden.
///
/// An allowing rule matches if it has all of the access that is asked for, a forbidding one if it
/// has any of it.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut code = bpf::device_prologue();
    for rule in combine(rules).iter().rev() {
        let mut body = Vec::new();
        if rule.kind != Kind::Any {
            body.push((bpf::Field::Kind, rule.kind as u32));
        }
        if let Some(major) = rule.major {
            body.push((bpf::Field::Major, major));
        }
        if let Some(minor) = rule.minor {
            body.push((bpf::Field::Minor, minor));
        }
        let access = (rule.access != ALL_ACCESS).then_some(rule.access);
        code.extend(bpf::device_rule(&body, access, rule.allow));
        if body.is_empty() && access.is_none() {
            // It decides on everything. The kernel refuses a program with instructions that are never reached.
            return code;
        }
    }
    code.extend(bpf::device_epilogue());
    code
}

/// Puts allowing rules for the same devices together, so that reading by one and writing by
/// another is reading and writing.
fn combine(rules: &[Rule]) -> Vec<Rule> {
    let mut combined: Vec<Rule> = Vec::with_capacity(rules.len());
    for rule in rules {
        let same = |other: &&mut Rule| {
            other.allow
                && rule.allow
                && (other.kind, other.major, other.minor) == (rule.kind, rule.major, rule.minor)
        };
        // Only up to the last forbidding rule: what that took away does not come back.
        match combined.iter_mut().rev().take_while(|other| other.allow).find(same) {
            Some(other) => other.access |= rule.access,
            None => combined.push(*rule),
        }
    }
    combined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defaults::device_rules;

    #[test]
    fn rules_become_lines_of_the_v1_controller() {
        let lines = v1_rules(&device_rules()).expect("good rules");
        assert_eq!(lines[0], ("devices.deny", "a".to_owned()));
        assert!(lines.contains(&("devices.allow", "c *:* m".to_owned())));
        assert!(lines.contains(&("devices.allow", "c 136:* rwm".to_owned())));
    }

    #[test]
    fn a_rule_for_both_kinds_of_devices_becomes_two_lines() {
        let rule =
            DeviceRule { allow: true, major: Some(1), access: Some("r".to_owned()), ..DeviceRule::default() };
        let lines = v1_rules(&[rule]).expect("good rule");
        assert_eq!(lines, [("devices.allow", "b 1:* r".to_owned()), ("devices.allow", "c 1:* r".to_owned())]);
    }

    /// What the program says of an access.
    fn check(rules: &[DeviceRule], kind: u32, access: u32, major: u32, minor: u32, expected: bool) {
        let program = program(&parse(rules).expect("good rules"));
        assert_eq!(bpf::unreachable(&program), [0usize; 0], "the kernel refuses what is never reached");
        let allowed = bpf::interpret(&program, access << 16 | kind, major, minor);
        assert_eq!(allowed, expected, "kind {kind} access {access} device {major}:{minor}");
    }

    #[test]
    fn the_v2_program_decides_as_the_v1_rules_do() {
        let rules = device_rules();
        check(&rules, 2, READ | WRITE, 1, 3, true);
        check(&rules, 2, READ, 1, 1, false);
        check(&rules, 1, READ, 8, 0, false);
        check(&rules, 1, MKNOD, 8, 0, true);
        check(&rules, 1, MKNOD | READ, 8, 0, false);
        check(&rules, 2, READ | WRITE, 136, 7, true);
    }

    #[test]
    fn reading_by_one_rule_and_writing_by_another_is_both() {
        let rule = |access: &str| DeviceRule {
            allow: true,
            kind: Some("c".to_owned()),
            major: Some(10),
            minor: Some(200),
            access: Some(access.to_owned()),
        };
        check(&[rule("r"), rule("w")], 2, READ | WRITE, 10, 200, true);
        check(&[rule("r")], 2, READ | WRITE, 10, 200, false);
    }

    #[test]
    fn nothing_counts_before_a_rule_for_everything() {
        let rule = |allow| DeviceRule { allow, ..DeviceRule::default() };
        check(&[rule(false), rule(true)], 2, READ, 1, 1, true);
        check(&[rule(true), rule(false)], 2, READ, 1, 1, false);
        check(&[], 2, READ, 1, 1, false);
    }

    #[test]
    fn a_later_rule_that_forbids_a_part_forbids_the_whole_access() {
        let all = DeviceRule { allow: true, ..DeviceRule::default() };
        let forbid = DeviceRule { allow: false, access: Some("w".to_owned()), ..DeviceRule::default() };
        check(&[all.clone(), forbid.clone()], 2, READ, 1, 1, true);
        check(&[all, forbid], 2, READ | WRITE, 1, 1, false);
    }
}
