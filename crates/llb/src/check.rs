//! What an operation has to hold by itself, before anybody looks at what it is for.

use crate::pb::{self, file_action::Action, op};

/// What is wrong with the operation `op`, if anything is.
pub(crate) fn check(op: &pb::Op) -> Result<(), &'static str> {
    let inputs = op.inputs.len();
    let Some(kind) = &op.op else { return Err("it does nothing") };
    match kind {
        op::Op::Exec(exec) => check_exec(exec, inputs),
        op::Op::Source(source) if source.identifier.is_empty() => Err("a source has no identifier"),
        op::Op::Source(_) if inputs != 0 => Err("a source has inputs"),
        op::Op::Source(_) => Ok(()),
        op::Op::File(file) => check_file(file, inputs),
        op::Op::Build(build) => {
            let used = build.inputs.values().map(|input| input.input).chain([build.builder]);
            check_numbers(used, inputs)
        }
        op::Op::Merge(merge) => check_numbers(merge.inputs.iter().map(|input| input.input), inputs),
        op::Op::Diff(diff) => {
            let (Some(lower), Some(upper)) = (diff.lower, diff.upper) else {
                return Err("a difference lacks one of its sides");
            };
            check_numbers([lower.input, upper.input], inputs)
        }
        op::Op::Passthrough(pass) if pass.id.is_empty() => Err("what passes inputs on has no id"),
        op::Op::Passthrough(pass) if pass.outputs.is_empty() => Err("what passes inputs on has no outputs"),
        op::Op::Passthrough(pass) => check_numbers(pass.outputs.iter().copied(), inputs),
    }
}

fn check_exec(exec: &pb::ExecOp, inputs: usize) -> Result<(), &'static str> {
    let Some(meta) = &exec.meta else { return Err("a command has no description") };
    if meta.args.is_empty() {
        return Err("a command has no arguments");
    }
    if !exec.mounts.iter().any(|mount| mount.dest == "/") {
        return Err("a command has no root file system");
    }
    check_numbers(exec.mounts.iter().map(|mount| mount.input), inputs)?;
    // Outputs are numbered without gaps: an output is found by its number. What clients say of secrets and
    // agents means nothing: it is zero.
    let files = exec.mounts.iter().filter(|mount| mount.mount_type == pb::MountType::Bind as i32);
    let mut outputs: Vec<i64> =
        files.map(|mount| mount.output).filter(|output| *output != crate::SKIP_OUTPUT).collect();
    outputs.sort_unstable();
    if outputs.iter().enumerate().any(|(at, output)| i64::try_from(at) != Ok(*output)) {
        return Err("a command's outputs are not numbered from zero on");
    }
    Ok(())
}

fn check_file(file: &pb::FileOp, inputs: usize) -> Result<(), &'static str> {
    if file.actions.is_empty() {
        return Err("an operation on files has no actions");
    }
    // Past the operation's inputs come what its actions before came to.
    for (at, action) in file.actions.iter().enumerate() {
        check_numbers([action.input, action.secondary_input], inputs + at)?;
        let owners = match &action.action {
            None => return Err("an action on files does nothing"),
            Some(Action::Copy(copy)) => &copy.owner,
            Some(Action::Mkfile(file)) => &file.owner,
            Some(Action::Mkdir(directory)) => &directory.owner,
            Some(Action::Symlink(link)) => &link.owner,
            Some(Action::Rm(_)) => &None,
        };
        let Some(owners) = owners else { continue };
        for owner in [&owners.user, &owners.group].into_iter().flatten() {
            if let Some(pb::user_opt::User::ByName(named)) = &owner.user {
                check_numbers([named.input], inputs + at)?;
            }
        }
    }
    Ok(())
}

/// Each number names one of `inputs` inputs, or none at all.
fn check_numbers(numbers: impl IntoIterator<Item = i64>, inputs: usize) -> Result<(), &'static str> {
    let good = |number: i64| number == crate::EMPTY || usize::try_from(number).is_ok_and(|at| at < inputs);
    match numbers.into_iter().all(good) {
        true => Ok(()),
        false => Err("it uses an input that it has not"),
    }
}
