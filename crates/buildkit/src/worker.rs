//! Who builds, as clients are told: what they send depends on it.

use std::collections::BTreeMap;

use llb::pb;

use crate::service::About;
use crate::wire::moby::buildkit::v1::types::{BuildkitVersion, WorkerRecord};

/// The address that containers reach the host by; serves `--add-host name:host-gateway`.
const HOST_GATEWAY: &str = "org.mobyproject.buildkit.worker.moby.host-gateway-ip";
/// What lies under containers. Without it clients leave out by themselves what takes several images or an index:
/// exports of archives and caches, several platforms, attestations; and they push after the build, not by it.
const SNAPSHOTTER: &str = "org.mobyproject.buildkit.worker.snapshotter";
/// The host's name.
const HOSTNAME: &str = "org.mobyproject.buildkit.worker.hostname";

/// The one worker that there is.
pub(crate) fn record(about: &About) -> WorkerRecord {
    let labels = BTreeMap::from([
        (SNAPSHOTTER.to_owned(), "overlayfs".to_owned()),
        (HOST_GATEWAY.to_owned(), about.host_gateway.clone()),
        (HOSTNAME.to_owned(), about.hostname.clone()),
    ]);
    WorkerRecord {
        id: about.id.clone(),
        labels: labels.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
        platforms: vec![platform(&oci::Platform::host())],
        buildkit_version: Some(version(about)),
        ..WorkerRecord::default()
    }
}

/// What speaks here.
pub(crate) fn version(about: &About) -> BuildkitVersion {
    BuildkitVersion {
        package: "gantry".to_owned(),
        version: format!("v{}", about.version.trim_start_matches('v')),
        revision: about.revision.clone(),
        dockerfile_version: about.dockerfile.clone(),
    }
}

/// A platform as messages have it.
fn platform(platform: &oci::Platform) -> pb::Platform {
    pb::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        os_version: platform.os_version.clone(),
        os_features: platform.os_features.clone(),
    }
}

/// A platform as the others here have it.
pub(crate) fn platform_of(platform: &pb::Platform) -> oci::Platform {
    let mut read = oci::Platform::new(&platform.os, &platform.architecture, &platform.variant);
    read.os_version.clone_from(&platform.os_version);
    read.os_features.clone_from(&platform.os_features);
    read
}
