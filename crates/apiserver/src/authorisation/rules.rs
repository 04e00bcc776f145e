//! What rules allow, as they are told to those who ask for them.

/// Verbs on resources, or on paths that are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyRule {
    /// What may be done, `*` for everything.
    pub verbs: Vec<String>,
    /// To resources of which groups, `*` for all.
    pub api_groups: Vec<String>,
    /// To which resources: `pods`, `pods/log`, `*/scale`, `*`.
    pub resources: Vec<String>,
    /// To the objects of these names alone, unless there are none.
    pub resource_names: Vec<String>,
    /// Or to these paths, which may end in `*`.
    pub non_resource_urls: Vec<String>,
}

/// What is known to be allowed to a caller.
#[derive(Clone, Debug, Default)]
pub struct KnownRules {
    /// What is allowed.
    pub rules: Vec<PolicyRule>,
    /// Whether there may be more.
    pub incomplete: bool,
    /// Why there may be more.
    pub errors: Vec<String>,
}

impl PolicyRule {
    /// The rules that allow everything.
    pub fn everything() -> Vec<Self> {
        let all = || vec!["*".to_owned()];
        vec![
            Self { verbs: all(), api_groups: all(), resources: all(), ..Self::default() },
            Self { verbs: all(), non_resource_urls: all(), ..Self::default() },
        ]
    }
}
