//! A volume of this node.

use base::record::Record;
use serde::{Deserialize, Serialize};

use crate::local_volumes::{self, rooms};

/// `<volumes>/<name>/record.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct LocalVolumeFile {
    claim: Claim,
    bytes: u64,
    form: Form,
    limit: Option<u32>,
    phase: Phase,
}

impl Record for LocalVolumeFile {
    const KNOWN: u32 = 1;
}

#[derive(Serialize, Deserialize)]
struct Claim {
    namespace: String,
    name: String,
    uid: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Form {
    Directory,
    File,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Phase {
    Making,
    Made,
    Removing,
}

base::same_fields!(Claim = local_volumes::Claim { namespace, name, uid });
base::same_variants!(Form = local_volumes::Form { Directory, File });
base::same_variants!(Phase = rooms::Phase { Making, Made, Removing });

impl From<&local_volumes::Recorded> for LocalVolumeFile {
    fn from(of: &local_volumes::Recorded) -> Self {
        let local_volumes::Recorded { claim, bytes, form, limit, phase } = of.clone();
        Self { claim: claim.into(), bytes, form: form.into(), limit, phase: phase.into() }
    }
}

impl From<LocalVolumeFile> for local_volumes::Recorded {
    fn from(file: LocalVolumeFile) -> Self {
        let LocalVolumeFile { claim, bytes, form, limit, phase } = file;
        Self { claim: claim.into(), bytes, form: form.into(), limit, phase: phase.into() }
    }
}
