//! COPY and ADD.

use llb::pb;
use llb::pb::file_action::Action;
use oci::Digest;

use super::dispatch::absolute;
use super::names::shown;
use super::{Command, Converter};
use crate::draft::{Operation, Place, Source, metadata};
use crate::git::Repository;
use crate::go::{base_name, clean_path, join_paths, quote};
use crate::instruction::Copying;

/// Where files are copied from, and how.
struct From {
    /// None for an empty directory.
    root: Option<Place>,
    copy: pb::FileActionCopy,
}

impl Converter<'_> {
    pub(super) fn copy(
        &mut self,
        at: usize,
        command: &Command,
        copying: &Copying,
        is_add: bool,
    ) -> Result<(), String> {
        let root = match command.sources.first() {
            None => self.context,
            Some(&from) => {
                if !self.stages[from].is_done {
                    return Err(format!(
                        "cannot copy from stage {}, it needs to be defined before current stage {}",
                        quote(&copying.from),
                        quote(&self.stages[at].shown)
                    ));
                }
                self.stages[from].state.root
            }
        };
        check_checksum(copying, is_add)?;
        let stage = &self.stages[at];
        let (env, platform) = (stage.state.env.clone(), stage.platform.clone());
        let common = common(stage.state.dir(), &copying.target, &copying.chmod, &copying.exclude)?;
        let name = shown(self.lexer, &command.instruction.code, &env);
        let label = self.step_name(at, &name, platform.as_ref(), &env);
        let mut files = Vec::new();
        let is_of_context = command.sources.is_empty();
        for source in &copying.sources {
            let from = self.source_of(source, copying, is_add, &label, &common, command)?;
            if from.is_none() && is_of_context {
                self.check_ignored(source, is_add, command.instruction.lines);
            }
            files.push(from.unwrap_or_else(|| From { root, copy: local(source, copying, is_add, &common) }));
        }
        for file in &copying.files {
            files.push(self.inline(&file.name, &file.content, &common));
        }
        self.write_copy(at, command, copying, files, &name, &label);
        self.commit(at, history(copying, is_add), true);
        self.note_paths(at, command, copying);
        Ok(())
    }

    /// Where a source of ADD comes from that is no path.
    fn source_of(
        &mut self,
        source: &str,
        copying: &Copying,
        is_add: bool,
        label: &str,
        common: &pb::FileActionCopy,
        command: &Command,
    ) -> Result<Option<From>, String> {
        if let Some(mut repository) = Repository::parse(source)?.filter(|found| !found.may_be_path) {
            if !is_add {
                return Err("source can't be a git ref for COPY".to_owned());
            }
            if let (Some(asked), Some(kept)) = (copying.keep_git_dir, repository.keep_git_dir)
                && asked != kept
            {
                return Err("inconsistent keep-git-dir configuration".to_owned());
            }
            repository.keep_git_dir = repository.keep_git_dir.or(copying.keep_git_dir);
            let (asked, known) = (&copying.checksum, &repository.checksum);
            if !asked.is_empty() && !known.is_empty() && asked != known {
                return Err(format!("checksum mismatch {} != {}", quote(asked), quote(known)));
            }
            if known.is_empty() {
                repository.checksum.clone_from(asked);
            }
            let root = self.draft.add_source(repository.source().named(label));
            let copy = pb::FileActionCopy { src: "/".to_owned(), ..common.clone() };
            return Ok(Some(From { root: Some(root), copy }));
        }
        if !is_address(source) {
            return Ok(None);
        }
        if !is_add {
            return Err("source can't be a URL for COPY".to_owned());
        }
        let name = web_name(source);
        let mut http = web_source(source, &name).named(label).command(&command.instruction.code);
        if !copying.checksum.is_empty() {
            let checksum = Digest::parse(&copying.checksum).map_err(|error| error.to_string())?;
            http = http.attribute("http.checksum", &checksum.to_string(), Some("source.http.checksum"));
        }
        let root = self.draft.add_source(http);
        let copy = pb::FileActionCopy {
            attempt_unpack_docker_compatibility: copying.unpack.unwrap_or_default(),
            ..action_of(&name, common)
        };
        Ok(Some(From { root: Some(root), copy }))
    }

    /// A file with the text of a here-document.
    fn inline(&mut self, name: &str, content: &str, common: &pb::FileActionCopy) -> From {
        let root = self.inline_file(&join_paths("/", name), content, 0o644);
        From { root: Some(root), copy: action_of(name, common) }
    }

    /// A directory with one file in it.
    pub(super) fn inline_file(&mut self, path: &str, content: &str, mode: i32) -> Place {
        self.draft.add(Operation {
            op: pb::op::Op::File(inline_op(path, content, mode)),
            inputs: Vec::new(),
            platform: None,
            metadata: metadata("[internal] preparing inline document", &["file.base"]),
            lines: None,
        })
    }

    /// Adds the operation: on the stage's files, or beside them and put on top of them.
    fn write_copy(
        &mut self,
        at: usize,
        command: &Command,
        copying: &Copying,
        files: Vec<From>,
        name: &str,
        label: &str,
    ) {
        let is_link = copying.link && copying.chmod.is_empty();
        let below = self.stages[at].state.root;
        let base = below.filter(|_| !is_link);
        let files = files.into_iter().map(|from| (from.root, from.copy)).collect();
        let (op, inputs) = file_op(base, files, &copying.chown);
        let mut capabilities = vec!["file.base"];
        for action in &op.actions {
            let Some(Action::Copy(copy)) = &action.action else { continue };
            if !copy.include_patterns.is_empty() || !copy.exclude_patterns.is_empty() {
                capabilities.push("file.copy.includeexcludepatterns");
            }
            if !copy.required_paths.is_empty() {
                capabilities.push("file.copy.requiredpaths");
            }
            if !copy.mode_str.is_empty() {
                capabilities.push("file.copy.modestring");
            }
        }
        let lines = Some(command.instruction.lines);
        let mut told = metadata(label, &capabilities);
        told.ignore_cache = self.stages[at].ignores_cache;
        let (env, platform) = (self.stages[at].state.env.clone(), self.stages[at].platform.clone());
        let group = |is_weak: bool| pb::ProgressGroup {
            id: Digest::sha256_of(format!("{label}{lines:?}{platform:?}").as_bytes()).short().to_owned(),
            name: label.to_owned(),
            weak: is_weak,
        };
        if is_link {
            told.progress_group = Some(group(true));
        }
        let op = pb::op::Op::File(op);
        let copied = self.draft.add(Operation { op, inputs, platform: None, metadata: told, lines });
        let root = match below.filter(|_| is_link) {
            None => copied,
            Some(below) => {
                let label = self.same_step_name(at, &format!("LINK {name}"), platform.as_ref(), &env);
                let mut told = metadata(&label, &["mergeop"]);
                told.ignore_cache = self.stages[at].ignores_cache;
                told.progress_group = Some(group(false));
                let inputs = vec![pb::MergeInput { input: 0 }, pb::MergeInput { input: 1 }];
                self.draft.add(Operation {
                    op: pb::op::Op::Merge(pb::MergeOp { inputs }),
                    inputs: vec![below, copied],
                    platform: None,
                    metadata: told,
                    lines,
                })
            }
        };
        self.stages[at].state.root = Some(root);
    }

    /// Notes what is taken of the context, or of another stage.
    fn note_paths(&mut self, at: usize, command: &Command, copying: &Copying) {
        let paths = copying.sources.iter().filter(|source| !is_address(source));
        let paths: Vec<String> = paths.map(|path| join_paths("/", path)).collect();
        match command.sources.first() {
            None => self.stages[at].context_paths.extend(paths),
            Some(&from) => {
                let from = self.stages[from].paths_of;
                self.stages[from].paths.extend(paths);
            }
        }
    }
}

/// What all sources of an instruction have in common, in the working directory `dir`.
pub(crate) fn common(
    dir: &str,
    to: &str,
    chmod: &str,
    exclude: &[String],
) -> Result<pb::FileActionCopy, String> {
    let (mode, mode_str) = mode(chmod)?;
    Ok(pb::FileActionCopy {
        dest: target(dir, to),
        mode,
        mode_str,
        create_dest_path: true,
        exclude_patterns: exclude.to_vec(),
        timestamp: -1,
        ..pb::FileActionCopy::default()
    })
}

/// The operation that copies onto `base`, and its inputs. Each file comes from one, or from an empty directory.
pub(crate) fn file_op<P: PartialEq>(
    base: Option<P>,
    files: Vec<(Option<P>, pb::FileActionCopy)>,
    chown: &str,
) -> (pb::FileOp, Vec<P>) {
    let owner_input = if base.is_some() { 0 } else { llb::EMPTY };
    let mut inputs: Vec<P> = base.into_iter().collect();
    let mut copies = Vec::new();
    for (root, copy) in files {
        let secondary = root.map_or(llb::EMPTY, |root| {
            let known = inputs.iter().position(|input| *input == root);
            number(known.unwrap_or_else(|| {
                inputs.push(root);
                inputs.len() - 1
            }))
        });
        copies.push((secondary, copy));
    }
    let last = copies.len();
    let actions = copies.into_iter().enumerate().map(|(number_of, (secondary_input, mut copy))| {
        copy.owner = (!chown.is_empty()).then(|| owner(chown, owner_input));
        pb::FileAction {
            input: match number_of {
                0 => owner_input,
                later => number(inputs.len() + later - 1),
            },
            secondary_input,
            output: if number_of + 1 == last { 0 } else { llb::SKIP_OUTPUT },
            action: Some(Action::Copy(copy)),
        }
    });
    (pb::FileOp { actions: actions.collect() }, inputs)
}

/// The operation that makes the working directory `dir`, with those above it, on its input if there is one.
pub(crate) fn directory_op(dir: &str, has_base: bool, user: &str, timestamp: i64) -> pb::FileOp {
    let base = if has_base { 0 } else { llb::EMPTY };
    let mkdir = pb::FileActionMkDir {
        path: clean_path(dir),
        mode: 0o755,
        make_parents: true,
        owner: (!user.is_empty()).then(|| owner(user, base)),
        timestamp,
    };
    let action = Some(Action::Mkdir(mkdir));
    pb::FileOp {
        actions: vec![pb::FileAction { input: base, secondary_input: llb::EMPTY, output: 0, action }],
    }
}

/// The operation that makes a directory with one file in it.
pub(crate) fn inline_op(path: &str, content: &str, mode: i32) -> pb::FileOp {
    let file = pb::FileActionMkFile {
        path: path.to_owned(),
        mode,
        data: content.to_owned().into_bytes().into(),
        owner: None,
        timestamp: -1,
    };
    let action = Some(Action::Mkfile(file));
    pb::FileOp {
        actions: vec![pb::FileAction { input: llb::EMPTY, secondary_input: llb::EMPTY, output: 0, action }],
    }
}

/// What a file from an address is called.
fn web_name(address: &str) -> String {
    let path = url::Url::parse(address).map(|url| url.path().to_owned()).unwrap_or_default();
    match base_name(&path) {
        "." | "/" => "__unnamed__".to_owned(),
        name => name.to_owned(),
    }
}

/// A file from an address, alone in a directory.
fn web_source(address: &str, name: &str) -> Source {
    Source::new(address.to_owned(), "source.http").attribute("http.filename", name, None)
}

/// Copies the one file of a directory that was made for it.
pub(crate) fn action_of(name: &str, common: &pb::FileActionCopy) -> pb::FileActionCopy {
    pb::FileActionCopy { src: join_paths("/", name), ..common.clone() }
}

/// A path of the context or of another stage.
pub(crate) fn local(
    source: &str,
    copying: &Copying,
    is_add: bool,
    common: &pb::FileActionCopy,
) -> pb::FileActionCopy {
    let (mut source, mut include, mut required) = (source.to_owned(), Vec::new(), Vec::new());
    if copying.parents {
        // What stands before the dot is no part of the path that is kept.
        let (parent, pattern) = match source.split_once("/./") {
            Some((parent, pattern)) => (parent.to_owned(), pattern.to_owned()),
            None => ("/".to_owned(), source.clone()),
        };
        let pattern = absolute("/", &pattern);
        include.push(pattern.trim_start_matches('/').to_owned());
        if !has_wildcard(&parent) && !has_wildcard(&pattern) {
            required.push(absolute("/", &join_paths(&parent, &pattern)));
        }
        source = parent;
    }
    pb::FileActionCopy {
        src: clean_path(&absolute("/", &source)),
        follow_symlink: true,
        dir_copy_contents: true,
        attempt_unpack_docker_compatibility: copying.unpack.unwrap_or(is_add),
        allow_wildcard: true,
        allow_empty_wildcard: true,
        include_patterns: include,
        required_paths: required,
        ..common.clone()
    }
}

/// Where files go: a slash at its end says that it is a directory.
fn target(dir: &str, path: &str) -> String {
    let path = if matches!(path, "." | "") { "./" } else { path };
    let clean = clean_path(&absolute(dir, path));
    match () {
        () if path.ends_with('/') && !clean.ends_with('/') => clean + "/",
        () if path.ends_with("/.") && clean == "/" => clean + ".",
        () if path.ends_with("/.") => clean + "/.",
        () => clean,
    }
}

/// `--chown`, and USER for a directory: names are looked up in the files of an input.
pub(super) fn owner(text: &str, input: i64) -> pb::ChownOpt {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let one = |text: &str| {
        let id = if text == "root" { Some(0) } else { text.parse::<i32>().ok().map(i32::cast_unsigned) };
        let user = match (id, text) {
            (Some(id), _) => pb::user_opt::User::ById(id),
            (None, "") => pb::user_opt::User::ById(0),
            (None, name) => pb::user_opt::User::ByName(pb::NamedUserOpt { name: name.to_owned(), input }),
        };
        pb::UserOpt { user: Some(user) }
    };
    pb::ChownOpt { user: Some(one(user)), group: group.map(one) }
}

/// `--chmod`: a number, or a text such as `u=rwX,go=rX`; -1 for none.
fn mode(text: &str) -> Result<(i32, String), String> {
    if text.is_empty() {
        return Ok((-1, String::new()));
    }
    let wrong =
        || format!("invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777");
    if let Ok(mode) = u32::from_str_radix(text, 8) {
        return match i32::try_from(mode) {
            Ok(mode @ 0..=0o7777) => Ok((mode, String::new())),
            _ => Err(wrong()),
        };
    }
    let is_clause = |clause: &str| {
        let end = clause.find(|c: char| !"ugoa".contains(c)).unwrap_or(clause.len());
        let mut rest = &clause[end..];
        let mut has_operation = false;
        while let Some(after) = rest.strip_prefix(['+', '-', '=']) {
            has_operation = true;
            let end = after.find(|c: char| !"rwxXstugo".contains(c)).unwrap_or(after.len());
            rest = &after[end..];
        }
        has_operation && rest.is_empty()
    };
    match text.split(',').all(is_clause) {
        true => Ok((0, text.to_owned())),
        false => Err(wrong()),
    }
}

fn check_checksum(copying: &Copying, is_add: bool) -> Result<(), String> {
    if copying.checksum.is_empty() {
        return Ok(());
    }
    let [source] = copying.sources.as_slice() else {
        return Err("checksum can't be specified for multiple sources".to_owned());
    };
    let is_git = Repository::parse(source).ok().flatten().is_some();
    match is_add && (is_git || is_address(source)) {
        true => Ok(()),
        false => Err("checksum requires HTTP(S) or Git sources".to_owned()),
    }
}

/// What the history says.
fn history(copying: &Copying, is_add: bool) -> String {
    let mut text = if is_add { "ADD" } else { "COPY" }.to_owned();
    if copying.parents {
        text.push_str(" --parents");
    }
    for (flag, value) in [("chown", &copying.chown), ("chmod", &copying.chmod)] {
        if !value.is_empty() {
            text.push_str(&format!(" --{flag}={value}"));
        }
    }
    for source in &copying.sources {
        text.push_str(&format!(" {source}"));
    }
    for file in &copying.files {
        text.push_str(&format!(" <<{}", file.name));
    }
    format!("{text} {} # buildkit", copying.target)
}

fn is_address(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

fn has_wildcard(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => drop(chars.next()),
            _ => {}
        }
    }
    false
}

fn number(index: usize) -> i64 {
    i64::try_from(index).expect("there are fewer operations than numbers")
}
