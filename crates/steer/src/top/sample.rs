//! One look at the proxy.

use std::time::Instant;

use crate::{
    Failure,
    answers::{Drain, Drains, PoolDetail, Pools, Status},
    client::{Call, Client},
};

/// A look, or why there was none.
pub(super) type Heard = Result<Sample, String>;

/// What was there to be seen.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) status: Status,
    pub(super) pools: Pools,
    /// The pool that is looked at, with its servers.
    pub(super) detail: Option<PoolDetail>,
    pub(super) drains: Vec<Drain>,
}

impl Sample {
    /// Four calls, however many pools there are.
    pub(super) async fn take(client: &mut Client, pool: Option<&str>) -> Result<Self, Failure> {
        let status = client.read(&Call::get(&["status"])).await?;
        let pools = or_nothing(client.read::<Pools>(&Call::get(&["upstreams"])).await)?;
        let drains = or_nothing(client.read::<Drains>(&Call::get(&["drains"])).await)?.drains;
        let detail = match pool {
            // It may have been deleted since.
            Some(pool) => match client.read(&Call::get(&["upstreams", pool])).await {
                Ok(detail) => Some(detail),
                Err(failure) if failure.has_status(404) => None,
                Err(failure) => return Err(failure),
            },
            None => None,
        };
        Ok(Self { at: Instant::now(), status, pools, detail, drains })
    }
}

/// What an older proxy does not know yet is not there.
fn or_nothing<T: Default>(read: Result<T, Failure>) -> Result<T, Failure> {
    match read {
        Err(failure) if failure.has_status(404) => Ok(T::default()),
        read => read,
    }
}
