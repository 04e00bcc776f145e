//! `RUN --mount=…`.

use crate::go::{csv, quote, size};
use crate::suggest;

/// A mount of a RUN instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mount {
    pub(crate) kind: MountKind,
    /// The stage, image or named context that it comes from; empty for the context.
    pub(crate) from: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) is_readonly: bool,
    /// Bytes of a tmpfs; 0 for the default.
    pub(crate) size: i64,
    /// Of a cache, secret or agent.
    pub(crate) id: String,
    pub(crate) sharing: Option<Sharing>,
    pub(crate) is_required: bool,
    /// The variable that a secret goes into.
    pub(crate) env: Option<String>,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

/// What is mounted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MountKind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

/// What happens to a cache that two use at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sharing {
    Shared,
    Private,
    Locked,
}

const KINDS: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("tmpfs", MountKind::Tmpfs),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
];

const SHARINGS: [(&str, Sharing); 3] =
    [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

/// Puts the variables in.
pub(crate) type Expand<'a> = dyn FnMut(&str) -> Result<String, String> + 'a;

impl Mount {
    /// What can be said of a mount before its variables are known: where it comes from.
    pub(crate) fn source_of(text: &str) -> Result<String, String> {
        let mut from = String::new();
        for field in fields(text)? {
            let Some((key, value)) = field.split_once('=') else { continue };
            if !key.eq_ignore_ascii_case("from") {
                continue;
            }
            if value.find('$').is_some_and(|at| at + 1 != value.len()) {
                return Err(
                    "'from' doesn't support variable expansion, define alias stage instead".to_owned()
                );
            }
            value.clone_into(&mut from);
        }
        Ok(from)
    }

    /// Reads a mount.
    pub(crate) fn read(text: &str, expand: &mut Expand<'_>) -> Result<Self, String> {
        let mut mount = Self {
            kind: MountKind::Bind,
            from: String::new(),
            source: String::new(),
            target: String::new(),
            is_readonly: false,
            size: 0,
            id: String::new(),
            sharing: None,
            is_required: false,
            env: None,
            mode: None,
            uid: None,
            gid: None,
        };
        let mut readonly = None;
        for field in fields(text)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(expand(value)?)),
                None => (field.to_lowercase(), None),
            };
            mount.set(&key, value.as_deref(), &field, &mut readonly)?;
        }
        let takes_owner = matches!(mount.kind, MountKind::Secret | MountKind::Ssh | MountKind::Cache);
        if !takes_owner {
            for (name, value) in [("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)] {
                if value.is_some() {
                    return Err(format!("{name} not allowed for {} type mounts", quote(mount.kind.name())));
                }
            }
        }
        let is_readonly = !matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs);
        mount.is_readonly = readonly.unwrap_or(is_readonly);
        mount.check()?;
        Ok(mount)
    }

    fn set(
        &mut self,
        key: &str,
        value: Option<&str>,
        field: &str,
        readonly: &mut Option<bool>,
    ) -> Result<(), String> {
        let unexpected = |kind: MountKind| format!("unexpected key '{key}' for mount type '{}'", kind.name());
        let Some(value) = value else {
            match key {
                "readonly" | "ro" => *readonly = Some(true),
                "readwrite" | "rw" => *readonly = Some(false),
                "required" if matches!(self.kind, MountKind::Secret | MountKind::Ssh) => {
                    self.is_required = true;
                }
                "required" => return Err(unexpected(self.kind)),
                _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
            }
            return Ok(());
        };
        let invalid = || format!("invalid value for {key}: {value}");
        let number =
            |radix| u32::from_str_radix(value, radix).map_err(|_| format!("invalid value {value} for {key}"));
        match key {
            "type" => {
                let lower = value.to_lowercase();
                let known = KINDS.iter().find(|(name, _)| *name == lower);
                let (_, kind) = known.ok_or_else(|| {
                    let problem = format!("unsupported mount type {}", quote(value));
                    suggest::hint(problem, value, KINDS.iter().map(|(name, _)| *name), true)
                })?;
                self.kind = *kind;
            }
            "from" => value.clone_into(&mut self.from),
            "source" | "src" => value.clone_into(&mut self.source),
            "target" | "dst" | "destination" => value.clone_into(&mut self.target),
            "readonly" | "ro" => *readonly = Some(base::truth::parse(value).ok_or_else(invalid)?),
            "readwrite" | "rw" => *readonly = Some(!base::truth::parse(value).ok_or_else(invalid)?),
            "required" if matches!(self.kind, MountKind::Secret | MountKind::Ssh) => {
                self.is_required = base::truth::parse(value).ok_or_else(invalid)?;
            }
            "size" if self.kind == MountKind::Tmpfs => self.size = size(value).ok_or_else(invalid)?,
            "required" | "size" => return Err(unexpected(self.kind)),
            "id" => value.clone_into(&mut self.id),
            "sharing" => {
                let lower = value.to_lowercase();
                let known = SHARINGS.iter().find(|(name, _)| *name == lower);
                let (_, sharing) = known.ok_or_else(|| {
                    let problem = format!("unsupported sharing value {}", quote(value));
                    suggest::hint(problem, value, SHARINGS.iter().map(|(name, _)| *name), true)
                })?;
                self.sharing = Some(*sharing);
            }
            "mode" => self.mode = Some(number(8)?),
            "uid" => self.uid = Some(number(10)?),
            "gid" => self.gid = Some(number(10)?),
            "env" => self.env = Some(value.to_owned()),
            _ => {
                let problem = format!("unexpected key '{key}' in '{field}'");
                return Err(suggest::hint(problem, key, KEYS, true));
            }
        }
        Ok(())
    }

    /// Whether what was set goes together.
    fn check(&self) -> Result<(), String> {
        if self.kind == MountKind::Secret {
            if !self.from.is_empty() {
                return Err("secret mount should not have a from".to_owned());
            }
            if self.sharing.is_some() {
                return Err("secret mount should not define sharing".to_owned());
            }
            if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
                return Err("invalid secret mount. one of source, target required".to_owned());
            }
            if !self.source.is_empty() && !self.id.is_empty() {
                return Err("both source and id can't be set".to_owned());
            }
        }
        if self.sharing.is_some() && self.kind != MountKind::Cache {
            return Err(format!("invalid cache sharing set for {} mount", self.kind.name()));
        }
        Ok(())
    }
}

impl MountKind {
    fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("bind", |(name, _)| *name)
    }
}

fn fields(text: &str) -> Result<Vec<String>, String> {
    csv(text).map_err(|problem| format!("failed to parse csv mounts: {problem}"))
}
