//! What a route asks of a request before it goes anywhere. Whether the client is allowed there is
//! said; whether there are too many of its kind is a matter of the moment, so only the limits are.

use serde::Serialize;
use tidegate_model::{
    route::{Nets, Policy},
    upstream::HashKey,
};
use utoipa::ToSchema;

use super::variables::Variables;

/// The limits of a route.
#[derive(Serialize, ToSchema)]
#[schema(as = RouteProtection)]
pub(super) struct Protection {
    /// Nobody else, unless it is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deny: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<RateLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conn_limit: Option<ConnLimit>,
    /// Whether the client may use the route.
    #[serde(skip)]
    pub(super) admits: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RouteRateLimit)]
struct RateLimit {
    key: String,
    /// What this request has for it; without one it is not limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    rate: String,
    burst: u32,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RouteConnLimit)]
struct ConnLimit {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    count: u32,
}

impl Protection {
    pub(super) fn of(policy: &Policy, variables: &Variables<'_>) -> Self {
        let value = |key: &HashKey| {
            let value = variables.value(key.variable()).map(std::borrow::Cow::into_owned);
            value.filter(|value| !value.is_empty())
        };
        Self {
            allow: listed(&policy.allow),
            deny: listed(&policy.deny),
            rate_limit: policy.rate_limit.as_ref().map(|limit| RateLimit {
                key: limit.key.to_string(),
                value: value(&limit.key),
                rate: limit.rate.to_string(),
                burst: limit.burst,
            }),
            conn_limit: policy.conn_limit.as_ref().map(|limit| ConnLimit {
                key: limit.key.to_string(),
                value: value(&limit.key),
                count: limit.count,
            }),
            admits: policy.admits(Some(variables.client)),
        }
    }

    /// Whether there is anything to say.
    pub(super) fn is_some(&self) -> bool {
        !self.allow.is_empty()
            || !self.deny.is_empty()
            || self.rate_limit.is_some()
            || self.conn_limit.is_some()
    }
}

fn listed(nets: &Nets) -> Vec<String> {
    nets.iter().map(|net| net.to_string()).collect()
}
