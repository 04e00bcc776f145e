//! What an operation is called where its definition has no name for it.

use crate::graph::{Edge, Vertex};
use crate::pb::{self, file_action::Action, op};

/// The name to show for the operation `op`, whose inputs come from `inputs` among `vertices`.
pub(crate) fn of(op: &pb::Op, inputs: &[Edge], vertices: &[Vertex]) -> String {
    let input = |number: i64| {
        let edge = usize::try_from(number).ok().and_then(|number| inputs.get(number));
        edge.map_or("scratch".to_owned(), |edge| format!("({})", vertices[edge.vertex].name))
    };
    match &op.op {
        Some(op::Op::Source(source)) => source.identifier.clone(),
        Some(op::Op::Exec(exec)) => exec.meta.as_ref().map(|meta| meta.args.join(" ")).unwrap_or_default(),
        Some(op::Op::File(file)) => file.actions.iter().filter_map(action).collect::<Vec<_>>().join(", "),
        Some(op::Op::Build(_)) => "build".to_owned(),
        Some(op::Op::Merge(_)) => {
            // More than a name has room for.
            let shown = inputs.iter().take(1 << 10);
            let names: Vec<&str> = shown.map(|edge| &*vertices[edge.vertex].name).collect();
            format!("merge ({})", names.join(", "))
        }
        Some(op::Op::Diff(diff)) => {
            let lower = diff.lower.map_or(crate::EMPTY, |lower| lower.input);
            let upper = diff.upper.map_or(crate::EMPTY, |upper| upper.input);
            format!("diff {} -> {}", input(lower), input(upper))
        }
        Some(op::Op::Passthrough(pass)) => format!("passthrough {}", pass.id),
        None => "unknown".to_owned(),
    }
}

fn action(action: &pb::FileAction) -> Option<String> {
    Some(match action.action.as_ref()? {
        Action::Copy(copy) => format!("copy {} {}", copy.src, copy.dest),
        Action::Mkfile(file) => format!("mkfile {}", file.path),
        Action::Mkdir(directory) => format!("mkdir {}", directory.path),
        Action::Rm(removed) => format!("rm {}", removed.path),
        Action::Symlink(link) => format!("symlink {} -> {}", link.newpath, link.oldpath),
    })
}
