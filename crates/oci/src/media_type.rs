//! Media types of image documents and layers, OCI's and Docker's.

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, uncompressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Docker image manifest, version 2 schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker layer, uncompressed.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker layer, gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// OCI layer, gzip, that is not to be given on.
pub const OCI_FOREIGN_LAYER_GZIP: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
/// Docker layer, gzip, that is not to be given on.
pub const DOCKER_FOREIGN_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
/// What the types of all Docker's layers begin with.
const DOCKER_LAYERS: &str = "application/vnd.docker.image.rootfs.";

/// What to ask a registry for when fetching a manifest, best first.
pub const MANIFEST_ACCEPT: [&str; 4] = [DOCKER_MANIFEST, OCI_MANIFEST, OCI_INDEX, DOCKER_LIST];

/// Whether this names a document that lists other manifests.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_LIST)
}

/// Whether this names a manifest of one image.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

/// Whether this names the configuration of an image, as opposed to that of something else that registries
/// hold. Old registries said nothing, or `application/octet-stream`, which Docker takes too.
pub fn is_config(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG | "application/octet-stream" | "")
}

/// Whether this names a layer that can be unpacked as a root file system. Foreign
/// (non-distributable) layers count: their content is the same.
pub fn is_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.") || media_type.starts_with(DOCKER_LAYERS)
}

/// The type of a layer as Docker's manifests have it; `None` of one that they cannot name, such as one under
/// zstd.
pub fn layer_as_docker(media_type: &str) -> Option<&str> {
    match media_type {
        OCI_LAYER => Some(DOCKER_LAYER),
        OCI_LAYER_GZIP => Some(DOCKER_LAYER_GZIP),
        OCI_FOREIGN_LAYER_GZIP => Some(DOCKER_FOREIGN_LAYER_GZIP),
        known if known.starts_with(DOCKER_LAYERS) => Some(known),
        _ => None,
    }
}

/// The type of a layer as OCI's manifests have it; what neither has a name for is left as it is.
pub fn layer_as_oci(media_type: &str) -> &str {
    match media_type {
        DOCKER_LAYER => OCI_LAYER,
        DOCKER_LAYER_GZIP => OCI_LAYER_GZIP,
        DOCKER_FOREIGN_LAYER_GZIP => OCI_FOREIGN_LAYER_GZIP,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_of_layers_have_counterparts() {
        for (oci, docker) in [
            (OCI_LAYER, DOCKER_LAYER),
            (OCI_LAYER_GZIP, DOCKER_LAYER_GZIP),
            (OCI_FOREIGN_LAYER_GZIP, DOCKER_FOREIGN_LAYER_GZIP),
        ] {
            assert_eq!((layer_as_docker(oci), layer_as_docker(docker)), (Some(docker), Some(docker)));
            assert_eq!((layer_as_oci(docker), layer_as_oci(oci)), (oci, oci));
        }
        assert_eq!((layer_as_docker(OCI_LAYER_ZSTD), layer_as_oci(OCI_LAYER_ZSTD)), (None, OCI_LAYER_ZSTD));
    }
}
