//! Documents in; profiles, or the reason why not, out.

use serde_json::json;

use super::*;
use crate::scheduler::plugins::filters;

fn configuration(mut more: Value) -> Result<Configuration, String> {
    more["apiVersion"] = API_VERSION.into();
    more["kind"] = KIND.into();
    Configuration::read(more).map_err(|error| base::error::chain(&error).to_string())
}

#[track_caller]
fn refused(more: Value, expected: &str) {
    let error = configuration(more).expect_err("it is refused");
    assert!(error.contains(expected), "{error}");
}

fn profile(more: Value) -> Profile {
    let mut read = configuration(json!({"profiles": [more]})).expect("it is taken");
    read.profiles.remove(0)
}

#[test]
fn what_is_not_said_is_as_in_kubernetes() {
    let read = configuration(json!({})).expect("it is taken");
    assert_eq!(read.profiles.len(), 1);
    assert_eq!(read.profiles[0].name, "default-scheduler");
    assert_eq!(read.profiles[0].filters, FILTERS);
    assert_eq!(read.profiles[0].scores, SCORES);
    assert_eq!((read.first_back_off.as_secs(), read.most_back_off.as_secs()), (1, 10));
    // Each has a plugin.
    assert_eq!(filters(&read.profiles[0]).iter().map(|filter| filter.name()).collect::<Vec<_>>(), FILTERS);
}

#[test]
fn what_is_unknown_or_not_done_is_refused() {
    let other = Configuration::read(json!({"apiVersion": "v1", "kind": "ConfigMap"}));
    assert!(other.is_err_and(|error| error.to_string().contains("no KubeSchedulerConfiguration")));
    refused(json!({"color": 1}), "unknown field `color`");
    refused(json!({"extenders": [{"urlPrefix": "http://a"}]}), "extenders is not supported");
    refused(json!({"clientConnection": {"kubeconfig": "/a"}}), "clientConnection is not supported");
    refused(json!({"parallelism": 4}), "parallelism is not supported");
    refused(json!({"percentageOfNodesToScore": 101}), "[0-100]");
    refused(json!({"podInitialBackoffSeconds": 20}), "greater than or equal to PodInitialBackoffSeconds");
    refused(json!({"profiles": [{"schedulerName": "a"}, {"schedulerName": "a"}]}), "Duplicate value: \"a\"");
    refused(json!({"profiles": [{"schedulerName": "a"}, {}]}), "profiles[1].schedulerName: Required value");
    let plugins = |plugins: Value| json!({"profiles": [{"plugins": plugins}]});
    refused(plugins(json!({"filter": {"enabled": [{"name": "Mine"}]}})), "plugin \"Mine\" does not exist");
    refused(plugins(json!({"permit": {"enabled": [{"name": "Mine"}]}})), "permit is not supported");
    refused(plugins(json!({"multiPoint": {"disabled": [{"name": "*"}]}})), "are needed");
    refused(plugins(json!({"score": {"enabled": [{"name": "NodeAffinity", "weight": 101}]}})), "[0-100]");
    let args =
        |name: &str, args: Value| json!({"profiles": [{"pluginConfig": [{"name": name, "args": args}]}]});
    refused(args("NodeResourcesFit", json!({"ignoredResources": "x"})), "invalid type");
    refused(args("NodeResourcesFit", json!({"scoringStrategy": {"type": "Some"}})), "is Some");
    refused(args("VolumeBinding", json!({"shape": []})), "unknown field `shape`");
    refused(args("InterPodAffinity", json!({"hardPodAffinityWeight": 101})), "[0-100]");
    refused(args("NodeName", json!({})), "has no arguments");
    let system = json!({"defaultingType": "System", "defaultConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]});
    refused(args("PodTopologySpread", system), "must be empty");
    let falls = json!([{"utilization": 50, "score": 1}, {"utilization": 10, "score": 2}]);
    let strategy = json!({"scoringStrategy": {"type": "RequestedToCapacityRatio",
        "requestedToCapacityRatio": {"shape": falls}}});
    refused(args("NodeResourcesFit", strategy), "increasing order");
}

#[test]
fn plugins_are_taken_away_and_put_in_other_places() {
    let scores = |plugins: Value| profile(json!({"plugins": plugins})).scores;
    let without = scores(json!({"score": {"disabled": [{"name": "ImageLocality"}]}}));
    assert_eq!(without, SCORES[..6]);
    let only = scores(
        json!({"score": {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeAffinity", "weight": 7}]}}),
    );
    assert_eq!(only, [("NodeAffinity", 7)]);
    let heavier = scores(json!({"multiPoint": {"enabled": [{"name": "ImageLocality", "weight": 9}]}}));
    assert_eq!(heavier.last(), Some(&("ImageLocality", 9)));
    let first = scores(json!({"score": {"enabled": [{"name": "ImageLocality", "weight": 0}]}}));
    assert_eq!(first.first(), Some(&("ImageLocality", 1)));
    let read = profile(json!({"plugins": {"multiPoint": {"disabled": [{"name": "NodePorts"}]},
        "postFilter": {"disabled": [{"name": "DefaultPreemption"}]}}}));
    assert!(!read.filters.contains(&"NodePorts") && read.filters.len() == FILTERS.len() - 1);
    assert!(!read.preempts && profile(json!({})).preempts);
}

#[test]
fn plugins_are_told_what_they_are_told() {
    let read = profile(json!({"schedulerName": "packs", "percentageOfNodesToScore": 30, "pluginConfig": [
        {"name": "NodeResourcesFit", "args": {
            "apiVersion": API_VERSION, "kind": "NodeResourcesFitArgs", "ignoredResourceGroups": ["example.com"],
            "scoringStrategy": {"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 3}]}}},
        {"name": "PodTopologySpread", "args": {"defaultingType": "List", "defaultConstraints": [
            {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]}},
        {"name": "VolumeBinding", "args": {"bindTimeoutSeconds": 5}},
        {"name": "DefaultPreemption", "args": {"minCandidateNodesAbsolute": 7}},
        {"name": "InterPodAffinity", "args": {"hardPodAffinityWeight": 0}},
    ]}));
    assert_eq!((read.name.as_str(), read.percentage_of_nodes_to_score), ("packs", Some(30)));
    assert!(matches!(read.fit.strategy, Strategy::Most));
    assert_eq!(read.fit.resources, [("cpu".to_owned(), 3)]);
    assert_eq!(read.spread.constraints.len(), 1);
    assert!(read.spread.constraints[0].hard && !read.spread.lenient);
    assert_eq!(read.bind_timeout.as_secs(), 5);
    assert_eq!((read.preemption.percentage, read.preemption.at_least), (10, 7));
    assert_eq!(read.affinity.hard_weight, 0);
}
