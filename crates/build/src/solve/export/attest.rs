//! What is said about a result and goes out with it: in-toto statements.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use oci::{Descriptor, Digest, Platform, Reference};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::parts::Part;
use super::sbom::{self, Scanner};
use super::{SolveError, provenance};
use crate::solve::job::Job;
use crate::solve::reference::{Attestation, Outcome};

/// The type of all statements.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// What provenance's types begin with: only the builder itself says where something comes from.
const PROVENANCE: &str = "https://slsa.dev/provenance/";
/// The most bytes of one statement.
const BYTES_MAX: u64 = 40 << 20;
/// The most bytes of all statements of an export: they are held until it ends.
const BYTES_OF_ALL: u64 = 64 << 20;
/// The most statements in a directory, and of an export.
const STATEMENTS_MAX: usize = 1000;
const STATEMENTS_OF_ALL: usize = 4 * STATEMENTS_MAX;
/// The most bytes of what a statement says that it is about, and how much more those take when they are read.
const SUBJECTS_MAX: usize = 1 << 20;
const SUBJECTS_WEIGH: u64 = 8;
/// In an attestation's metadata: whether it is for images alone.
pub(super) const INLINE_ONLY: &str = "inline-only";

/// What is said of a result, as yet of nothing that has a name.
pub(super) struct Said {
    pub(super) predicate_type: String,
    /// The file that it is in where results are files.
    pub(super) file: String,
    pub(super) inline_only: bool,
    /// JSON.
    predicate: Bytes,
    /// What it is of, besides or instead of the result itself.
    subjects: Vec<Subject>,
    of_itself: bool,
}

/// A statement.
pub(super) struct Statement {
    pub(super) predicate_type: String,
    subjects: Vec<Subject>,
    predicate: Bytes,
}

/// What there is room for in an export.
struct Room {
    bytes: u64,
    statements: usize,
}

/// What a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) digest: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Printed<'a> {
    #[serde(rename = "_type")]
    of: &'a str,
    #[serde(rename = "predicateType")]
    predicate_type: &'a str,
    subject: &'a [Subject],
    predicate: &'a RawValue,
}

#[derive(Deserialize)]
struct Read {
    #[serde(rename = "predicateType", default)]
    predicate_type: String,
    #[serde(default)]
    subject: Option<Box<RawValue>>,
    predicate: Option<Box<RawValue>>,
}

impl Room {
    fn new() -> Self {
        Self { bytes: BYTES_OF_ALL, statements: STATEMENTS_OF_ALL }
    }

    /// One more statement.
    fn begin(&mut self) -> Result<(), SolveError> {
        let full = || SolveError::Invalid("there are too many statements in the attestations".to_owned());
        self.statements = self.statements.checked_sub(1).ok_or_else(full)?;
        Ok(())
    }

    fn take(&mut self, bytes: u64) -> Result<(), SolveError> {
        let full =
            || SolveError::Invalid(format!("the statements of attestations exceed {BYTES_OF_ALL} bytes"));
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(full)?;
        Ok(())
    }

    /// A statement's file, or a predicate's.
    async fn read(&mut self, content: &crate::solve::Ref, path: &str) -> Result<Bytes, SolveError> {
        self.begin()?;
        // So much more that it is seen which there is no room for.
        let most = BYTES_MAX.min(self.bytes) + 1;
        let bytes = content.read_file(path, Some((0, most))).await?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(SolveError::Invalid(format!("{path} exceeds {BYTES_MAX} bytes")));
        }
        self.take(bytes.len() as u64)?;
        Ok(bytes)
    }
}

impl Subject {
    pub(super) fn new(name: String, digest: &Digest) -> Self {
        let digest = BTreeMap::from([(digest.algorithm().as_str().to_owned(), digest.hex().to_owned())]);
        Self { name, digest }
    }
}

impl Said {
    /// The statement, where the result is called `own`.
    pub(super) fn of(&self, own: &[Subject]) -> Statement {
        let itself = own.iter().filter(|_| self.of_itself);
        Statement {
            predicate_type: self.predicate_type.clone(),
            subjects: itself.chain(&self.subjects).cloned().collect(),
            predicate: self.predicate.clone(),
        }
    }
}

impl Statement {
    pub(super) fn print(&self) -> Result<Vec<u8>, SolveError> {
        self.printed(|printed| serde_json::to_vec(printed))
    }

    /// For people.
    pub(super) fn print_pretty(&self) -> Result<Vec<u8>, SolveError> {
        // What is raw stays on its lines: it is taken apart and printed with the rest.
        let bytes = self.print()?;
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(super::config::broken)?;
        serde_json::to_vec_pretty(&value).map_err(super::config::broken)
    }

    fn printed(
        &self,
        print: impl FnOnce(&Printed<'_>) -> Result<Vec<u8>, serde_json::Error>,
    ) -> Result<Vec<u8>, SolveError> {
        let predicate: &RawValue = serde_json::from_slice(&self.predicate).map_err(super::config::broken)?;
        let printed = Printed {
            of: STATEMENT,
            predicate_type: &self.predicate_type,
            subject: &self.subjects,
            predicate,
        };
        print(&printed).map_err(super::config::broken)
    }
}

/// The names of an image with its manifest's digest, as statements are about it.
pub(super) fn subjects(names: &[Reference], platform: &Platform, manifest: &Descriptor) -> Vec<Subject> {
    let subject =
        |name| Subject::new(provenance::package_url("docker", name, Some(platform)), &manifest.digest);
    names.iter().map(subject).collect()
}

/// The statements about each part, which has the manifest in its place.
pub(super) fn statements(
    said: &[Vec<Said>],
    parts: &[Part],
    names: &[Reference],
    manifests: &[Descriptor],
) -> Vec<Vec<Statement>> {
    let of = |((said, part), manifest): ((&Vec<Said>, &Part), &Descriptor)| {
        let own = subjects(names, &part.platform, manifest);
        said.iter().map(|said| said.of(&own)).collect()
    };
    said.iter().zip(parts).zip(manifests).map(of).collect()
}

/// What is said of each part: by its front end, and where it comes from.
pub(super) async fn said(job: &Job, outcome: &Outcome, parts: &[Part]) -> Result<Vec<Vec<Said>>, SolveError> {
    let front = || outcome.attestations.values().flatten();
    let scanner = match job.options().attestations.get("sbom") {
        Some(attributes) if !sbom::is_said(front()) => Some(Scanner::find(job, attributes).await?),
        _ => None,
    };
    let (mut all, mut room) = (Vec::new(), Room::new());
    for part in parts {
        let mut said = Vec::new();
        for attestation in outcome.attestations.get(&part.id).into_iter().flatten() {
            said.extend(of_front(attestation, &mut room).await?);
        }
        if let Some(scanner) = &scanner
            && let Some(attestation) = scanner.scan(job, part)?
        {
            said.extend(of_front(&attestation, &mut room).await?);
        }
        if let Some(own) = provenance::said(job, part, parts).await? {
            room.begin()?;
            room.take(own.predicate.len() as u64)?;
            said.push(own);
        }
        all.push(said);
    }
    Ok(all)
}

/// Makes what the builder itself says.
pub(super) fn own(predicate_type: &str, file: String, inline_only: bool, predicate: Vec<u8>) -> Said {
    Said {
        predicate_type: predicate_type.to_owned(),
        file,
        inline_only,
        predicate: predicate.into(),
        subjects: Vec::new(),
        of_itself: true,
    }
}

/// What a front end says: one statement's predicate in a file, or statements in a directory.
async fn of_front(attestation: &Attestation, room: &mut Room) -> Result<Vec<Said>, SolveError> {
    let invalid = |problem: &str| SolveError::Invalid(problem.to_owned());
    let inline_only = attestation.metadata.get(INLINE_ONLY).is_some_and(|value| value == b"true");
    if attestation.predicate.starts_with(PROVENANCE) {
        return Err(invalid("frontend may not set provenance attestations"));
    }
    let Some(content) = &attestation.content else {
        if attestation.is_bundle {
            return Err(invalid("no ref provided for attestation bundle"));
        }
        return Err(invalid("attestation does not have available content"));
    };
    if !attestation.is_bundle {
        if attestation.path.is_empty() {
            return Err(invalid("attestation does not have set path"));
        }
        return Ok(vec![Said {
            predicate_type: attestation.predicate.clone(),
            file: last(&attestation.path),
            inline_only,
            predicate: room.read(content, &attestation.path).await?,
            subjects: attestation
                .subjects
                .clone()
                .into_iter()
                .map(|(name, digest)| Subject { name, digest })
                .collect(),
            of_itself: attestation.of_itself,
        }]);
    }
    let entries = crate::solve::Ref::read_dir(content, &attestation.path, None).await?;
    if entries.len() > STATEMENTS_MAX {
        return Err(invalid("there are too many statements in an attestation bundle"));
    }
    let mut said = Vec::new();
    for entry in entries {
        let path = format!("{}/{}", attestation.path.trim_end_matches('/'), last(&entry.path));
        let bytes = room.read(content, &path).await?;
        let statement: Read = serde_json::from_slice(&bytes)
            .map_err(|error| SolveError::Invalid(format!("cannot decode in-toto statement: {error}")))?;
        let of = statement.predicate_type;
        if !attestation.predicate.is_empty() && of != attestation.predicate {
            return Err(SolveError::Invalid(format!(
                "bundle entry {of} does not match required predicate type {}",
                attestation.predicate
            )));
        }
        if of.starts_with(PROVENANCE) {
            return Err(invalid("frontend may not bundle provenance attestations"));
        }
        let predicate = statement.predicate.map_or_else(|| "null".to_owned(), |it| it.get().to_owned());
        let subjects = statement.subject.as_deref().map_or("null", RawValue::get);
        if subjects.len() > SUBJECTS_MAX {
            return Err(SolveError::Invalid(format!("the subjects of {path} exceed {SUBJECTS_MAX} bytes")));
        }
        room.take(subjects.len() as u64 * SUBJECTS_WEIGH)?;
        let subjects: Option<Vec<Subject>> = serde_json::from_str(subjects)
            .map_err(|error| SolveError::Invalid(format!("cannot decode in-toto statement: {error}")))?;
        let subjects = subjects.unwrap_or_default();
        said.push(Said {
            predicate_type: of,
            file: last(&path),
            inline_only,
            predicate: predicate.into_bytes().into(),
            of_itself: subjects.is_empty(),
            subjects,
        });
    }
    Ok(said)
}

fn last(path: &str) -> String {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
}

/// What a client wants said, by sort (`provenance`, `sbom`), with how.
pub fn wanted(
    options: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, BTreeMap<String, String>>, SolveError> {
    let mut wanted = BTreeMap::new();
    for (key, value) in options {
        let sort = key.strip_prefix("attest:").or_else(|| key.strip_prefix("build-arg:BUILDKIT_ATTEST_"));
        let Some(sort) = sort.map(str::to_lowercase) else { continue };
        if !matches!(sort.as_str(), "sbom" | "provenance") {
            return Err(SolveError::Invalid(format!("unknown attestation type {sort:?}")));
        }
        let mut attributes = BTreeMap::new();
        for field in fields(value) {
            let (key, value) = field.split_once('=').unwrap_or((&field, ""));
            attributes.insert(key.to_owned(), value.to_owned());
        }
        wanted.insert(sort, attributes);
    }
    Ok(wanted)
}

/// The fields of a line of comma-separated values, some of them perhaps in quotes.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            char => field.push(char),
        }
    }
    if !field.is_empty() || !fields.is_empty() {
        fields.push(field);
    }
    fields
}

/// Whether two statements would be in one file.
pub(super) fn twice<'a>(files: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    let mut files = files;
    files.find(|file| !seen.insert(*file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_read() {
        let wanted = |options: &[(&str, &str)]| {
            wanted(&options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        let read = wanted(&[
            ("attest:provenance", "mode=max,inline-only=true,\"a=b,c\""),
            ("build-arg:BUILDKIT_ATTEST_SBOM", ""),
            ("build-arg:X", "y"),
        ])
        .expect("two sorts");
        assert_eq!(read.keys().collect::<Vec<_>>(), ["provenance", "sbom"]);
        let provenance: Vec<String> =
            read["provenance"].iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(provenance, ["a=b,c", "inline-only=true", "mode=max"]);
        assert!(read["sbom"].is_empty());
        let refused = wanted(&[("attest:x", "")]).expect_err("unknown");
        assert_eq!(refused.to_string(), "unknown attestation type \"x\"");
    }

    #[test]
    fn statements_are_about_what_they_say() {
        let digest = Digest::sha256_of(b"x");
        let own = [Subject::new("it".to_owned(), &digest)];
        let said =
            self::own("https://example.org/x", "x.json".to_owned(), false, b"{\"b\":1,\"a\":[]}".to_vec());
        let printed = String::from_utf8(said.of(&own).print().expect("JSON")).expect("text");
        assert_eq!(
            printed,
            format!(
                r#"{{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://example.org/x","subject":[{{"name":"it","digest":{{"sha256":"{}"}}}}],"predicate":{{"b":1,"a":[]}}}}"#,
                digest.hex()
            )
        );
        let broken = self::own("x", String::new(), false, b"{".to_vec());
        broken.of(&own).print().expect_err("no JSON");
    }
}
