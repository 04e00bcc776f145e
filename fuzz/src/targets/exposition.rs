//! What programs tell of themselves, in Prometheus' text form.

use observe::text;
use observe::usage::Look;

use crate::target::texts;
use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "exposition",
    shape: Shape::Plain,
    examples,
    words: &[
        "# TYPE ",
        " counter\n",
        "_total",
        "{",
        "}",
        "=\"",
        "\\\"",
        "\\n",
        ",",
        "+Inf",
        "NaN",
        "1e308",
        " 1700",
    ],
    read,
    turns: 20_000,
};

/// So many numbers are read of a page.
const MOST: usize = 100;

fn read(page: &[u8]) -> bool {
    let Ok(page) = std::str::from_utf8(page) else { return false };
    let mut told = Vec::new();
    let outcome = text::read(page, MOST, |sample| told.push(sample));
    assert!(told.len() <= MOST, "more than was asked for");
    // A node's page is read by the same rules, whatever it tells.
    if outcome.is_ok() {
        let look = Look::read(page).expect("a page that was read before");
        assert!(look.node(&look).is_none(), "a moment has no length");
    }
    // What was read and is printed is read as the same.
    let mut printed = String::new();
    for sample in &told {
        let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> =
            sample.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let at = sample.at.map_or(String::new(), |at| format!(" {at}"));
        printed.push_str(&format!("{}{{{}}} {:?}{at}\n", sample.name, labels.join(","), sample.value));
    }
    let mut again = Vec::new();
    text::read(&printed, MOST, |sample| {
        again.push(format!("{:?} {:?} {:?}", sample.name, sample.labels, sample.at))
    })
    .expect("what was printed is a page");
    let told: Vec<String> =
        told.iter().map(|sample| format!("{:?} {:?} {:?}", sample.name, sample.labels, sample.at)).collect();
    assert_eq!(again, told);
    outcome.is_ok()
}

fn examples() -> Vec<Vec<u8>> {
    texts(&[
        "a 1\n",
        "# HELP http_requests_total All.\n# TYPE http_requests_total counter\nhttp_requests_total{code=\"200\",path=\"/a\\\"b\\\\\\n\"} 1.5e3 1800000000000\n",
        "# TYPE h histogram\nh_bucket{le=\"0.1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 0.3\nh_count 2\n",
        "node_cpu_usage_seconds_total 12.5 1800000000000\nnode_memory_working_set_bytes 4096 1800000000000\n",
        "container_cpu_usage_seconds_total{container=\"c\",namespace=\"n\",pod=\"p\"} 3 1800000000000\ncontainer_start_time_seconds{container=\"c\",namespace=\"n\",pod=\"p\"} 1.7e9\n",
        "b{x = \"1\" , } NaN\nc -Inf\n",
    ])
}
