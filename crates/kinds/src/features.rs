//! What Kubernetes ships switched off: features behind gates, and versions of the API. By default they are off here
//! too.

use std::collections::BTreeSet;
use std::str::FromStr;

use apiserver::Resource;

/// What can be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// The scheduler places the pods of a group together, if the group wants that.
    GangScheduling,
    /// There are groups of pods.
    GenericWorkload,
    /// Autoscalers may scale to nothing by what is measured elsewhere.
    HpaScaleToZero,
    /// What is stored in old versions is stored anew where somebody asks for it.
    StorageVersionMigrator,
}

impl Feature {
    /// The one that Kubernetes calls so.
    pub(crate) fn named(name: &str) -> Option<Self> {
        FEATURES.iter().find(|(known, ..)| *known == name).map(|(_, _, feature)| *feature)
    }
}

/// How far something has come that is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Alpha,
    Beta,
}

/// Each by its name in Kubernetes.
const FEATURES: [(&str, Stage, Feature); 4] = [
    ("GangScheduling", Stage::Alpha, Feature::GangScheduling),
    ("GenericWorkload", Stage::Alpha, Feature::GenericWorkload),
    ("HPAScaleToZero", Stage::Alpha, Feature::HpaScaleToZero),
    ("StorageVersionMigrator", Stage::Beta, Feature::StorageVersionMigrator),
];
/// The versions of the API that are served where they are asked for.
const VERSIONS: [(&str, Stage); 2] = [(SCHEDULING, Stage::Alpha), (STORAGE_MIGRATION, Stage::Beta)];
/// What has groups of pods.
pub(crate) const SCHEDULING: &str = "scheduling.k8s.io/v1alpha2";
/// What asks for the migration of what is stored.
pub(crate) const STORAGE_MIGRATION: &str = "storagemigration.k8s.io/v1beta1";

/// Features that are on, as `--feature-gates` names them: `NAME=true,NAME=false`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gates(BTreeSet<Feature>);

/// Versions that are served besides the stable ones, as `--runtime-config` names them: `GROUP/VERSION=true`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions(BTreeSet<&'static str>);

/// What is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Behind gates.
    pub gates: Gates,
    /// Of the API.
    pub versions: Versions,
}

/// Why something cannot be switched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// A gate without a value.
    #[error("missing bool value for {0}")]
    NoValue(String),
    /// A value that is neither.
    #[error("invalid value of {name}={value}: it must be true or false")]
    Value {
        /// Of what.
        name: String,
        /// What it is.
        value: String,
    },
    /// A gate that is not there.
    #[error("unrecognized feature gate: {0}; those that can be switched are {gates}", gates = FEATURES.map(|(name, ..)| name).join(", "))]
    Gate(String),
    /// A version that is not there.
    #[error("unknown api versions {0}; those that can be switched on are {versions}", versions = VERSIONS.map(|(name, _)| name).join(", "))]
    Version(String),
    /// A version that the rest stands on.
    #[error("{0} is always served")]
    Always(String),
}

impl Gates {
    /// Whether a feature is on.
    pub fn has(&self, feature: Feature) -> bool {
        self.0.contains(&feature)
    }

    /// With a feature.
    #[must_use]
    pub fn with(mut self, feature: Feature) -> Self {
        self.0.insert(feature);
        self
    }
}

impl FromStr for Gates {
    type Err = SwitchError;

    fn from_str(text: &str) -> Result<Self, SwitchError> {
        let mut switches = pairs(text)
            .map(|(name, value)| match value {
                Some(value) => Ok((name, flag(name, value)?)),
                None => Err(SwitchError::NoValue(name.to_owned())),
            })
            .collect::<Result<Vec<_>, _>>()?;
        // What is said of one holds over what is said of all of its stage.
        switches.sort_by_key(|(name, _)| stage(name).is_none());
        let mut on = BTreeSet::new();
        for (name, value) in switches {
            let of_stage = stage(name);
            if of_stage.is_none() && Feature::named(name).is_none() {
                return Err(SwitchError::Gate(name.to_owned()));
            }
            let named = FEATURES.iter().filter(|(known, of, _)| *known == name || of_stage == Some(*of));
            switch(&mut on, named.map(|(_, _, feature)| *feature), value);
        }
        Ok(Self(on))
    }
}

impl Versions {
    /// Whether a version that is off by default is served.
    pub fn has(&self, version: &str) -> bool {
        self.0.contains(version)
    }

    /// With a version that is off by default.
    #[must_use]
    pub fn with(mut self, version: &'static str) -> Self {
        self.0.insert(version);
        self
    }
}

impl FromStr for Versions {
    type Err = SwitchError;

    fn from_str(text: &str) -> Result<Self, SwitchError> {
        let mut switches = pairs(text)
            .map(|(name, value)| Ok((name, flag(name, value.unwrap_or("true"))?)))
            .collect::<Result<Vec<_>, _>>()?;
        // As with gates; and what is said of everything comes before what is said of a stage.
        switches.sort_by_key(|(name, _)| match *name {
            "api/all" => 0,
            name if name.starts_with("api/") && name != "api/v1" => 1,
            _ => 2,
        });
        let mut on = BTreeSet::new();
        for (name, value) in switches {
            let is_of = |stage: Stage| match name {
                "api/all" => true,
                "api/beta" => stage == Stage::Beta,
                "api/alpha" => stage == Stage::Alpha,
                _ => false,
            };
            let found: Vec<&'static str> = VERSIONS
                .iter()
                .filter(|(known, stage)| *known == name || is_of(*stage))
                .map(|(known, _)| *known)
                .collect();
            match name {
                "api/all" | "api/ga" | "api/legacy" if !value => {
                    return Err(SwitchError::Always(name.to_owned()));
                }
                "api/all" | "api/ga" | "api/legacy" | "api/beta" | "api/alpha" => {}
                _ if !found.is_empty() => {}
                _ if is_served(name) && value => {}
                _ if is_served(name) => return Err(SwitchError::Always(name.to_owned())),
                _ => return Err(SwitchError::Version(name.to_owned())),
            }
            switch(&mut on, found, value);
        }
        Ok(Self(on))
    }
}

impl Features {
    /// Whether a feature is on.
    pub fn has(&self, feature: Feature) -> bool {
        self.gates.has(feature)
    }

    /// Whether what stores objects anew is on, and can be asked.
    pub fn migrates(&self) -> bool {
        self.has(Feature::StorageVersionMigrator) && self.versions.has(STORAGE_MIGRATION)
    }

    /// Each feature with its stage, and whether it is on, by Kubernetes' names.
    pub fn told(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        FEATURES.iter().map(|(name, stage, feature)| {
            let stage = match stage {
                Stage::Alpha => "ALPHA",
                Stage::Beta => "BETA",
            };
            (*name, stage, self.has(*feature))
        })
    }

    /// Whether there are groups of pods.
    pub fn groups_pods(&self) -> bool {
        self.has(Feature::GenericWorkload) && self.versions.has(SCHEDULING)
    }

    /// Whether pods are placed as their groups say.
    pub fn schedules_groups(&self) -> bool {
        self.groups_pods() && self.has(Feature::GangScheduling)
    }

    /// What has to be switched on besides, for that which is on to do anything, and what is not done without it.
    pub fn lacks(&self) -> Vec<&'static str> {
        let mut lacks = Vec::new();
        match (self.has(Feature::StorageVersionMigrator), self.versions.has(STORAGE_MIGRATION)) {
            (true, false) => lacks.push(
                "--runtime-config lacks storagemigration.k8s.io/v1beta1=true: migrations of what is stored are not \
                 carried out",
            ),
            (false, true) => lacks.push(
                "--feature-gates lacks StorageVersionMigrator=true: migrations of what is stored are not carried out",
            ),
            _ => {}
        }
        let (groups, gangs) = (self.has(Feature::GenericWorkload), self.has(Feature::GangScheduling));
        let is_served = self.versions.has(SCHEDULING);
        if (groups || gangs) && !is_served {
            lacks.push("--runtime-config lacks scheduling.k8s.io/v1alpha2=true: there are no groups of pods");
        }
        if (gangs || is_served) && !groups {
            lacks.push("--feature-gates lacks GenericWorkload=true: there are no groups of pods");
        }
        lacks
    }
}

/// What makes the entry of a kind: a function that needs not know what is on; one that does; one that makes none where
/// something is off.
pub(crate) trait Make<How> {
    /// The entry.
    fn make(self, features: &Features) -> Option<Resource>;
}

impl<F: Fn() -> Resource> Make<()> for F {
    fn make(self, _: &Features) -> Option<Resource> {
        Some(self())
    }
}

impl<F: Fn(&Features) -> Resource> Make<Resource> for F {
    fn make(self, features: &Features) -> Option<Resource> {
        Some(self(features))
    }
}

impl<F: Fn(&Features) -> Option<Resource>> Make<Option<Resource>> for F {
    fn make(self, features: &Features) -> Option<Resource> {
        self(features)
    }
}

fn pairs(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| match item.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim()).filter(|value| !value.is_empty())),
        None => (item, None),
    })
}

fn flag(name: &str, value: &str) -> Result<bool, SwitchError> {
    let wrong = || SwitchError::Value { name: name.to_owned(), value: value.to_owned() };
    base::truth::parse(value).ok_or_else(wrong)
}

/// Puts some among those that are on, or takes them away.
fn switch<T: Ord>(on: &mut BTreeSet<T>, some: impl IntoIterator<Item = T>, value: bool) {
    for one in some {
        if value {
            on.insert(one);
        } else {
            on.remove(&one);
        }
    }
}

/// The stage whose features a gate switches together.
fn stage(gate: &str) -> Option<Stage> {
    match gate {
        "AllAlpha" => Some(Stage::Alpha),
        "AllBeta" => Some(Stage::Beta),
        _ => None,
    }
}

fn is_served(version: &str) -> bool {
    version == "api/v1" || crate::all().iter().any(|resource| resource.api_version() == version)
}

#[cfg(test)]
mod tests;
