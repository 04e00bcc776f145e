//! Builds that are operations: what is to be built is what another operation wrote down.

use std::sync::Arc;

use futures::future::BoxFuture;
use llb::Definition;
use llb::pb::BuildOp;
use parking_lot::Mutex;
use prost::Message as _;
use tokio_util::task::AbortOnDropHandle;

use super::job::Job;
use super::schedule::{Done, Step};
use super::value::Value;
use super::{SolveError, look, value};

/// How many builds may be inside of each other.
const DEPTH_MAX: usize = 8;
/// How many builds there may be in one, at whatever depth: each may have several that differ in every one of its own.
const BUILDS_MAX: usize = 256;
/// Bytes of the definitions of all of them.
const BYTES_MAX: u64 = 64 << 20;
/// As long as what a client sends in one message.
const LONGEST: u64 = 16 << 20;
/// The number that says that what is built is a definition.
const DEFINITION: i64 = -1;
/// The input that the definition is in, the file that it is, and what says that it is another.
const INPUT: &str = "buildkit.llb.definition";
const FILE: &str = "buildkit.llb.definition";
const FILE_ATTRIBUTE: &str = "llbbuild.filename";

/// The builds that there were in a build.
#[derive(Default)]
pub(crate) struct Nested {
    had: Mutex<Had>,
}

#[derive(Default)]
struct Had {
    builds: usize,
    bytes: u64,
}

impl Nested {
    /// One more.
    fn begin(&self) -> Result<(), SolveError> {
        let mut had = self.had.lock();
        if had.builds >= BUILDS_MAX {
            return Err(SolveError::Invalid(format!("more than {BUILDS_MAX} builds inside of a build")));
        }
        had.builds += 1;
        Ok(())
    }

    /// The definition of one has so many bytes.
    fn take(&self, bytes: u64) -> Result<(), SolveError> {
        if bytes > LONGEST {
            return Err(SolveError::Invalid(format!(
                "the definition of a build has more than {LONGEST} bytes"
            )));
        }
        let mut had = self.had.lock();
        if bytes > BYTES_MAX - had.bytes {
            return Err(SolveError::Invalid(format!(
                "the definitions of builds inside of a build have more than {BYTES_MAX} bytes"
            )));
        }
        had.bytes += bytes;
        Ok(())
    }
}

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
    step.job.inner.nested.begin()?;
    let path = build.attrs.get(FILE_ATTRIBUTE).map_or(FILE, String::as_str).to_owned();
    let root = value::root(step.job, &step.input(input.input)?).await?;
    let nested = Arc::clone(&step.job.inner.nested);
    let read = move || {
        let bytes = look::read_file(&root.fd, &path, Some((0, LONGEST + 1)))?;
        nested.take(bytes.len() as u64)?;
        Ok::<_, SolveError>(bytes)
    };
    let bytes = step.job.blocking(read).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_builds_inside_of_a_build_take_has_an_end() {
        let nested = Nested::default();
        assert_eq!((0..2 * BUILDS_MAX).take_while(|_| nested.begin().is_ok()).count(), BUILDS_MAX);
        let most = usize::try_from(BYTES_MAX / LONGEST).expect("some");
        assert!(nested.take(LONGEST + 1).is_err());
        assert_eq!((0..2 * most).take_while(|_| nested.take(LONGEST).is_ok()).count(), most);
        assert!(nested.take(1).is_err());
    }
}
