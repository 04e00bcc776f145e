//! The options that verbs take, from the query or from a body.

use std::num::IntErrorKind;
use std::time::Duration;

use model::field::{FieldError, Path, is_printable};
use model::{GroupKind, Status};
use serde::Deserialize;

use super::{Query, Verb};
use crate::error::{Error, Result};

/// How a list or watch relates to the revision that the client names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    /// At least as new.
    NotOlderThan,
    /// Exactly that revision.
    Exact,
}

/// Options of list, watch and deletecollection.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Label selector text.
    pub label_selector: String,
    /// Field selector text.
    pub field_selector: String,
    /// The revision named by the client; empty where none.
    pub resource_version: String,
    /// How it is meant.
    pub version_match: Option<VersionMatch>,
    /// At most so many objects; 0 for all.
    pub limit: usize,
    /// Where to go on, from an earlier answer.
    pub continue_token: String,
    /// How long a watch may go on.
    pub timeout: Option<Duration>,
    /// Whether a watch wants bookmarks.
    pub bookmarks: bool,
    /// Whether a watch begins with the current objects.
    pub initial_events: Option<bool>,
}

/// What to do about fields that the schema does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and say so in `Warning` headers.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

/// Options of create, update and patch.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Do everything but store it.
    pub dry_run: bool,
    /// Who is to own the fields; found from the user agent where the client does not say.
    pub field_manager: String,
    /// Whether the client named the manager itself.
    pub explicit_manager: bool,
    /// What to do about unknown fields.
    pub field_validation: FieldValidation,
    /// Server-side apply takes fields over from their owners.
    pub force: bool,
}

/// What happens to the objects that an object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They lose their owner and stay.
    Orphan,
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
}

/// What must still hold of an object that is to be deleted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preconditions {
    /// It is still that object.
    pub uid: Option<String>,
    /// It is still at that revision.
    pub resource_version: Option<String>,
}

/// Options of delete, in the body or the query.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteOptions {
    /// How long the object may take to end, in seconds.
    pub grace_period_seconds: Option<i64>,
    /// What must still hold.
    pub preconditions: Option<Preconditions>,
    /// What happens to what it owns, as the client named it.
    pub propagation_policy: Option<String>,
    /// The old form of `propagationPolicy: Orphan`.
    pub orphan_dependents: Option<bool>,
    /// `["All"]`: do everything but delete it.
    pub dry_run: Vec<String>,
}

/// Nobody waits longer, and no clock is set so far that a time of this length could not be added to it.
const YEAR: u64 = 365 * 24 * 3600;

impl ListOptions {
    /// Reads and checks the query.
    pub fn parse(query: &Query) -> Result<Self> {
        let text = |key: &str| query.get(key).unwrap_or_default().to_owned();
        let number = |key: &str| -> Result<u64> {
            let Some(text) = query.filled(key) else { return Ok(0) };
            let number = text.parse::<i64>().map_err(|error| {
                let why = match error.kind() {
                    IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                    _ => "invalid syntax",
                };
                Error::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"))
            })?;
            // None is below nothing, which means all.
            Ok(u64::try_from(number).unwrap_or(0))
        };
        let options = Self {
            label_selector: text("labelSelector"),
            field_selector: text("fieldSelector"),
            resource_version: text("resourceVersion"),
            version_match: match query.filled("resourceVersionMatch") {
                Some("NotOlderThan") => Some(VersionMatch::NotOlderThan),
                Some("Exact") => Some(VersionMatch::Exact),
                _ => None,
            },
            limit: usize::try_from(number("limit")?).unwrap_or(usize::MAX),
            continue_token: text("continue"),
            timeout: Some(number("timeoutSeconds")?)
                .filter(|seconds| *seconds > 0)
                .map(|seconds| Duration::from_secs(seconds.min(YEAR))),
            bookmarks: query.flag("allowWatchBookmarks"),
            initial_events: query.filled("sendInitialEvents").map(|_| query.flag("sendInitialEvents")),
        };
        options.check(query)?;
        Ok(options)
    }

    /// The version of which a list is to be, where the client wants that one and none that is newer: a page
    /// of a named version is of that version, though nothing says how it is meant.
    pub fn exact(&self) -> Result<Option<u64>> {
        let exact = match self.version_match {
            Some(version_match) => version_match == VersionMatch::Exact,
            None => self.limit > 0,
        };
        Ok(self.revision()?.filter(|version| exact && *version > 0))
    }

    /// The named revision as a number; none where the client names none.
    pub fn revision(&self) -> Result<Option<u64>> {
        revision_named(&self.resource_version)
    }

    fn check(&self, query: &Query) -> Result<()> {
        let wrong = match query.filled("resourceVersionMatch") {
            named if query.flag("watch") => self.wrong_for_watch(named),
            named => self.wrong_for_list(named),
        };
        if !wrong.is_empty() {
            return Err(invalid("ListOptions", &wrong));
        }
        if !self.continue_token.is_empty() && !matches!(self.resource_version.as_str(), "" | "0") {
            return Err(Error::bad_request("specifying resource version is not allowed when using continue"));
        }
        self.revision().map(drop)
    }

    /// What a list cannot be asked with.
    fn wrong_for_list(&self, version_match: Option<&str>) -> Vec<FieldError> {
        let path = Path::root(VERSION_MATCH);
        let mut wrong = Vec::new();
        if let Some(named) = version_match {
            if self.resource_version.is_empty() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                wrong.push(FieldError::forbidden(&path, why));
            }
            if !self.continue_token.is_empty() {
                wrong.push(FieldError::forbidden(&path, NOT_WITH_CONTINUE));
            }
            if self.version_match.is_none() {
                wrong.push(FieldError::not_supported(&path, named, &["Exact", "NotOlderThan", ""]));
            }
            if self.version_match == Some(VersionMatch::Exact) && self.resource_version == "0" {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                wrong.push(FieldError::forbidden(&path, why));
            }
        }
        if self.initial_events.is_some() {
            let path = Path::root("sendInitialEvents");
            wrong.push(FieldError::forbidden(&path, "sendInitialEvents is forbidden for list"));
        }
        wrong
    }

    /// What a watch cannot be asked with.
    fn wrong_for_watch(&self, version_match: Option<&str>) -> Vec<FieldError> {
        let path = Path::root(VERSION_MATCH);
        let not_older = self.version_match == Some(VersionMatch::NotOlderThan);
        let mut wrong = Vec::new();
        if self.initial_events.is_some() && !not_older {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            wrong.push(FieldError::forbidden(&path, why));
        }
        if let Some(named) = version_match {
            if self.initial_events.is_none() {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                wrong.push(FieldError::forbidden(&path, why));
            }
            if !not_older {
                wrong.push(FieldError::not_supported(&path, named, &["NotOlderThan"]));
            }
            if !self.continue_token.is_empty() {
                wrong.push(FieldError::forbidden(&path, NOT_WITH_CONTINUE));
            }
        }
        wrong
    }
}

/// The revision that a client names as a number; none where it names none.
pub(crate) fn revision_named(text: &str) -> Result<Option<u64>> {
    let wrong =
        |_| Error::bad_request(format!("resourceVersion: Invalid value: {text:?}: must be a whole number"));
    Some(text).filter(|text| !text.is_empty()).map(|text| text.parse().map_err(wrong)).transpose()
}

const VERSION_MATCH: &str = "resourceVersionMatch";
const NOT_WITH_CONTINUE: &str = "resourceVersionMatch is forbidden when continue is provided";

impl WriteOptions {
    /// Reads and checks the query of a request that writes by `verb`; the manager falls back to the program
    /// in the user agent.
    pub fn parse(query: &Query, user_agent: &str, verb: Verb) -> Result<Self> {
        let named = query.filled("fieldManager");
        let mut wrong = manager_errors(named.unwrap_or_default());
        let dry_run = dry_run(query.all("dryRun"), &mut wrong);
        let field_validation = match query.filled("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                wrong.push(FieldError::not_supported(&Path::root("fieldValidation"), other, &supported));
                FieldValidation::Warn
            }
        };
        if !wrong.is_empty() {
            let kind = match verb {
                Verb::Patch => "PatchOptions",
                Verb::Update => "UpdateOptions",
                _ => "CreateOptions",
            };
            return Err(invalid(kind, &wrong));
        }
        let program = || user_agent.split('/').next().unwrap_or_default().trim();
        let manager = named.unwrap_or_else(|| Some(program()).filter(|p| !p.is_empty()).unwrap_or("unknown"));
        Ok(Self {
            dry_run,
            field_manager: manager.chars().take(MANAGER_BYTES).collect(),
            explicit_manager: named.is_some(),
            field_validation,
            force: query.flag("force"),
        })
    }
}

impl Propagation {
    fn named(name: &str) -> Option<Self> {
        match name {
            "Orphan" => Some(Self::Orphan),
            "Background" => Some(Self::Background),
            "Foreground" => Some(Self::Foreground),
            _ => None,
        }
    }
}

impl DeleteOptions {
    /// Reads the query, for requests without a body.
    pub fn parse(query: &Query) -> Result<Self> {
        let mut options = Self::default();
        if let Some(text) = query.filled("gracePeriodSeconds") {
            let seconds = text
                .parse()
                .map_err(|_| Error::bad_request(format!("invalid gracePeriodSeconds {text:?}")))?;
            options.grace_period_seconds = Some(seconds);
        }
        options.propagation_policy = query.filled("propagationPolicy").map(str::to_owned);
        options.dry_run = query.all("dryRun").map(str::to_owned).collect();
        Ok(options)
    }

    /// Checks what a body or query said.
    pub fn check(&self) -> Result<()> {
        if self.grace_period_seconds.is_some_and(|s| s < 0) {
            return Err(Error::bad_request(
                "gracePeriodSeconds: Invalid value: must be greater than or equal to 0",
            ));
        }
        let mut wrong = Vec::new();
        if let Some(policy) = &self.propagation_policy {
            let path = Path::root("propagationPolicy");
            if self.orphan_dependents.is_some() {
                let both = "orphanDependents and deletionPropagation cannot be both set";
                wrong.push(FieldError::invalid(&path, policy.as_str(), both));
            }
            if Propagation::named(policy).is_none() {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                wrong.push(FieldError::not_supported(&path, policy.as_str(), &supported));
            }
        }
        dry_run(self.dry_run.iter().map(String::as_str), &mut wrong);
        if wrong.is_empty() { Ok(()) } else { Err(invalid("DeleteOptions", &wrong)) }
    }

    /// Whether nothing is to be deleted in earnest.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run.iter().any(|value| value == ALL)
    }

    /// What happens to what the object owns, in whichever form it was given.
    pub fn propagation(&self) -> Option<Propagation> {
        let named = self.propagation_policy.as_deref().and_then(Propagation::named);
        named.or(match self.orphan_dependents {
            Some(true) => Some(Propagation::Orphan),
            Some(false) => Some(Propagation::Background),
            None => None,
        })
    }
}

/// What `dryRun` may be.
const ALL: &str = "All";

/// A field manager has no longer name.
const MANAGER_BYTES: usize = 128;

/// That options cannot be what the client says: 422, as of an object of their kind.
fn invalid(kind: &str, errors: &[FieldError]) -> Error {
    Status::invalid(&GroupKind::new("meta.k8s.io", kind), "", errors).into()
}

/// Whether it is said that nothing is to be stored; what else is said is wrong.
fn dry_run<'a>(values: impl Iterator<Item = &'a str>, wrong: &mut Vec<FieldError>) -> bool {
    let values: Vec<&str> = values.filter(|value| !value.is_empty()).collect();
    if values.iter().any(|value| *value != ALL) {
        let path = Path::root("dryRun");
        wrong.push(FieldError::not_supported(&path, values.clone(), &[ALL]));
    }
    !values.is_empty()
}

/// What is wrong with the name of a field manager.
fn manager_errors(manager: &str) -> Vec<FieldError> {
    let path = Path::root("fieldManager");
    let too_long = (manager.len() > MANAGER_BYTES).then(|| FieldError::too_long(&path, MANAGER_BYTES));
    let unprintable = manager.char_indices().filter(|(_, c)| !is_printable(*c)).map(|(at, c)| {
        let why = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
        FieldError::invalid(&path, manager, why)
    });
    // A long name of nothing else would be answered by its square.
    too_long.into_iter().chain(unprintable.take(8)).collect()
}
