//! What is different between two definitions of a pool: servers by address, everything else by key.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use serde_json::{Map, Value};
use tidegate_model::{Name, UpstreamSpec};
use tidegate_table::PastPool;
use utoipa::ToSchema;

/// A pool before and after.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Difference {
    pub(crate) upstream: Name,
    pub(crate) change: Kind,
    #[schema(value_type = Option<UpstreamSpec>)]
    pub(crate) before: Option<Arc<UpstreamSpec>>,
    #[schema(value_type = Option<UpstreamSpec>)]
    pub(crate) after: Option<Arc<UpstreamSpec>>,
    pub(crate) servers: Servers,
    /// Other keys of the pool whose values are not the same.
    pub(crate) keys: Vec<String>,
}

/// What became of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DifferenceKind)]
pub(crate) enum Kind {
    Changed,
    Created,
    Deleted,
}

/// What became of its servers.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = DifferenceServers)]
pub(crate) struct Servers {
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) altered: Vec<Altered>,
}

/// A server that stayed and is defined otherwise.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = DifferenceAltered)]
pub(crate) struct Altered {
    pub(crate) address: String,
    /// The keys whose values are not the same.
    pub(crate) fields: Vec<String>,
}

impl From<PastPool> for Difference {
    fn from(PastPool { name, before, after }: PastPool) -> Self {
        let servers = servers(before.as_deref(), after.as_deref());
        let keys = keys(before.as_deref(), after.as_deref());
        let change = Kind::of(before.is_some(), after.is_some());
        Self { upstream: name, change, before, after, servers, keys }
    }
}

impl Kind {
    pub(crate) fn of(before: bool, after: bool) -> Self {
        match (before, after) {
            (false, _) => Self::Created,
            (true, true) => Self::Changed,
            (true, false) => Self::Deleted,
        }
    }
}

/// Compares servers by address, and equal ones in their order.
pub(crate) fn servers(before: Option<&UpstreamSpec>, after: Option<&UpstreamSpec>) -> Servers {
    let (mut before, after) = (named(before), named(after));
    let mut found = Servers::default();
    for (address, now) in after {
        match before.remove(&address) {
            None => found.added.push(address),
            Some(was) => {
                let fields = differing(&was, &now);
                if !fields.is_empty() {
                    found.altered.push(Altered { address, fields });
                }
            }
        }
    }
    found.removed = before.into_keys().collect();
    found
}

/// The keys besides `servers` that two definitions do not have in common.
pub(crate) fn keys(before: Option<&UpstreamSpec>, after: Option<&UpstreamSpec>) -> Vec<String> {
    let form = |spec: Option<&UpstreamSpec>| {
        let mut form = spec.map(object).unwrap_or_default();
        form.remove("servers");
        form
    };
    differing(&form(before), &form(after))
}

fn named(spec: Option<&UpstreamSpec>) -> BTreeMap<String, Map<String, Value>> {
    let mut ordinals = BTreeMap::new();
    let named =
        spec.and_then(|spec| spec.servers.as_deref()).unwrap_or_default().iter().map(|server| {
            let address = server.address.as_str();
            let ordinal = ordinals.entry(address).or_insert(0_u32);
            *ordinal += 1;
            let name =
                if *ordinal == 1 { address.to_owned() } else { format!("{address}#{ordinal}") };
            (name, object(server))
        });
    named.collect()
}

fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map,
        // Definitions are objects.
        _ => Map::new(),
    }
}

fn differing(one: &Map<String, Value>, other: &Map<String, Value>) -> Vec<String> {
    let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter(|name| one.get(*name) != other.get(*name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> UpstreamSpec {
        serde_json::from_str(text).expect("a definition")
    }

    #[test]
    fn servers_are_told_apart_by_address_and_keys_by_name() {
        let before = spec(
            r#"{"balance":"ip_hash","keepalive":4,"servers":[{"address":"a:1"},{"address":"b:1"},{"address":"b:1"}]}"#,
        );
        let after = spec(
            r#"{"keepalive":4,"servers":[{"address":"c:1"},{"address":"a:1","weight":3,"down":true},{"address":"b:1"}]}"#,
        );
        let altered =
            Altered { address: "a:1".into(), fields: vec!["down".into(), "weight".into()] };
        let expected = Servers {
            added: vec!["c:1".into()],
            removed: vec!["b:1#2".into()],
            altered: vec![altered],
        };
        assert_eq!(servers(Some(&before), Some(&after)), expected);
        assert_eq!(keys(Some(&before), Some(&after)), ["balance"]);
        assert_eq!(servers(None, Some(&after)).added.len(), 3);
        assert_eq!(servers(Some(&after), Some(&after)), Servers::default());
    }
}
