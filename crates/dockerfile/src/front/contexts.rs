//! Where files come from: the build context, and those that have names.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use llb::pb;
use oci::{ImageConfig, Platform, Reference};

use super::archive::{BEGINNING, is_archive};
use super::settings::Settings;
use crate::client::{Client, DockerfileSource, Replaced, ResolveOptions};
use crate::convert::{Failure, Later};
use crate::draft::{Draft, Operation, Place, Source};
use crate::git::Repository;
use crate::go::{base_name, join_paths, quote};
use crate::ignore;

/// The longest Dockerfile and list of what is left out.
const TEXT_MAX: u64 = 4 << 20;
const DOCKERFILE: &str = "Dockerfile";
const IGNORE_FILE: &str = ".dockerignore";
/// The name of the one file of a context that is an address.
const FETCHED: &str = "context";

/// The contexts of a request.
pub(crate) struct Contexts<'a> {
    client: &'a dyn Client,
    settings: &'a Settings,
    inputs: &'a BTreeMap<String, pb::Definition>,
    main: Main,
    /// Where the Dockerfile is, if that is not where the rest is.
    dockerfile_input: Option<pb::Definition>,
    filename: String,
    /// What is left out of the context, once that is known.
    ignored: OnceLock<Vec<String>>,
}

/// Where the build context is.
enum Main {
    /// A directory of the client.
    Local,
    Repository(Box<Repository>),
    /// An archive at an address.
    Archive(Source),
    /// A single file at an address.
    File(Source),
    Given(pb::Definition),
}

/// A context with a name.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// `docker-image://…`, `local:…` and the like.
    input: String,
    name: String,
    /// The same, perhaps with a platform.
    full_name: String,
    shared_key: String,
}

/// What a context came to.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// For those that are images.
    pub(crate) config: Option<ImageConfig>,
    files: Files,
}

#[derive(Debug)]
enum Files {
    None,
    Source(Source),
    /// A directory: what is taken of it is known later.
    Local(Source),
    Given(pb::Definition),
}

impl<'a> Contexts<'a> {
    /// Finds out where the build context is.
    pub(crate) async fn open(
        client: &'a dyn Client,
        settings: &'a Settings,
        inputs: &'a BTreeMap<String, pb::Definition>,
    ) -> Result<Self, Failure> {
        let key = match settings.option("contextkey") {
            "" => "context",
            key => key,
        };
        let address = settings.option(key);
        let mut filename = match settings.option("filename") {
            "" => DOCKERFILE.to_owned(),
            name => name.to_owned(),
        };
        let main = if let Some(mut repository) = Repository::parse(address)? {
            if settings
                .args
                .get("BUILDKIT_CONTEXT_KEEP_GIT_DIR")
                .map(String::as_str)
                .and_then(base::truth::parse)
                == Some(true)
            {
                repository.keep_git_dir = Some(true);
            }
            if settings.args.get("SOURCE_DATE_EPOCH").is_some_and(|epoch| !epoch.is_empty()) {
                repository = repository.with_commit_times();
            }
            Main::Repository(Box::new(repository))
        } else if address.starts_with("http://") || address.starts_with("https://") {
            let source = Source::new(address.to_owned(), "source.http")
                .attribute("http.filename", FETCHED, None)
                .named("[internal] load remote build context");
            let mut draft = Draft::default();
            let place = draft.add_source(source.clone());
            let definition = draft.finish(Some(place), None);
            let paths = [FETCHED.to_owned()];
            let read = client.read_files(&definition, &paths, BEGINNING).await;
            let beginning = read
                .map_err(|error| Failure::of(format!("failed to read downloaded context: {error}"), error))?
                .into_iter()
                .next()
                .flatten();
            let beginning = beginning.ok_or_else(|| "failed to read downloaded context".to_owned())?;
            if is_archive(&beginning) {
                Main::Archive(source)
            } else {
                FETCHED.clone_into(&mut filename);
                Main::File(source)
            }
        } else if let Some(given) = inputs.get("context") {
            Main::Given(given.clone())
        } else {
            Main::Local
        };
        let is_local_dockerfile = settings.options.contains_key("dockerfilekey");
        let dockerfile_input = inputs.get("dockerfile").filter(|_| !is_local_dockerfile).cloned();
        Ok(Self { client, settings, inputs, main, dockerfile_input, filename, ignored: OnceLock::new() })
    }

    /// Reads the Dockerfile, and the list of what is left out that belongs to it.
    pub(crate) async fn dockerfile(&mut self) -> Result<DockerfileSource, Failure> {
        let mut paths = vec![self.filename.clone(), format!("{}{IGNORE_FILE}", self.filename)];
        if base_name(&self.filename) == DOCKERFILE {
            let dir = self.filename.strip_suffix(DOCKERFILE).unwrap_or_default();
            paths.push(format!("{dir}{}", DOCKERFILE.to_lowercase()));
        }
        let definition = self.dockerfile_definition(&paths);
        let read = self.client.read_files(&definition, &paths, TEXT_MAX + 1).await;
        let mut files = read
            .map_err(|error| Failure::of(format!("failed to read dockerfile: {error}"), error))?
            .into_iter();
        let (first, ignored, second) =
            (files.next().flatten(), files.next().flatten(), files.next().flatten());
        let filename = self.filename.clone();
        let data = first.or(second).ok_or_else(|| {
            format!("failed to read dockerfile: open {filename}: no such file or directory")
        })?;
        if data.len() as u64 > TEXT_MAX {
            return Err(Failure::from(format!("the Dockerfile is longer than {TEXT_MAX} bytes")));
        }
        if let Some(ignored) = ignored {
            self.set_ignored(&ignored, &format!("{filename}{IGNORE_FILE}"))?;
        }
        Ok(DockerfileSource { filename, data, definition })
    }

    fn dockerfile_definition(&self, paths: &[String]) -> pb::Definition {
        let mut draft = Draft::default();
        let is_local = self.settings.options.contains_key("dockerfilekey");
        if let Some(given) = &self.dockerfile_input {
            return given.clone();
        }
        // One that came as a definition has its Dockerfile beside it, as one of the client's directories has.
        if !is_local
            && !matches!(self.main, Main::Given(_))
            && let Some(whole) = self.whole(&mut draft)
        {
            return draft.finish(whole, None);
        }
        let name = match self.settings.option("dockerfilekey") {
            "" => "dockerfile",
            name => name,
        };
        let source = Source::local(name, self.session(name), name)
            .follow(paths)
            .anew()
            .named(&format!("[internal] load build definition from {}", self.filename));
        let place = draft.add_source(source);
        draft.finish(Some(place), None)
    }

    fn session(&self, name: &str) -> &str {
        match self.settings.option(&format!("local-sessionid:{name}")) {
            "" => self.client.session(),
            session => session,
        }
    }

    /// The build context, if that is no directory of the client; it may be empty.
    pub(crate) fn main(&self, draft: &mut Draft) -> Option<Option<Place>> {
        let place = self.whole(draft)?;
        let subdir = self.settings.option("contextsubdir");
        let (Some(whole), false) = (place, subdir.is_empty()) else { return Some(place) };
        let copy = pb::FileActionCopy {
            src: join_paths("/", subdir),
            dest: "/".to_owned(),
            dir_copy_contents: true,
            ..plain_copy()
        };
        Some(Some(copied(draft, whole, copy)))
    }

    /// The same with what is beside the directory in it that is meant.
    fn whole(&self, draft: &mut Draft) -> Option<Option<Place>> {
        Some(match &self.main {
            Main::Local => return None,
            Main::Repository(repository) => {
                let address = self.settings.option(match self.settings.option("contextkey") {
                    "" => "context",
                    key => key,
                });
                let name = format!("[internal] load git source {address}");
                Some(draft.add_source(repository.source().named(&name)))
            }
            Main::File(source) => Some(draft.add_source(source.clone())),
            Main::Archive(source) => {
                let fetched = draft.add_source(source.clone());
                let copy = pb::FileActionCopy {
                    src: format!("/{FETCHED}"),
                    dest: "/".to_owned(),
                    attempt_unpack_docker_compatibility: true,
                    ..plain_copy()
                };
                Some(copied(draft, fetched, copy))
            }
            Main::Given(definition) => draft.add_given(definition),
        })
    }

    /// The build context as a directory of the client, of which these paths are taken.
    pub(crate) fn local_main(&self, paths: &[String]) -> Source {
        let excluded = self.ignored.get().map(Vec::as_slice).unwrap_or_default();
        Source::local("context", self.session("context"), "context")
            .follow(paths)
            .exclude(excluded)
            .named("[internal] load build context")
    }

    /// What is left out of the build context.
    pub(crate) async fn ignored(&self) -> Result<Vec<String>, Failure> {
        if !matches!(self.main, Main::Local) {
            return Ok(Vec::new());
        }
        if let Some(known) = self.ignored.get() {
            return Ok(known.clone());
        }
        let source = Source::local("context", self.session("context"), &format!("context-{IGNORE_FILE}"))
            .follow(&[IGNORE_FILE.to_owned()])
            .anew()
            .named(&format!("[internal] load {IGNORE_FILE}"));
        let text = self.read_ignore_file(source).await?;
        self.set_ignored(&text, IGNORE_FILE)?;
        Ok(self.ignored.get().cloned().unwrap_or_default())
    }

    async fn read_ignore_file(&self, source: Source) -> Result<Vec<u8>, Failure> {
        let mut draft = Draft::default();
        let place = draft.add_source(source);
        let definition = draft.finish(Some(place), None);
        let files = self.client.read_files(&definition, &[IGNORE_FILE.to_owned()], TEXT_MAX + 1).await?;
        Ok(files.into_iter().next().flatten().unwrap_or_default())
    }

    fn set_ignored(&self, text: &[u8], name: &str) -> Result<(), Failure> {
        let patterns = patterns(text, name)?;
        // Another may have been quicker, with the same.
        let _ = self.ignored.set(patterns);
        Ok(())
    }

    /// The context that has the name of an image or a stage.
    pub(crate) fn named(&self, name: &str, platform: &Platform) -> Result<Option<Named>, String> {
        if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") {
            return Ok(None);
        }
        let reference =
            Reference::parse(name).map_err(|error| format!("invalid context name {name}: {error}"))?;
        let name = reference.familiar();
        let name = name.strip_suffix(":latest").unwrap_or(&name);
        for full_name in [format!("{name}::{}", platform.normalised()), name.to_owned()] {
            if let Some(input) = self.settings.options.get(&format!("context:{full_name}")) {
                let shared_key = self.settings.option(&format!("sharedkey:localdir:{full_name}")).to_owned();
                return Ok(Some(Named {
                    input: input.clone(),
                    name: name.to_owned(),
                    full_name,
                    shared_key,
                }));
            }
        }
        Ok(None)
    }

    /// Finds out what a named context is: what it is said to be, or what is used in the place of that.
    pub(crate) async fn load(&self, named: &Named, platform: &Platform) -> Result<Loaded, Failure> {
        let loaded = self.load_as(named, platform).await;
        let source = loaded.as_ref().err().and_then(|failure| failure.source.as_ref());
        let Some(replaced) = source.and_then(|error| error.downcast_ref::<Replaced>()) else { return loaded };
        self.load_as(&Named { input: replaced.by.clone(), ..named.clone() }, platform).await
    }

    async fn load_as(&self, named: &Named, platform: &Platform) -> Result<Loaded, Failure> {
        let Named { input, full_name, .. } = named;
        let Some((kind, rest)) = input.split_once(':') else {
            return Err(Failure::from(format!("invalid context specifier {input} for {full_name}")));
        };
        let kind = if kind.starts_with("git@") { "git" } else { kind };
        let files = match kind {
            "docker-image" => return self.load_image(named, rest.trim_start_matches("//"), platform).await,
            "oci-layout" => return self.load_layout(named, rest.trim_start_matches("//"), platform).await,
            "git" | "http" | "https" => match Repository::parse(input)? {
                Some(repository) => {
                    let name = format!("[internal] load git source {input}");
                    Files::Source(repository.source().named(&name))
                }
                None if kind == "git" => return Err(Failure::from(format!("invalid git context {input}"))),
                None => Files::Source(
                    Source::new(input.clone(), "source.http")
                        .attribute("http.filename", FETCHED, None)
                        .named(&format!("[context {full_name}] {input}")),
                ),
            },
            "local" => {
                let rest = rest.trim_start_matches("//");
                let key = format!("context:{full_name}-{IGNORE_FILE}");
                let source = Source::local(rest, self.session(rest), &key)
                    .follow(&[IGNORE_FILE.to_owned()])
                    .anew()
                    .named(&format!("[context {full_name}] load {IGNORE_FILE}"));
                let text = self.read_ignore_file(source).await?;
                let excluded = patterns(&text, IGNORE_FILE)?;
                let key = format!("context:{full_name}-{}", named.shared_key);
                let source = Source::local(rest, self.session(rest), &key)
                    .exclude(&excluded)
                    .named(&format!("[context {full_name}] load from client"));
                Files::Local(source)
            }
            "input" => {
                let given = self.inputs.get(rest);
                let given = given.ok_or_else(|| format!("invalid input {rest} for {full_name}"))?;
                let config = self.input_config(rest, full_name)?;
                return Ok(Loaded { config, files: Files::Given(given.clone()) });
            }
            other => {
                return Err(Failure::from(format!("unsupported context source {other} for {full_name}")));
            }
        };
        Ok(Loaded { config: None, files })
    }

    async fn load_image(&self, named: &Named, text: &str, platform: &Platform) -> Result<Loaded, Failure> {
        if text == "scratch" {
            return Ok(Loaded { config: None, files: Files::None });
        }
        let full_name = &named.full_name;
        let reference = Reference::parse(text).map_err(|error| error.to_string())?.with_default_tag();
        let options = ResolveOptions {
            platform: Some(platform),
            mode: &self.settings.resolve_mode,
            name: &format!("[context {full_name}] load metadata for {text}"),
            store: None,
        };
        let resolved = self.client.resolve_image(&reference.to_string(), options).await?;
        let source = match resolved.digest {
            Some(digest) if !resolved.name.contains('@') => format!("{}@{digest}", resolved.name),
            _ => resolved.name,
        };
        let source =
            Source::image(&source, platform, "default").named(&format!("[context {full_name}] {text}"));
        Ok(Loaded { config: Some(read_config(&resolved.config)?), files: Files::Source(source) })
    }

    /// An image in a store of the client's.
    async fn load_layout(&self, named: &Named, text: &str, platform: &Platform) -> Result<Loaded, Failure> {
        let full_name = &named.full_name;
        let (store, digest) = text
            .split_once('@')
            .ok_or_else(|| format!("oci-layout reference {} has no digest", quote(text)))?;
        let store = store.split(':').next().unwrap_or(store);
        let wrong = |error: String| format!("could not parse oci-layout reference {}: {error}", quote(text));
        let digest = oci::Digest::parse(digest).map_err(|error| wrong(error.to_string()))?;
        let reference = Reference::parse(&named.name).map_err(|error| wrong(error.to_string()))?;
        let reference = format!("{reference}@{digest}");
        let options = ResolveOptions {
            platform: Some(platform),
            mode: &self.settings.resolve_mode,
            name: &format!("[context {full_name}] load metadata for {reference}"),
            store: Some(store),
        };
        let resolved = self.client.resolve_image(&reference, options).await?;
        let source = Source::new(format!("oci-layout://{reference}"), "source.ocilayout")
            .attribute("oci.session", self.client.session(), None)
            .attribute("oci.store", store, None)
            .platform(platform)
            .named(&format!("[context {full_name}] OCI load from client"));
        Ok(Loaded { config: Some(read_config(&resolved.config)?), files: Files::Source(source) })
    }

    /// The configuration that came with an input.
    fn input_config(&self, name: &str, full_name: &str) -> Result<Option<ImageConfig>, Failure> {
        use base64::Engine as _;
        let text = self.settings.option(&format!("input-metadata:{name}"));
        if text.is_empty() {
            return Ok(None);
        }
        let read: BTreeMap<String, String> = serde_json::from_str(text)
            .map_err(|error| format!("failed to parse input metadata {text}: {error}"))?;
        let Some(encoded) = read.get("containerimage.config") else { return Ok(None) };
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .map_err(|error| format!("failed to parse image config for {full_name}: {error}"))?;
        read_config(&bytes).map(Some)
    }

    /// Puts what a context came to into a draft.
    pub(crate) fn place(&self, loaded: &Loaded, draft: &mut Draft) -> (Option<Place>, Option<Later>) {
        match &loaded.files {
            Files::None => (None, None),
            Files::Source(source) => (Some(draft.add_source(source.clone())), None),
            Files::Given(definition) => (draft.add_given(definition), None),
            Files::Local(source) => {
                let place = draft.add_later();
                (Some(place), Some(Later { place, source: source.clone() }))
            }
        }
    }
}

fn patterns(text: &[u8], name: &str) -> Result<Vec<String>, Failure> {
    if text.len() as u64 > TEXT_MAX {
        return Err(Failure::from(format!("{name} is longer than {TEXT_MAX} bytes")));
    }
    Ok(ignore::patterns(&String::from_utf8_lossy(text)))
}

fn read_config(bytes: &[u8]) -> Result<ImageConfig, Failure> {
    ImageConfig::take(bytes)
        .map_err(|error| Failure::of("failed to parse image config".to_owned(), Box::new(error)))
}

fn plain_copy() -> pb::FileActionCopy {
    pb::FileActionCopy { mode: -1, timestamp: -1, ..pb::FileActionCopy::default() }
}

/// A directory with what is copied from another.
fn copied(draft: &mut Draft, from: Place, copy: pb::FileActionCopy) -> Place {
    let action = pb::FileAction {
        input: llb::EMPTY,
        secondary_input: 0,
        output: 0,
        action: Some(pb::file_action::Action::Copy(copy)),
    };
    let mut metadata = pb::OpMetadata::default();
    metadata.caps.insert("file.base".to_owned(), true);
    draft.add(Operation {
        op: pb::op::Op::File(pb::FileOp { actions: vec![action] }),
        inputs: vec![from],
        platform: None,
        metadata,
        lines: None,
    })
}
