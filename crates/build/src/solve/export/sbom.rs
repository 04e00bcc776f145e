//! What a result is made of, as a scanner says that the client names: an image whose program looks into the result
//! and writes statements.

use std::collections::BTreeMap;

use llb::pb::{self, op};
use oci::{ImageConfig, Platform};

use super::parts::Part;
use crate::solve::SolveError;
use crate::solve::job::{Job, ResolveMode};
use crate::solve::reference::Attestation;

/// The type of what a scanner says.
const SPDX: &str = "https://spdx.dev/Document";
/// Who scans where nobody is named.
const SCANNER: &str = "docker/buildkit-syft-scanner:stable-1";
/// Where the scanner finds the result, and where it writes.
const SOURCE: &str = "/run/src/core/sbom";
/// And what else it is to look into.
const EXTRAS: &str = "/run/src/extras/";
const DESTINATION: &str = "/run/out/";

/// A scanner, and how its program is started.
pub(super) struct Scanner {
    name: String,
    config: ImageConfig,
    environment: Vec<String>,
}

impl Scanner {
    /// The scanner that is wanted.
    pub(super) async fn find(job: &Job, attributes: &BTreeMap<String, String>) -> Result<Self, SolveError> {
        let name = attributes.get("generator").map_or(SCANNER, String::as_str);
        if name.is_empty() {
            return Err(SolveError::Invalid("sbom generator cannot be empty".to_owned()));
        }
        let found = job.resolve_image(name, Some(&Platform::host()), ResolveMode::Default).await?;
        let config = ImageConfig::parse(&found.config)
            .map_err(|error| SolveError::Invalid(format!("sbom scanner {name}: {error}")))?;
        let mut environment = config.config.env.clone();
        environment.push(format!("BUILDKIT_SCAN_DESTINATION={DESTINATION}"));
        environment.push(format!("BUILDKIT_SCAN_SOURCE={SOURCE}"));
        let told = attributes.iter().filter(|(key, _)| *key != "generator");
        environment.extend(told.map(|(key, value)| format!("BUILDKIT_SCAN_{key}={value}")));
        let name = match found.is_manifest {
            true if !found.name.contains('@') => format!("{}@{}", found.name, found.digest),
            _ => found.name,
        };
        Ok(Self { name, config, environment })
    }

    /// What it says of a part.
    pub(super) fn scan(&self, job: &Job, part: &Part) -> Result<Option<Attestation>, SolveError> {
        let Some(reference) = &part.reference else { return Ok(None) };
        let said = &self.config.config;
        let command = said.entrypoint.iter().chain(&said.cmd).flatten().cloned();
        let args: Vec<String> = command.collect();
        if args.is_empty() {
            return Err(SolveError::Invalid(format!("scanner {} does not have cmd", self.name)));
        }
        let mut builder = llb::Builder::new();
        let host = Platform::host();
        let platform = pb::Platform {
            os: host.os.clone(),
            architecture: host.architecture.clone(),
            variant: host.variant.clone(),
            ..pb::Platform::default()
        };
        let image =
            pb::SourceOp { identifier: format!("docker-image://{}", self.name), ..pb::SourceOp::default() };
        let scanner = builder.add(op::Op::Source(image), &[], Some(platform.clone()), Default::default());
        let mut inputs = vec![scanner];
        let mount = |input: i64, dest: &str| pb::Mount {
            input,
            dest: dest.to_owned(),
            output: llb::SKIP_OUTPUT,
            ..pb::Mount::default()
        };
        let result = match builder.add_definition(&reference.graph().definition()) {
            Some(result) => {
                inputs.push(result);
                1
            }
            None => llb::EMPTY,
        };
        let mut mounts = vec![
            mount(0, "/"),
            pb::Mount {
                mount_type: pb::MountType::Tmpfs as i32,
                tmpfs_opt: Some(pb::TmpfsOpt::default()),
                ..mount(llb::EMPTY, "/tmp")
            },
            pb::Mount { readonly: true, ..mount(result, SOURCE) },
            pb::Mount { output: 0, ..mount(llb::EMPTY, DESTINATION) },
        ];
        let mut env = self.environment.clone();
        if !reference.scanned().is_empty() {
            env.push(format!("BUILDKIT_SCAN_SOURCE_EXTRAS={EXTRAS}"));
        }
        for (name, extra) in reference.scanned() {
            let input = match builder.add_definition(&extra.graph().definition()) {
                Some(extra) => {
                    inputs.push(extra);
                    i64::try_from(inputs.len() - 1).unwrap_or(llb::EMPTY)
                }
                None => llb::EMPTY,
            };
            mounts.push(pb::Mount { readonly: true, ..mount(input, &format!("{EXTRAS}sbom-{name}")) });
        }
        let directory = if said.working_dir.is_empty() { "/" } else { said.working_dir.as_str() };
        let meta = pb::Meta { args, env, cwd: directory.to_owned(), ..pb::Meta::default() };
        let exec = pb::ExecOp { meta: Some(meta), mounts, ..pb::ExecOp::default() };
        let name = format!("[{}] generating sbom using {}", part.id, self.name);
        let metadata = pb::OpMetadata {
            description: BTreeMap::from([(llb::CUSTOM_NAME.to_owned(), name)]),
            ..pb::OpMetadata::default()
        };
        let written = builder.add(op::Op::Exec(exec), &inputs, Some(platform), metadata);
        let content = job.solve_aside(&builder.finish(Some(&written)))?;
        Ok(Some(Attestation {
            predicate: SPDX.to_owned(),
            path: String::new(),
            content: Some(content),
            is_bundle: true,
            subjects: Vec::new(),
            of_itself: true,
            metadata: BTreeMap::new(),
        }))
    }
}

/// Whether a front end has said it itself.
pub(super) fn is_said<'a>(mut attestations: impl Iterator<Item = &'a Attestation>) -> bool {
    attestations.any(|attestation| attestation.predicate == SPDX)
}
