//! What the processes may do, and what they share with whom.

use serde::{Deserialize, Serialize};

use crate::container;
use crate::id::ContainerId;

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Security {
    privileged: bool,
    cap_add: Vec<String>,
    cap_drop: Vec<String>,
    seccomp: Seccomp,
    apparmor: AppArmor,
    writable_cgroups: Option<bool>,
    no_new_privileges: bool,
    masked_paths: Option<Vec<String>>,
    read_only_paths: Option<Vec<String>>,
    options: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Seccomp {
    #[default]
    Default,
    Unconfined,
    Profile(String),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AppArmor {
    #[default]
    Default,
    RuntimeDefault,
    Unconfined,
    Profile(String),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Namespaces {
    network: NetworkMode,
    pid: NamespaceMode,
    ipc: NamespaceMode,
    uts: NamespaceMode,
    user: NamespaceMode,
    cgroup: NamespaceMode,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NamespaceMode {
    #[default]
    Default,
    Private,
    Shareable,
    Host,
    Container(ContainerId),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NetworkMode {
    #[default]
    Bridge,
    None,
    Host,
    Network(String),
    Container(ContainerId),
}

base::same_fields!(
    Security = container::Security {
        privileged,
        cap_add,
        cap_drop,
        seccomp: inner,
        apparmor: inner,
        writable_cgroups,
        no_new_privileges,
        masked_paths,
        read_only_paths,
        options,
    }
);

base::same_fields!(
    Namespaces = container::Namespaces {
        network: inner,
        pid: inner,
        ipc: inner,
        uts: inner,
        user: inner,
        cgroup: inner,
    }
);

base::same_variants!(Seccomp = container::Seccomp { Default, Unconfined, Profile(profile) });

base::same_variants!(AppArmor = container::AppArmor { Default, RuntimeDefault, Unconfined, Profile(name) });

base::same_variants!(NamespaceMode = container::NamespaceMode {
    Default,
    Private,
    Shareable,
    Host,
    Container(id),
});

base::same_variants!(NetworkMode = container::NetworkMode { Bridge, None, Host, Network(name), Container(id) });
