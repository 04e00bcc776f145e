//! Builds that are operations: what is to be built is what another operation wrote down.

use futures::future::BoxFuture;
use llb::Definition;
use llb::pb::BuildOp;
use prost::Message as _;
use tokio_util::task::AbortOnDropHandle;

use super::job::Job;
use super::schedule::{Done, Step};
use super::value::Value;
use super::{SolveError, look, value};

/// How many builds may be inside of each other.
const DEPTH_MAX: usize = 8;
/// As long as what a client sends in one message.
const LONGEST: u64 = 16 << 20;
/// The number that says that what is built is a definition.
const DEFINITION: i64 = -1;
/// The input that the definition is in, the file that it is, and what says that it is another.
const INPUT: &str = "buildkit.llb.definition";
const FILE: &str = "buildkit.llb.definition";
const FILE_ATTRIBUTE: &str = "llbbuild.filename";

/// Builds what is written down in an input.
pub(crate) async fn perform(step: &Step<'_>, build: &BuildOp) -> Result<Done, SolveError> {
    if build.builder != DEFINITION {
        return Err(SolveError::Unsupported("only LLB builder is currently allowed".to_owned()));
    }
    let input = build.inputs.get(INPUT);
    let input = input.ok_or_else(|| SolveError::Invalid(format!("no llb definition input {INPUT} found")))?;
    if step.job.depth >= DEPTH_MAX {
        return Err(SolveError::Invalid(format!("more than {DEPTH_MAX} builds inside of each other")));
    }
    let path = build.attrs.get(FILE_ATTRIBUTE).map_or(FILE, String::as_str).to_owned();
    let root = value::root(step.job, &step.input(input.input)?).await?;
    let bytes = step.job.blocking(move || look::read_file(&root.fd, &path, Some((0, LONGEST + 1)))).await?;
    if bytes.len() as u64 > LONGEST {
        return Err(SolveError::Invalid(format!("the definition of a build has more than {LONGEST} bytes")));
    }
    let definition = Definition::decode(bytes).map_err(|error| {
        SolveError::Invalid(format!("failed to parse the definition of a build: {error}"))
    })?;
    let mut job = step.job.clone();
    job.depth += 1;
    // As a task of its own, which ends with this: however deep builds are inside of each other, no stack is.
    let value = AbortOnDropHandle::new(tokio::spawn(value_of(job, definition))).await;
    let value = value.map_err(|_| SolveError::Failed("a build inside of a build ended".to_owned()))??;
    Ok(Done { outputs: vec![value], cached: false })
}

/// What a definition comes to; there may be builds in it in turn.
fn value_of(job: Job, definition: Definition) -> BoxFuture<'static, Result<Value, SolveError>> {
    Box::pin(async move { job.solve(&definition).await?.value().await })
}
