//! Mounts, as they were asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::container;

#[derive(Serialize, Deserialize)]
pub(super) struct Mount {
    target: String,
    read_only: bool,
    source: Source,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Source {
    Bind {
        path: PathBuf,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subpath: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        must_be: Option<FileKind>,
        propagation: Propagation,
        create: bool,
        non_recursive: bool,
        #[serde(default)]
        writable_below: bool,
    },
    Volume {
        name: Option<String>,
        no_copy: bool,
        subpath: Option<String>,
        driver: Option<String>,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    },
    Image {
        reference: String,
        subpath: Option<String>,
    },
    Tmpfs {
        size: Option<u64>,
        mode: Option<u32>,
        options: Vec<String>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FileKind {
    Directory,
    File,
    Socket,
    CharDevice,
    BlockDevice,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Propagation {
    Rprivate,
    Private,
    Rslave,
    Slave,
    Rshared,
    Shared,
}

base::same_fields!(Mount = container::Mount { target, read_only, source: inner });

base::same_variants!(FileKind = container::FileKind { Directory, File, Socket, CharDevice, BlockDevice });

base::same_variants!(
    Propagation = container::Propagation { Rprivate, Private, Rslave, Slave, Rshared, Shared }
);

base::same_variants!(Source = container::MountSource {
    Bind { path, subpath, must_be: maybe, propagation: inner, create, non_recursive, writable_below },
    Volume { name, no_copy, subpath, driver, labels, options },
    Image { reference, subpath },
    Tmpfs { size, mode, options },
});
