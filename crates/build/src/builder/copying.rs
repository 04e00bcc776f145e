//! COPY and ADD.

use dockerfile::classic::operation::{self, Copies, Source};
use dockerfile::classic::{CopySource, Copying};
use dockerfile::words::expand_text;
use llb::pb::op::Op;
use oci::{Digest, Hasher};
use rustix::fs::FileType;

use super::operation::{Kind, Operation};
use super::{Builder, Key, Stage, nop};
use crate::address::{is_address, last_part};
use crate::configure::absolute;
use crate::error::BuildError;
use crate::files::{Entry, FileError};
use crate::solve::value::{self, Chain, Value};
use crate::solve::{file, key, look};

/// What a file is called that has no name where it comes from.
const UNNAMED: &str = "download";

/// What is going to be copied.
#[derive(Default)]
struct Items {
    /// What files come from; the first is the context or the image.
    values: Vec<Value>,
    /// Each source with the number of the value that it is in.
    sources: Vec<(usize, Source)>,
    /// Whether each thing that is copied is a directory.
    found: Vec<bool>,
}

impl Builder {
    pub(super) async fn copy(
        &self,
        stage: &mut Stage,
        keyword: &'static str,
        copying: &Copying,
    ) -> Result<(), BuildError> {
        let failed = |problem: &str| BuildError::Copy { keyword, problem: problem.to_owned() };
        let target = self.expand(stage, &copying.target)?;
        if target.is_empty() {
            return Err(failed("no destination"));
        }
        let into_directory = target.ends_with('/') || target == "." || target.ends_with("/.");
        let items = self.items(stage, keyword, copying, &target).await?;
        if items.found.is_empty() {
            return Err(failed("no source files were specified"));
        }
        if items.found.len() > 1 && !into_directory {
            return Err(BuildError::Step(format!(
                "When using {keyword} with more than one source file, the destination must be a directory and end with a /"
            )));
        }
        let path = absolute(&stage.config.working_dir, &target);
        let owner = copying.owner.as_deref().map(|word| self.expand(stage, word)).transpose()?;
        crate::owner::check(owner.as_deref().unwrap_or_default()).map_err(|problem| failed(&problem))?;
        let mode = copying.mode.as_deref().map(|word| self.expand(stage, word)).transpose()?;
        let mode = mode
            .map(|text| {
                parse_mode(&text).ok_or_else(|| failed(&format!("invalid chmod parameter: '{text}'")))
            })
            .transpose()?;
        let exclude: Result<_, _> = copying.exclude.iter().map(|word| self.expand(stage, word)).collect();
        let copies = Copies {
            unpacks: keyword == "ADD",
            target,
            owner: owner.clone().unwrap_or_default(),
            mode: mode.map(|mode| format!("{mode:o}")).unwrap_or_default(),
            exclude: exclude?,
        };
        let sources: Vec<Source> = items.sources.iter().map(|(_, source)| source.clone()).collect();
        let actions = copies.actions(stage.dir(), &sources).map_err(|problem| failed(&problem))?;
        let mut digests = Vec::new();
        for ((from, _), action) in items.sources.iter().zip(&actions) {
            let selection = file::selection_of(action);
            let digest = key::selected(&self.job, &items.values[*from], selection).await;
            digests.push(digest.map_err(|error| BuildError::copy_operation(keyword, &error))?);
        }
        let what = comment(keyword, &items.found, &digests, &path, into_directory, owner.as_deref(), mode);
        let key = Key::of([nop(stage), vec![format!("#(nop) {what}")]].concat());

        // What is copied onto stands before what is copied.
        let base = stage.base();
        let from = items.sources.iter().map(|(from, _)| from + base.len());
        let (op, inputs) = copies.operation((!base.is_empty()).then_some(0), from.zip(actions).collect());
        let values: Vec<Value> = base.into_iter().chain(items.values).collect();
        let inputs = inputs.into_iter().map(|input| values[input].clone()).collect();
        let operation = Operation { op: Op::File(op), inputs, kind: Kind::Copy(keyword) };
        self.operate(stage, &key, operation).await
    }

    /// Finds everything that is to be copied.
    async fn items(
        &self,
        stage: &Stage,
        keyword: &'static str,
        copying: &Copying,
        target: &str,
    ) -> Result<Items, BuildError> {
        let failed = |problem: String| BuildError::Copy { keyword, problem };
        let of_image = copying.from.is_some();
        let from = match &copying.from {
            None => self.context.clone(),
            Some(from) => {
                let from = self.expand(stage, from)?;
                Value::Chain(self.source_chain(stage, &from).await?)
            }
        };
        let mut items = Items { values: vec![from], ..Items::default() };
        for source in &copying.sources {
            match source {
                CopySource::Document(document) => {
                    let variables = |name: &str| {
                        stage.config.env_get(name).map(str::to_owned).or_else(|| stage.args.get(name))
                    };
                    let text = match document.expand {
                        true => expand_text(&document.content, self.escape, &variables)
                            .map_err(BuildError::Step)?,
                        false => document.content.clone(),
                    };
                    let op = Op::File(operation::document(&document.name, &text));
                    let made = self.made(stage, keyword, op).await?;
                    items.add(Value::Chain(made), document.name.clone());
                }
                CopySource::Path(word) => {
                    let word = self.expand(stage, word)?;
                    if is_address(&word) {
                        if keyword == "COPY" {
                            return Err(failed("source can't be a URL for COPY".to_owned()));
                        }
                        let (made, name) = self.fetched(stage, &word, target).await?;
                        items.add(Value::Chain(made), name);
                        continue;
                    }
                    if !of_image && !self.has_files {
                        return Err(failed("missing build context".to_owned()));
                    }
                    let found = self.find(&items.values[0], &word).await.map_err(|error| match error {
                        FileError::Missing(path) if of_image => FileError::NoFile(path),
                        other => other,
                    });
                    let found = found.map_err(|error| BuildError::copy(keyword, error))?;
                    items.found.extend(found.iter().map(|first| first.kind() == FileType::Directory));
                    items.sources.push((0, Source::Path(word)));
                }
            }
        }
        Ok(items)
    }

    /// What a source of COPY means: the files and directories alone.
    async fn find(&self, from: &Value, word: &str) -> Result<Vec<Entry>, FileError> {
        let failed = |error: crate::solve::SolveError| FileError::Pattern(error.cause().to_string());
        let (tree, written) = (value::tree(&self.job, from).await.map_err(failed)?, word.to_owned());
        let find = move || -> Result<Vec<Entry>, FileError> {
            tree.tree.select(&written)?.iter().map(|path| tree.tree.entry(path)).collect()
        };
        match crate::ignore::has_wildcard(&crate::ignore::clean(word)) {
            true => self.job.blocking(find).await,
            false => offload::in_place(find),
        }
    }

    /// Does an operation that a source is made by.
    async fn made(&self, stage: &Stage, keyword: &'static str, op: Op) -> Result<Chain, BuildError> {
        let done = async {
            let (done, _) = self.follow(stage, op, Vec::new()).await?;
            let made = done.outputs.into_iter().next().unwrap_or_else(|| Value::Chain(Chain::default()));
            value::chain(&self.job, &made).await
        };
        done.await.map_err(|error| BuildError::copy_operation(keyword, &error))
    }

    /// Fetches what is at an address, to be added at `target`; gives what it is called.
    async fn fetched(
        &self,
        stage: &Stage,
        address: &str,
        target: &str,
    ) -> Result<(Chain, String), BuildError> {
        let failed = |problem: String| BuildError::Copy { keyword: "ADD", problem };
        let known = last_part(address);
        let made = self.made(stage, "ADD", Op::Source(operation::download(address, known))).await?;
        stage.out.text("\n".to_owned()).await;
        if let Some(name) = known {
            return Ok((made, name.to_owned()));
        }
        let listed = async {
            let root = value::root(&self.job, &Value::Chain(made.clone())).await?;
            self.job.blocking(move || look::read_dir(&root.fd, "/", None)).await
        };
        let listed = listed.await.map_err(|error| BuildError::copy_operation("ADD", &error))?;
        match listed.into_iter().next().map(|file| file.path).unwrap_or_default() {
            name if name == UNNAMED && target.ends_with('/') => {
                Err(failed(format!("cannot determine filename for source {address}")))
            }
            name => Ok((made, name)),
        }
    }
}

impl Items {
    /// Adds a file that was made for it.
    fn add(&mut self, made: Value, name: String) {
        self.found.push(false);
        self.sources.push((self.values.len(), Source::Made(name)));
        self.values.push(made);
    }
}

/// What the history says: what was copied by its digest, and where to. A step of another's image is known by these
/// words, so all that decides what it makes is in them.
fn comment(
    keyword: &str,
    found: &[bool],
    digests: &[Digest],
    path: &str,
    slash: bool,
    owner: Option<&str>,
    mode: Option<u32>,
) -> String {
    let what = match (found, digests) {
        ([is_directory], [digest]) => {
            format!("{}:{}", if *is_directory { "dir" } else { "file" }, digest.hex())
        }
        _ => {
            let mut hasher = Hasher::sha256();
            digests.iter().for_each(|digest| hasher.update(format!("{},", digest.hex()).as_bytes()));
            format!("multi:{}", hasher.finish().hex())
        }
    };
    let owner = owner.map(|owner| format!("--chown={owner} ")).unwrap_or_default();
    let mode = mode.map(|mode| format!("--chmod={mode:o} ")).unwrap_or_default();
    let slash = if slash && path != "/" { "/" } else { "" };
    format!("{keyword} {owner}{mode}{what} in {path}{slash} ")
}

fn parse_mode(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)
}
