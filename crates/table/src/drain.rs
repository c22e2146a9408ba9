//! A drain as the table keeps it: the order to empty one server, under a number of its own. It keeps
//! the server out of rotation, across changes and restarts, until it is ended or the server leaves
//! its pool. At which pace the server is emptied is not decided here.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_model::{
    Name, Span,
    drain::{DrainSpec, Order, Rate},
    upstream::CloseCode,
};
use utoipa::ToSchema;

/// A server that is being emptied, or that was and stays out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// The generation that began it, and for further ones of the same change the next numbers that
    /// are free. None is given twice, not after a restart and not when all drains have ended: only
    /// one above the table's generation could be, and so the largest is kept as long as it is.
    pub id: u64,
    pub spec: DrainSpec,
    /// When it was last ordered in full, in milliseconds since 1970. Its deadline counts from here.
    pub begun: u64,
    /// The one that last changed it.
    pub generation: u64,
    /// When the server was found empty, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<u64>,
}

/// Drains by their ids.
pub type Drains = imbl::OrdMap<u64, Arc<Drain>>;

/// What is to be different about a drain; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DrainChange {
    pub paused: Option<bool>,
    /// Takes the place of a rate.
    pub over: Option<Span>,
    /// Takes the place of `over`; not beside it.
    pub rate: Option<Rate>,
    pub order: Option<Order>,
    pub deadline: Option<Span>,
    pub close_code: Option<CloseCode>,
}

impl DrainChange {
    pub(crate) fn onto(self, mut spec: DrainSpec) -> DrainSpec {
        let Self { paused, over, rate, order, deadline, close_code } = self;
        if over.is_some() || rate.is_some() {
            (spec.over, spec.rate) = (over, rate);
        }
        DrainSpec {
            paused: paused.unwrap_or(spec.paused),
            order: order.unwrap_or(spec.order),
            deadline: deadline.or(spec.deadline),
            close_code: close_code.or(spec.close_code),
            ..spec
        }
    }
}

/// Those of one pool's servers.
pub(crate) fn of<'d>(drains: &'d Drains, pool: &'d Name) -> impl Iterator<Item = &'d Arc<Drain>> {
    drains.values().filter(move |drain| drain.spec.upstream == *pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_replaces_what_it_names_and_one_pace_the_other() {
        let spec: DrainSpec = serde_json::from_str(
            r#"{"upstream":"p","server":"s","over":"10m","deadline":"1h","reason":"why"}"#,
        )
        .expect("an order");
        let change = |text: &str| serde_json::from_str::<DrainChange>(text).expect("a change");
        let rate = change(r#"{"rate":"5/s","paused":true}"#).onto(spec.clone());
        assert_eq!((rate.over, rate.rate), (None, Rate::parse("5/s").ok()));
        assert_eq!((rate.paused, rate.deadline, &rate.reason), (true, spec.deadline, &spec.reason));
        let over = change(r#"{"over":"1m","paused":false}"#).onto(rate);
        assert_eq!((over.over, over.rate, over.paused), (Some(Span::from_secs(60)), None, false));
        assert_eq!(change("{}").onto(spec.clone()), spec);
        assert!(serde_json::from_str::<DrainChange>(r#"{"server":"t"}"#).is_err());
    }
}
