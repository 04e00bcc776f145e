//! The configuration as Kubernetes' scheduler has it in a file: `KubeSchedulerConfiguration` of
//! `kubescheduler.config.k8s.io/v1`. What is unknown, or not done here, is an error.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::NodeAffinity;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::DefaultConstraint;
use super::{Affinity, Configuration, FILTERS, Fit, Profile, SCORES, Strategy};

mod plugins;

use plugins::Plugins;

const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// It is no such document.
    #[error("this is no {KIND} of {API_VERSION}: {0}")]
    Document(&'static str),
    /// Something in it cannot be read, or is unknown.
    #[error("{path}")]
    Field {
        /// Where.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
    /// Something in it is not done here.
    #[error("{path} is not supported: {why}")]
    Unsupported {
        /// Where.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// Something in it is not allowed.
    #[error("{path}: {why}")]
    Invalid {
        /// Where.
        path: String,
        /// Why.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[allow(dead_code, reason = "looked at before")]
    api_version: Value,
    #[allow(dead_code, reason = "looked at before")]
    kind: Value,
    parallelism: Option<i32>,
    leader_election: Option<LeaderElection>,
    client_connection: Option<Value>,
    enable_profiling: Option<bool>,
    enable_contention_profiling: Option<bool>,
    percentage_of_nodes_to_score: Option<i32>,
    pod_initial_backoff_seconds: Option<i64>,
    pod_max_backoff_seconds: Option<i64>,
    #[serde(default)]
    profiles: Vec<ProfileDocument>,
    #[serde(default)]
    extenders: Vec<Value>,
    delay_cache_until_active: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LeaderElection {
    leader_elect: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProfileDocument {
    scheduler_name: Option<String>,
    percentage_of_nodes_to_score: Option<i32>,
    #[serde(default)]
    plugins: Plugins,
    #[serde(default)]
    plugin_config: Vec<PluginConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PluginConfig {
    name: String,
    args: Value,
}

impl Configuration {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// If it is not one of these, or asks for what is not done here.
    pub fn read(document: Value) -> Result<Self, ConfigurationError> {
        let said = |key: &str| document.get(key).and_then(Value::as_str);
        if said("apiVersion") != Some(API_VERSION) {
            return Err(ConfigurationError::Document("its apiVersion is another"));
        }
        if said("kind") != Some(KIND) {
            return Err(ConfigurationError::Document("its kind is another"));
        }
        let document: Document = read("configuration", document)?;
        document.refuse()?;
        let seconds = |name: &str, value: Option<i64>, default: u64| match value {
            None | Some(0) => Ok(Duration::from_secs(default)),
            Some(value) => u64::try_from(value)
                .map(Duration::from_secs)
                .map_err(|_| invalid(name, "must be greater than 0".to_owned())),
        };
        let first_back_off = seconds("podInitialBackoffSeconds", document.pod_initial_backoff_seconds, 1)?;
        let most_back_off = seconds("podMaxBackoffSeconds", document.pod_max_backoff_seconds, 10)?;
        if most_back_off < first_back_off {
            let why = "must be greater than or equal to PodInitialBackoffSeconds".to_owned();
            return Err(invalid("podMaxBackoffSeconds", why));
        }
        let percentage_of_nodes_to_score =
            percentage("percentageOfNodesToScore", document.percentage_of_nodes_to_score)?;
        let profiles = document.profiles.into_iter().enumerate();
        let profiles: Result<Vec<Profile>, _> =
            profiles.map(|(number, profile)| profile.read(&format!("profiles[{number}]"))).collect();
        let mut profiles = profiles?;
        let several = profiles.len() > 1;
        let mut names = BTreeSet::new();
        for (number, profile) in profiles.iter().enumerate() {
            let path = format!("profiles[{number}].schedulerName");
            if several && profile.name.is_empty() {
                return Err(invalid(&path, "Required value".to_owned()));
            }
            if !names.insert(profile.name.clone()) {
                return Err(invalid(&path, format!("Duplicate value: \"{}\"", profile.name)));
            }
        }
        if let [only] = &mut profiles[..]
            && only.name.is_empty()
        {
            only.name = super::NAME.to_owned();
        }
        if profiles.is_empty() {
            profiles.push(Profile::default());
        }
        Ok(Self { profiles, percentage_of_nodes_to_score, first_back_off, most_back_off })
    }
}

impl Document {
    /// Refuses what is not done here.
    fn refuse(&self) -> Result<(), ConfigurationError> {
        let refuse = |path: &str, why| Err(ConfigurationError::Unsupported { path: path.to_owned(), why });
        if self.parallelism.is_some_and(|threads| threads <= 0) {
            return Err(invalid("parallelism", "should be an integer value greater than zero".to_owned()));
        }
        if self.parallelism.is_some_and(|threads| threads != 16) {
            return refuse("parallelism", "decisions are made by one thread");
        }
        if self.client_connection.is_some() {
            return refuse("clientConnection", "the scheduler is in one process with its API");
        }
        if self.leader_election.as_ref().is_some_and(|election| election.leader_elect == Some(false)) {
            return refuse("leaderElection.leaderElect", "one leads wherever several share a store");
        }
        if self.enable_profiling == Some(true) || self.enable_contention_profiling == Some(true) {
            return refuse("enableProfiling", "there is no profiler");
        }
        if !self.extenders.is_empty() {
            return refuse("extenders", "nobody is asked over HTTP");
        }
        if self.delay_cache_until_active == Some(true) {
            return refuse("delayCacheUntilActive", "the cache is shared with the controllers");
        }
        Ok(())
    }
}

impl ProfileDocument {
    fn read(self, path: &str) -> Result<Profile, ConfigurationError> {
        let name = self.scheduler_name.unwrap_or_default();
        let mut profile = Profile { name, ..Profile::default() };
        let of_nodes = format!("{path}.percentageOfNodesToScore");
        profile.percentage_of_nodes_to_score = percentage(&of_nodes, self.percentage_of_nodes_to_score)?;
        self.plugins.apply(&mut profile, &format!("{path}.plugins"))?;
        let mut names = BTreeSet::new();
        for (number, config) in self.plugin_config.into_iter().enumerate() {
            let path = format!("{path}.pluginConfig[{number}]");
            if !names.insert(config.name.clone()) {
                return Err(invalid(&path, format!("repeated config for plugin {}", config.name)));
            }
            configure(&mut profile, &config.name, config.args, &format!("{path}.args"))?;
        }
        Ok(profile)
    }
}

fn read<T: DeserializeOwned>(path: &str, value: Value) -> Result<T, ConfigurationError> {
    serde_json::from_value(value)
        .map_err(|source| ConfigurationError::Field { path: path.to_owned(), source })
}

fn invalid(path: &str, why: String) -> ConfigurationError {
    ConfigurationError::Invalid { path: path.to_owned(), why }
}

fn percentage(path: &str, value: Option<i32>) -> Result<Option<usize>, ConfigurationError> {
    let Some(value) = value else { return Ok(None) };
    let valid = usize::try_from(value).ok().filter(|value| *value <= 100);
    valid.map(Some).ok_or_else(|| invalid(path, format!("{value} is not in the range [0-100]")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PreemptionArgs {
    min_candidate_nodes_percentage: Option<i32>,
    min_candidate_nodes_absolute: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AffinityArgs {
    hard_pod_affinity_weight: Option<i64>,
    ignore_preferred_terms_of_existing_pods: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NodeAffinityArgs {
    added_affinity: Option<NodeAffinity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BalancedArgs {
    #[serde(default)]
    resources: Vec<ResourceSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceSpec {
    name: String,
    weight: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FitArgs {
    #[serde(default)]
    ignored_resources: Vec<String>,
    #[serde(default)]
    ignored_resource_groups: Vec<String>,
    scoring_strategy: Option<ScoringStrategy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScoringStrategy {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    resources: Vec<ResourceSpec>,
    requested_to_capacity_ratio: Option<Ratio>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Ratio {
    #[serde(default)]
    shape: Vec<Point>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Point {
    utilization: i64,
    score: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SpreadArgs {
    #[serde(default)]
    default_constraints: Vec<SpreadConstraint>,
    defaulting_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SpreadConstraint {
    max_skew: i64,
    topology_key: String,
    when_unsatisfiable: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VolumeArgs {
    bind_timeout_seconds: Option<i64>,
}

/// Takes up what one plugin is told.
fn configure(
    profile: &mut Profile,
    name: &str,
    mut args: Value,
    path: &str,
) -> Result<(), ConfigurationError> {
    if let Some(args) = args.as_object_mut() {
        args.retain(|key, _| key != "apiVersion" && key != "kind");
    }
    match name {
        "DefaultPreemption" => {
            let args: PreemptionArgs = read(path, args)?;
            let preemption = &mut profile.preemption;
            if let Some(value) = percentage(path, args.min_candidate_nodes_percentage)? {
                preemption.percentage = value;
            }
            if let Some(value) = args.min_candidate_nodes_absolute {
                preemption.at_least = usize::try_from(value)
                    .map_err(|_| invalid(path, "minCandidateNodesAbsolute is negative".to_owned()))?;
            }
            if preemption.percentage == 0 && preemption.at_least == 0 {
                let why = "minCandidateNodesPercentage and minCandidateNodesAbsolute cannot both be zero";
                return Err(invalid(path, why.to_owned()));
            }
        }
        "InterPodAffinity" => {
            let args: AffinityArgs = read(path, args)?;
            let hard_weight = args.hard_pod_affinity_weight.unwrap_or(1);
            if !(0..=100).contains(&hard_weight) {
                return Err(invalid(path, "hardPodAffinityWeight is not in the range [0-100]".to_owned()));
            }
            let ignores_others = args.ignore_preferred_terms_of_existing_pods.unwrap_or(false);
            profile.affinity = Affinity { hard_weight, ignores_others };
        }
        "NodeAffinity" => {
            let args: NodeAffinityArgs = read(path, args)?;
            profile.added_affinity = args.added_affinity.map(Box::new);
        }
        "NodeResourcesBalancedAllocation" => {
            let args: BalancedArgs = read(path, args)?;
            if args.resources.iter().any(|resource| !matches!(resource.weight, None | Some(1))) {
                return Err(invalid(path, "resource weight not in valid range [1-1]".to_owned()));
            }
            if !args.resources.is_empty() {
                profile.balanced = args.resources.into_iter().map(|resource| resource.name).collect();
            }
        }
        "NodeResourcesFit" => profile.fit = read::<FitArgs>(path, args)?.read(path)?,
        "PodTopologySpread" => read::<SpreadArgs>(path, args)?.apply(profile, path)?,
        "VolumeBinding" => {
            let args: VolumeArgs = read(path, args)?;
            if let Some(seconds) = args.bind_timeout_seconds {
                let seconds = u64::try_from(seconds);
                let why = |_| invalid(path, "bindTimeoutSeconds is negative".to_owned());
                profile.bind_timeout = Duration::from_secs(seconds.map_err(why)?);
            }
        }
        _ => {
            let why = "this plugin has no arguments, or is unknown";
            return Err(ConfigurationError::Unsupported { path: path.to_owned(), why });
        }
    }
    Ok(())
}

impl FitArgs {
    fn read(self, path: &str) -> Result<Fit, ConfigurationError> {
        if let Some(group) = self.ignored_resource_groups.iter().find(|group| group.contains('/')) {
            return Err(invalid(path, format!("resource group name can't contain '/': {group}")));
        }
        let mut fit = Fit {
            ignored: self.ignored_resources,
            ignored_groups: self.ignored_resource_groups,
            ..Fit::default()
        };
        let Some(strategy) = self.scoring_strategy else { return Ok(fit) };
        if !strategy.resources.is_empty() {
            let resources = strategy.resources.into_iter();
            fit.resources = resources
                .map(|resource| match resource.weight.filter(|weight| *weight != 0).unwrap_or(1) {
                    weight @ 1..=100 => Ok((resource.name, weight)),
                    _ => Err(invalid(path, "resource weight not in valid range [1-100]".to_owned())),
                })
                .collect::<Result<_, _>>()?;
        }
        fit.strategy = match strategy.kind.as_deref() {
            None | Some("" | "LeastAllocated") => Strategy::Least,
            Some("MostAllocated") => Strategy::Most,
            Some("RequestedToCapacityRatio") => {
                let points = strategy.requested_to_capacity_ratio.map(|ratio| ratio.shape);
                Strategy::Ratio(line(&points.unwrap_or_default(), path)?)
            }
            Some(other) => {
                let why = "expected LeastAllocated, MostAllocated or RequestedToCapacityRatio";
                return Err(invalid(path, format!("scoringStrategy.type is {other}: {why}")));
            }
        };
        Ok(fit)
    }
}

/// Points that go up from the left, as heights of up to 100.
fn line(points: &[Point], path: &str) -> Result<Vec<(i64, i64)>, ConfigurationError> {
    if points.is_empty() {
        return Err(invalid(path, "at least one point must be specified in a shape".to_owned()));
    }
    let rises = points.windows(2).all(|pair| pair[0].utilization < pair[1].utilization);
    let in_range = |point: &Point| (0..=100).contains(&point.utilization) && (0..=10).contains(&point.score);
    if !rises || !points.iter().all(in_range) {
        let why = "utilization values must be sorted in increasing order from 0 to 100, scores from 0 to 10";
        return Err(invalid(path, why.to_owned()));
    }
    Ok(points.iter().map(|point| (point.utilization, point.score * 10)).collect())
}

impl SpreadArgs {
    fn apply(self, profile: &mut Profile, path: &str) -> Result<(), ConfigurationError> {
        match self.defaulting_type.as_deref() {
            None | Some("" | "System") if self.default_constraints.is_empty() => return Ok(()),
            Some("System") => {
                let why = "when .defaultingType is System, .defaultConstraints must be empty";
                return Err(invalid(path, why.to_owned()));
            }
            None | Some("" | "List") => {}
            Some(other) => {
                let why = format!("defaultingType is {other}: expected System or List");
                return Err(invalid(path, why));
            }
        }
        let constraint = |constraint: SpreadConstraint| {
            let hard = match constraint.when_unsatisfiable.as_str() {
                "DoNotSchedule" => true,
                "ScheduleAnyway" => false,
                other => {
                    let why =
                        format!("whenUnsatisfiable is {other}: expected DoNotSchedule or ScheduleAnyway");
                    return Err(invalid(path, why));
                }
            };
            if constraint.max_skew <= 0 || constraint.topology_key.is_empty() {
                return Err(invalid(
                    path,
                    "maxSkew must be greater than 0, topologyKey not empty".to_owned(),
                ));
            }
            Ok(DefaultConstraint {
                topology_key: constraint.topology_key,
                max_skew: constraint.max_skew,
                hard,
            })
        };
        profile.spread.constraints =
            self.default_constraints.into_iter().map(constraint).collect::<Result<_, _>>()?;
        profile.spread.lenient = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
