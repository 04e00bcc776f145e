//! What a front end asks about sources before it uses them.

use build::solve::{HttpMeta, Job, ResolveMode, ResolvedImage};
use llb::pb;
use oci::Algorithm;
use tonic::Status;

use super::Bridge;
use crate::failure::status;
use crate::policy;
use crate::wire::moby::buildkit::v1::frontend::checksum_request::ChecksumAlgo;
use crate::wire::moby::buildkit::v1::frontend::{
    ChecksumRequest, ChecksumResponse, ResolveImageConfigRequest, ResolveImageConfigResponse,
    ResolveSourceGitResponse, ResolveSourceHttpResponse, ResolveSourceImageResponse,
    ResolveSourceMetaRequest, ResolveSourceMetaResponse,
};
use crate::worker;

/// What image sources begin with.
const IMAGE: &str = "docker-image://";
/// What images in layouts of a client's begin with.
const IN_LAYOUT: &str = "oci-layout://";
/// Where an image is looked for: in a registry, or in a layout that the client has.
const REGISTRY: i32 = 0;
const LAYOUT: i32 = 1;

impl Bridge {
    pub(super) async fn resolve_image_config(
        &self,
        request: ResolveImageConfigRequest,
    ) -> Result<ResolveImageConfigResponse, Status> {
        let job = self.job.with_policies(policy::read(request.source_policies)?);
        let job = job.map_err(|error| status(&error))?;
        let platform = request.platform.as_ref();
        let resolved = match request.resolver_type {
            REGISTRY => resolve(&job, &request.r#ref, platform, &request.resolve_mode).await?,
            LAYOUT => layout(&job, &request.r#ref, &request.session_id, &request.store_id, platform).await?,
            other => return Err(Status::unimplemented(format!("images that are found in way {other}"))),
        };
        Ok(ResolveImageConfigResponse {
            digest: resolved.digest.to_string(),
            config: resolved.config,
            r#ref: resolved.name,
        })
    }

    pub(super) async fn resolve_source_meta(
        &self,
        request: ResolveSourceMetaRequest,
    ) -> Result<ResolveSourceMetaResponse, Status> {
        let failed = |error| status(&error);
        let job = self.job.with_policies(policy::read(request.source_policies)?).map_err(failed)?;
        let source = request.source.ok_or_else(|| Status::invalid_argument("source is required"))?;
        let source = job.source_in_place_of(source).map_err(|error| {
            let told = status(&error);
            Status::new(told.code(), format!("could not resolve image due to policy: {}", told.message()))
        })?;
        let mut answer = ResolveSourceMetaResponse::default();
        let scheme = source.identifier.split_once("://").map_or("", |(scheme, _)| scheme);
        match scheme {
            "docker-image" | "oci-layout" => {
                let wanted = request.image.unwrap_or_default();
                if wanted.attestation_chain || !wanted.resolve_attestations.is_empty() {
                    return Err(Status::unimplemented("attestations of images"));
                }
                let platform = request.platform.as_ref();
                let (prefix, resolved) = match source.identifier.strip_prefix(IN_LAYOUT) {
                    Some(name) => {
                        let of = |key: &str| source.attrs.get(key).map_or("", String::as_str);
                        (IN_LAYOUT, layout(&job, name, of("oci.session"), of("oci.store"), platform).await?)
                    }
                    None => {
                        let name = source.identifier.strip_prefix(IMAGE).unwrap_or_default();
                        (IMAGE, resolve(&job, name, platform, &request.resolve_mode).await?)
                    }
                };
                let identifier = format!("{prefix}{}", resolved.name);
                answer.source = Some(pb::SourceOp { identifier, attrs: source.attrs });
                answer.image = Some(ResolveSourceImageResponse {
                    digest: resolved.digest.to_string(),
                    config: if wanted.no_config { Default::default() } else { resolved.config },
                    attestation_chain: None,
                });
            }
            "git" => {
                let objects = request.git.is_some_and(|wanted| wanted.return_object);
                let meta = job.git_meta(&source, objects).await.map_err(failed)?;
                answer.git = Some(ResolveSourceGitResponse {
                    checksum: meta.checksum,
                    r#ref: meta.reference,
                    commit_checksum: meta.commit_checksum,
                    commit_object: meta.commit_object.into(),
                    tag_object: meta.tag_object.into(),
                });
                answer.source = Some(source);
            }
            "http" | "https" => {
                let wanted = request.http.and_then(|wanted| wanted.checksum_request);
                let checksum = match &wanted {
                    Some(wanted) => Some((algorithm(wanted)?, &*wanted.suffix)),
                    None => None,
                };
                let meta = job.http_meta(&source, checksum).await.map_err(failed)?;
                answer.http = Some(http(meta, wanted));
                answer.source = Some(source);
            }
            // Of others nothing is known before they are used.
            _ => answer.source = Some(source),
        }
        Ok(answer)
    }
}

async fn resolve(
    job: &Job,
    name: &str,
    platform: Option<&pb::Platform>,
    mode: &str,
) -> Result<ResolvedImage, Status> {
    let platform = platform.map(worker::platform_of);
    let mode = ResolveMode::parse(mode).map_err(|error| status(&error))?;
    job.resolve_image(name, platform.as_ref(), mode).await.map_err(|error| status(&error))
}

async fn layout(
    job: &Job,
    name: &str,
    session: &str,
    store: &str,
    platform: Option<&pb::Platform>,
) -> Result<ResolvedImage, Status> {
    let platform = platform.map(worker::platform_of);
    job.resolve_layout(name, session, store, platform.as_ref()).await.map_err(|error| status(&error))
}

fn algorithm(wanted: &ChecksumRequest) -> Result<Algorithm, Status> {
    let unknown = || Status::invalid_argument(format!("unsupported checksum algorithm {}", wanted.algo));
    match ChecksumAlgo::try_from(wanted.algo).map_err(|_| unknown())? {
        ChecksumAlgo::Sha256 => Ok(Algorithm::Sha256),
        ChecksumAlgo::Sha384 => Err(Status::unimplemented("digests of SHA-384 are not supported")),
        ChecksumAlgo::Sha512 => Ok(Algorithm::Sha512),
    }
}

fn http(meta: HttpMeta, wanted: Option<ChecksumRequest>) -> ResolveSourceHttpResponse {
    let suffix = wanted.map(|wanted| wanted.suffix).unwrap_or_default();
    ResolveSourceHttpResponse {
        checksum: meta.digest.to_string(),
        filename: meta.name,
        last_modified: meta.modified.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
        checksum_response: meta
            .checksum
            .map(|digest| ChecksumResponse { digest: digest.to_string(), suffix }),
    }
}
