//! What a route asks of a request before it goes anywhere: who may come, how often, and how many at
//! once.

use serde_json::Value;

use super::word;

/// By what stands before each.
pub(super) fn lines(route: &Value) -> Vec<(&'static str, String)> {
    let Some(limits) = route.get("protection") else { return Vec::new() };
    let mut said = Vec::new();
    for (key, what) in [("allow", "allowed"), ("deny", "denied")] {
        let nets = limits.get(key).and_then(Value::as_array).into_iter().flatten();
        let nets: Vec<_> = nets.filter_map(Value::as_str).collect();
        if !nets.is_empty() {
            said.push((what, nets.join(", ")));
        }
    }
    let number = |limit: &Value, key| limit.get(key).and_then(Value::as_u64).unwrap_or_default();
    if let Some(limit) = limits.get("rate_limit") {
        let (rate, burst) = (word(limit, "rate"), number(limit, "burst"));
        said.push(("rate", format!("at most {rate}, and {burst} at a burst, {}", of_whom(limit))));
    }
    if let Some(limit) = limits.get("conn_limit") {
        said.push(("at once", format!("at most {}, {}", number(limit, "count"), of_whom(limit))));
    }
    said
}

/// Whose requests are counted together.
fn of_whom(limit: &Value) -> String {
    let key = word(limit, "key");
    match limit.get("value").and_then(Value::as_str) {
        Some(value) => format!("by {key} = \"{value}\""),
        None => format!("by {key}, which this request does not have: it is not limited"),
    }
}
