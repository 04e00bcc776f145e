//! How levels and flows fare, under the names of Kubernetes' metrics.

use metrics::{Kind, Text};

use crate::fairness::{BUCKETS, Durations, FlowReport, LevelReport};

/// Writes it.
pub(crate) fn write(text: &mut Text, levels: &[LevelReport], flows: &[FlowReport]) {
    let help = "[BETA] Nominal number of execution seats configured for each priority level";
    let block = text.block("apiserver_flowcontrol_nominal_limit_seats", Kind::Gauge, help);
    for level in levels {
        block.value(&[("priority_level", &level.name)], level.nominal);
    }
    let help = "[ALPHA] Current derived number of execution seats available to each priority level";
    let block = text.block("apiserver_flowcontrol_current_limit_seats", Kind::Gauge, help);
    for level in levels {
        block.value(&[("priority_level", &level.name)], level.now);
    }
    let mut each = |name: &str, kind, help: &str, count: fn(&FlowReport) -> u64| {
        let block = text.block(name, kind, help);
        for flow in flows {
            block.value(&labels(flow), count(flow));
        }
    };
    each(
        "apiserver_flowcontrol_current_executing_requests",
        Kind::Gauge,
        "[BETA] Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API \
         Priority and Fairness subsystem",
        |flow| flow.executing,
    );
    each(
        "apiserver_flowcontrol_current_inqueue_requests",
        Kind::Gauge,
        "[BETA] Number of requests currently pending in queues of the API Priority and Fairness subsystem",
        |flow| flow.waiting,
    );
    each(
        "apiserver_flowcontrol_dispatched_requests_total",
        Kind::Counter,
        "[BETA] Number of requests executed by API Priority and Fairness subsystem",
        |flow| flow.dispatched,
    );
    let help = "[BETA] Number of requests rejected by API Priority and Fairness subsystem";
    let block = text.block("apiserver_flowcontrol_rejected_requests_total", Kind::Counter, help);
    for flow in flows {
        for (reason, count) in flow.refused.iter().filter(|(_, count)| *count > 0) {
            let [schema, level] = labels(flow);
            block.value(&[schema, level, ("reason", reason.as_str())], count);
        }
    }
    let help = "[BETA] Length of time a request spent waiting in its queue";
    let block = text.block("apiserver_flowcontrol_request_wait_duration_seconds", Kind::Histogram, help);
    for flow in flows {
        for (executed, waited) in [("false", &flow.waited_in_vain), ("true", &flow.waited)] {
            let (buckets, sum) = distribution(waited);
            if waited.counts.iter().any(|count| *count > 0) {
                let [schema, level] = labels(flow);
                block.distribution(&[("execute", executed), schema, level], &buckets, sum);
            }
        }
    }
}

fn labels(flow: &FlowReport) -> [(&'static str, &str); 2] {
    [("flow_schema", &flow.schema), ("priority_level", &flow.level)]
}

/// How many were in each bucket, the last without a bound, and all together in seconds.
fn distribution(durations: &Durations) -> (Vec<(f64, u64)>, f64) {
    let bounds = BUCKETS.iter().map(|milliseconds| *milliseconds as f64 / 1000.0).chain([f64::INFINITY]);
    (bounds.zip(durations.counts).collect(), durations.sum.as_secs_f64())
}
