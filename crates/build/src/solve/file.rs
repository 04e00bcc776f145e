//! Operations on files: copy, make, remove. No process runs for them.

mod copy;
mod filter;
mod make;
mod mode;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use image::Store;
use llb::pb::{self, file_action::Action};
use oci::Digest;
use prost::Message;

pub(crate) use copy::remove_at;
pub(crate) use filter::{Filter, entries};

use super::SolveError;
use super::key::{Key, Named, Selection};
use super::schedule::{Done, Step};
use super::usage::{self, Made};
use super::value::{self, Chain, HeldTree, Value};
use crate::files::{Owner, Target};

/// Actions of one operation.
const ACTIONS_MAX: usize = 4096;

/// What an action has to work with.
struct Work {
    store: Store,
    /// What it copies from, by the number of its input.
    sources: HashMap<i64, Arc<HeldTree>>,
}

/// Does the actions of an operation.
pub(crate) async fn perform(step: &Step<'_>, file: &pb::FileOp) -> Result<Done, SolveError> {
    if file.actions.len() > ACTIONS_MAX {
        let count = file.actions.len();
        return Err(SolveError::Invalid(format!(
            "{count} actions on files in one operation: there can be {ACTIONS_MAX}"
        )));
    }
    let key = key(step, file).await?;
    usage::once(step, key, "regular", || async {
        let mut made = run(step, file).await?;
        let outputs = file.actions.iter().zip(made.split_off(step.inputs.len()));
        let mut kept: Vec<(i64, Chain)> = Vec::new();
        for (action, value) in outputs {
            if action.output >= 0 {
                kept.push((action.output, value::chain(step.job, &value).await?));
            }
        }
        kept.sort_by_key(|(number, _)| *number);
        Ok(Made { outputs: kept.into_iter().map(|(_, chain)| chain).collect() })
    })
    .await
}

async fn key(step: &Step<'_>, file: &pb::FileOp) -> Result<Digest, SolveError> {
    let mut key = Key::new("file");
    let of_operation = |number: i64| usize::try_from(number).is_ok_and(|at| at < step.inputs.len());
    for action in &file.actions {
        key.add(words_of(action, &of_operation));
        if of_operation(action.input) {
            key.add_whole(step.job, &step.input(action.input)?).await?;
        }
        match &action.action {
            Some(Action::Copy(copy)) if of_operation(action.secondary_input) => {
                let from = step.input(action.secondary_input)?;
                key.add_selected(step.job, &from, selection_of(copy)).await?;
            }
            _ if of_operation(action.secondary_input) => {
                key.add_whole(step.job, &step.input(action.secondary_input)?).await?;
            }
            _ => {}
        }
        for number in owner_inputs(action) {
            // That an action works on counts anyway.
            if number != action.input && of_operation(number) {
                key.add_whole(step.job, &step.input(number)?).await?;
            }
        }
    }
    Ok(key.finish())
}

/// What an action says. What it copies counts by what is there, and not by the path to it.
fn words_of(action: &pb::FileAction, of_operation: &dyn Fn(i64) -> bool) -> Vec<u8> {
    let mut words = action.clone();
    if let Some(Action::Copy(copy)) = &mut words.action
        && of_operation(action.secondary_input)
        && copy.required_paths.is_empty()
    {
        copy.src.clear();
    }
    words.encode_to_vec()
}

/// What of an input an action copies.
pub(crate) fn selection_of(copy: &pb::FileActionCopy) -> Selection {
    Selection {
        path: copy.src.clone(),
        wildcard: copy.allow_wildcard,
        follow: copy.follow_symlink,
        include: copy.include_patterns.clone(),
        exclude: copy.exclude_patterns.clone(),
        owners: copy.owner.is_none(),
        named: if copy.dir_copy_contents { Named::Files } else { Named::All },
    }
}

/// Does the actions in turn; gives the operation's inputs and what the actions came to, by their numbers.
async fn run(step: &Step<'_>, file: &pb::FileOp) -> Result<Vec<Value>, SolveError> {
    let mut values = step.inputs.clone();
    let first = values.len();
    let uses = uses(&file.actions);
    let mut at = 0;
    while let Some(action) = file.actions.get(at) {
        // Those that only go on with what the one before made are done in one layer with it.
        let mut together = 1;
        while goes_on(file, &uses, first, at + together) {
            together += 1;
        }
        let below = match action.input {
            llb::EMPTY => Chain::default(),
            number => value::chain(step.job, &pick(&values, number)?).await?,
        };
        let actions: Vec<pb::FileAction> = file.actions[at..at + together].to_vec();
        let mut sources = HashMap::new();
        for action in &actions {
            let own = |number: i64| usize::try_from(number).is_ok_and(|number| number >= first + at);
            let further = owner_inputs(action).filter(|number| *number != action.input);
            let wanted = std::iter::once(action.secondary_input).chain(further);
            for number in wanted.filter(|number| *number != llb::EMPTY && !own(*number)) {
                if let Entry::Vacant(place) = sources.entry(number) {
                    place.insert(value::tree(step.job, &pick(&values, number)?).await?);
                }
            }
        }
        let work = Work { store: step.job.inner.solver.inner.store.clone(), sources };
        let made = value::layer_on(step.job, below, move |target| {
            actions.iter().try_for_each(|action| apply(&work, target, action))
        })
        .await?;
        // Of what comes between nobody asks.
        values.extend(std::iter::repeat_n(Value::Chain(made), together));
        at += together;
    }
    Ok(values)
}

/// Whether an action goes on with what the one before it made, and nobody else wants that.
fn goes_on(file: &pb::FileOp, uses: &HashMap<i64, usize>, first: usize, at: usize) -> bool {
    let (Some(action), Some(before)) = (file.actions.get(at), file.actions.get(at.wrapping_sub(1))) else {
        return false;
    };
    let Ok(number) = i64::try_from(first + at - 1) else { return false };
    action.input == number && before.output < 0 && uses.get(&number) == Some(&1)
}

/// How often each number is used by actions.
fn uses(actions: &[pb::FileAction]) -> HashMap<i64, usize> {
    let mut uses = HashMap::new();
    for action in actions {
        let owners = owner_inputs(action).filter(|input| *input != action.input);
        for input in [action.input, action.secondary_input].into_iter().chain(owners) {
            *uses.entry(input).or_default() += 1;
        }
    }
    uses
}

fn pick(values: &[Value], number: i64) -> Result<Value, SolveError> {
    let value = usize::try_from(number).ok().and_then(|number| values.get(number)).cloned();
    value.ok_or_else(|| SolveError::Invalid(format!("there is no input {number}")))
}

fn owner_of(action: &pb::FileAction) -> Option<&pb::ChownOpt> {
    match action.action.as_ref()? {
        Action::Copy(copy) => copy.owner.as_ref(),
        Action::Mkfile(file) => file.owner.as_ref(),
        Action::Mkdir(directory) => directory.owner.as_ref(),
        Action::Symlink(link) => link.owner.as_ref(),
        Action::Rm(_) => None,
    }
}

/// The inputs in which names of owners are looked up.
fn owner_inputs(action: &pb::FileAction) -> impl Iterator<Item = i64> + use<> {
    let owner = owner_of(action);
    let users = [owner.and_then(|owner| owner.user.clone()), owner.and_then(|owner| owner.group.clone())];
    users.into_iter().flatten().filter_map(|user| match user.user {
        Some(pb::user_opt::User::ByName(named)) if named.input != llb::EMPTY => Some(named.input),
        _ => None,
    })
}

fn apply(work: &Work, target: &Target, action: &pb::FileAction) -> Result<(), SolveError> {
    let owner = match owner_of(action) {
        Some(owner) => Some(owner_in(work, target, action, owner)?),
        None => None,
    };
    match &action.action {
        Some(Action::Copy(copy)) => {
            let empty;
            let source = match work.sources.get(&action.secondary_input) {
                Some(source) => source,
                None if action.secondary_input == llb::EMPTY => {
                    empty = empty_tree(work)?;
                    &empty
                }
                None => {
                    return Err(SolveError::Invalid("an action copies from what it writes to".to_owned()));
                }
            };
            copy::copy(work, target, &source.tree, copy, owner)
        }
        Some(Action::Mkfile(file)) => make::file(target, file, owner.unwrap_or_default()),
        Some(Action::Mkdir(directory)) => make::directory(target, directory, owner.unwrap_or_default()),
        Some(Action::Rm(removed)) => make::remove(target, removed),
        Some(Action::Symlink(link)) => make::link(target, link, owner.unwrap_or_default()),
        None => Err(SolveError::Invalid("an action on files does nothing".to_owned())),
    }
}

fn empty_tree(work: &Work) -> Result<Arc<HeldTree>, SolveError> {
    let root = work.store.chain_mount(None)?;
    Ok(Arc::new(HeldTree::of_nothing(root)))
}

/// Whom what an action makes belongs to. Names are looked up where the action says.
fn owner_in(
    work: &Work,
    target: &Target,
    action: &pb::FileAction,
    owner: &pb::ChownOpt,
) -> Result<Owner, SolveError> {
    use pb::user_opt::User;
    let read = |named: &pb::NamedUserOpt, path: &str| -> Result<String, SolveError> {
        let failed = |error| SolveError::io(format_args!("read {path} of the image"))(error);
        match work.sources.get(&named.input) {
            Some(source) if named.input != action.input => {
                let fd = source.tree.directory(Path::new("")).map_err(failed)?;
                Target::new(fd).read(Path::new(path)).map_err(failed)
            }
            _ if named.input == llb::EMPTY => Ok(String::new()),
            _ => target.read(Path::new(path)).map_err(failed),
        }
    };
    let mut found = Owner::default();
    match owner.user.as_ref().and_then(|user| user.user.as_ref()) {
        Some(User::ById(id)) => (found.uid, found.gid) = (*id, *id),
        Some(User::ByName(named)) => {
            let users = read(named, "/etc/passwd")?;
            let (uid, gid) = crate::owner::user_ids(&users, &named.name).map_err(SolveError::Invalid)?;
            (found.uid, found.gid) = (uid, gid);
        }
        None => {}
    }
    match owner.group.as_ref().and_then(|group| group.user.as_ref()) {
        Some(User::ById(id)) => found.gid = *id,
        Some(User::ByName(named)) => {
            let groups = read(named, "/etc/group")?;
            found.gid = crate::owner::group_id(&groups, &named.name).map_err(SolveError::Invalid)?;
        }
        None => {}
    }
    Ok(found)
}
