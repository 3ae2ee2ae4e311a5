//! The attributes of a path, all of them, for `show routes PREFIX` and `explain`.

use super::table::wrap;
use crate::api::types::Path;

/// Where a line begins, and where a long one goes on.
const INDENT: &str = "    ";
const WIDTH: usize = 84;

/// Lines that name every attribute that the path has.
pub(super) fn attributes(path: &Path) -> String {
    let mut text = format!(
        "{INDENT}next hop {}{}, AS path [{}], origin {}, local preference {}, MED {}\n",
        path.next_hop,
        path.interior_cost
            .filter(|cost| *cost > 0)
            .map_or_else(String::new, |cost| format!(" (cost {cost})")),
        wrap(&path.as_path, WIDTH, 8),
        path.origin,
        preference(path),
        optional(path.med),
    );
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("{INDENT}{name} {}\n", wrap(value, WIDTH, 8)));
        }
    };
    line("link-local next hop", path.link_local_next_hop.as_deref().unwrap_or_default());
    line("communities", &path.communities.join(" "));
    line("large communities", &path.large_communities.join(" "));
    line("extended communities", &path.extended_communities.join(" "));
    if path.atomic_aggregate {
        line("atomic", "aggregate");
    }
    line("aggregated by AS", path.aggregator.as_deref().unwrap_or_default());
    line("originator id", path.originator_id.as_deref().unwrap_or_default());
    line("cluster list", &path.cluster_list.join(" "));
    line("AIGP metric", &path.aigp.map(|metric| metric.to_string()).unwrap_or_default());
    line("only to customer: AS", &path.otc.map(|asn| asn.to_string()).unwrap_or_default());
    let partial: Vec<String> = path.partial.iter().map(ToString::to_string).collect();
    line("partial: attributes", &partial.join(" "));
    line("unknown attributes (code:flags:value)", &path.unknown.join(" "));
    text
}

/// The local preference that counts, or that a neighbour is sent.
pub(super) fn preference(path: &Path) -> String {
    optional(path.local_pref.or(path.local_pref_used))
}

pub(super) fn optional(value: Option<u32>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
