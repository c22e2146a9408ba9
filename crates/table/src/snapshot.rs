//! What routing reads, as one immutable value. Pools live in a persistent map: a change of one
//! among 10,000 copies a few nodes.

use std::{collections::HashMap, sync::Arc};

use tidegate_model::{Name, UpstreamSpec, name};

use crate::{drain::Drains, pool::Pool, routes::Routes};

/// Pools by folded name. The hasher is keyed: names to look up come from requests.
pub type Pools = imbl::GenericHashMap<
    Arc<str>,
    Arc<Pool>,
    foldhash::quality::RandomState,
    imbl::shared_ptr::DefaultSharedPtr,
>;

/// What the configuration file says of pools, by folded name, whatever became of them since.
pub type Filed = HashMap<Arc<str>, (Name, Arc<UpstreamSpec>)>;

/// One generation of the table.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub generation: u64,
    pub pools: Pools,
    pub routes: Arc<Routes>,
    pub filed: Arc<Filed>,
    /// Of servers that are listed.
    pub drains: Drains,
}

impl Snapshot {
    /// The pool of that name, in any case.
    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.get(name::fold(name, &mut [0; name::MAX_LEN])?)
    }

    /// What the configuration file says of that pool.
    pub fn filed(&self, name: &Name) -> Option<&Arc<UpstreamSpec>> {
        self.filed.get(&name.folded()).map(|(_, spec)| spec)
    }

    /// Every pool in the order of creation.
    pub fn in_order(&self) -> Vec<&Arc<Pool>> {
        let mut pools: Vec<_> = self.pools.values().collect();
        pools.sort_unstable_by_key(|pool| pool.order);
        pools
    }
}
