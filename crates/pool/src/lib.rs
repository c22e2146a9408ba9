//! Idle upstream connections of one worker. A pool keeps at most `keepalive` of them; the least
//! recently used goes first. Each is taken again only by a request for the same server, and only
//! while nothing was heard on it. Those of HTTP/2, which requests share, are beside them (`sharing`).
#![forbid(unsafe_code)]

mod secure;
mod sharing;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use foldhash::fast::RandomState;
use tidegate_h1::Conn;
use tidegate_net::{End, Socket, coarse};
use tidegate_table::{PoolLive, ServerState};

pub use secure::{
    Secured, Securing, Unready, Via, client, http2_client, sessions_of, sharing_client, via,
};
pub use sharing::Sharing;

/// To find the least recently used connection of a pool, the oldest of so many servers are
/// compared: exact up to that, a good guess above, and never a walk over thousands.
const COMPARED: usize = 32;

/// A connection to a server.
#[derive(Debug)]
pub struct Upstream<E = Socket> {
    pub conn: Conn<E>,
    /// By the coarse clock, as all times here.
    born: Duration,
    requests: u64,
    /// By what rules it was made.
    via: Via,
}

/// What a pool says of its idle connections.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// How many; 0: none.
    pub capacity: u32,
    /// How long one may idle.
    pub timeout: Duration,
    /// Requests over one connection; 0: no limit.
    pub requests: u64,
    /// How long one may live.
    pub time: Duration,
}

/// The idle connections of one worker.
#[derive(Debug)]
pub struct Idle<E = Socket> {
    pools: HashMap<usize, PoolIdle<E>, RandomState>,
    budget: Arc<Budget>,
    /// Those that requests share, idle or not.
    pub sharing: Sharing,
}

/// Bounds the idle connections of all workers together.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    kept: AtomicUsize,
}

#[derive(Debug)]
struct PoolIdle<E> {
    /// Keeps the address that is this entry's key from being used again.
    _live: Arc<PoolLive>,
    servers: HashMap<u64, VecDeque<Kept<E>>, RandomState>,
    count: u32,
}

#[derive(Debug)]
struct Kept<E> {
    upstream: Upstream<E>,
    state: Arc<ServerState>,
    used: Duration,
    until: Duration,
}

impl<E: End> Upstream<E> {
    pub fn new(end: E, via: Via) -> Self {
        Self { conn: Conn::new(end), born: coarse(), requests: 0, via }
    }
}

impl Budget {
    /// At most `limit` idle connections.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, kept: AtomicUsize::new(0) })
    }

    fn take(&self) -> bool {
        self.kept
            .fetch_update(Relaxed, Relaxed, |kept| (kept < self.limit).then_some(kept + 1))
            .is_ok()
    }

    fn give_back(&self, count: usize) {
        self.kept.fetch_sub(count, Relaxed);
    }

    /// Idle connections of all workers.
    pub fn kept(&self) -> usize {
        self.kept.load(Relaxed)
    }
}

impl<E: End> Idle<E> {
    pub fn new(budget: Arc<Budget>) -> Self {
        let sharing = Sharing::new(Arc::clone(&budget));
        Self { pools: HashMap::default(), budget, sharing }
    }

    /// The connection to that server that was used last, if one is still good and was made as one
    /// would be made now.
    pub fn take(&mut self, live: &Arc<PoolLive>, server: u64, via: Via) -> Option<Upstream<E>> {
        let pool = self.pools.get_mut(&key(live))?;
        let stack = pool.servers.get_mut(&server)?;
        let now = coarse();
        while let Some(mut kept) = stack.pop_back() {
            pool.count -= 1;
            self.budget.give_back(1);
            if kept.until > now && kept.upstream.via == via && kept.upstream.conn.is_quiet() {
                return Some(kept.upstream);
            }
        }
        None
    }

    /// Keeps a connection after a request, or closes it when its time is over.
    pub fn put(
        &mut self,
        live: &Arc<PoolLive>,
        state: &Arc<ServerState>,
        mut upstream: Upstream<E>,
        keep: &Keep,
    ) {
        upstream.requests += 1;
        let now = coarse();
        let worn_out = (keep.requests > 0 && upstream.requests >= keep.requests)
            || now.saturating_sub(upstream.born) >= keep.time;
        if worn_out || keep.capacity == 0 || state.is_gone() || !self.budget.take() {
            return;
        }
        let pool = self.pools.entry(key(live)).or_insert_with(|| PoolIdle::new(live));
        if pool.count >= keep.capacity && pool.evict() {
            self.budget.give_back(1);
        }
        let kept =
            Kept { upstream, state: Arc::clone(state), used: now, until: now + keep.timeout };
        pool.servers.entry(state.id()).or_default().push_back(kept);
        pool.count += 1;
    }

    /// Closes what has idled too long, was closed by its server, or leads to one that left.
    pub fn sweep(&mut self) {
        let now = coarse();
        self.sharing.sweep();
        self.retain(|kept| {
            kept.until > now && !kept.state.is_gone() && kept.upstream.conn.is_quiet()
        });
    }

    /// Closes the connections to servers that left.
    pub fn drop_gone(&mut self) {
        self.sharing.drop_gone();
        self.retain(|kept| !kept.state.is_gone());
    }

    /// Closes all of them: descriptors have run short.
    pub fn clear(&mut self) {
        self.sharing.clear();
        self.retain(|_| false);
    }

    fn retain(&mut self, mut good: impl FnMut(&mut Kept<E>) -> bool) {
        let mut closed = 0;
        self.pools.retain(|_, pool| {
            pool.servers.retain(|_, stack| {
                let before = stack.len();
                stack.retain_mut(&mut good);
                closed += before - stack.len();
                pool.count -= u32::try_from(before - stack.len()).unwrap_or(u32::MAX);
                !stack.is_empty()
            });
            pool.count > 0
        });
        self.budget.give_back(closed);
    }
}

impl<E> Drop for Idle<E> {
    fn drop(&mut self) {
        self.budget.give_back(self.pools.values().map(|pool| pool.count as usize).sum());
    }
}

impl<E> PoolIdle<E> {
    fn new(live: &Arc<PoolLive>) -> Self {
        Self { _live: Arc::clone(live), servers: HashMap::default(), count: 0 }
    }

    /// Closes the least recently used one; `false` when there is none.
    fn evict(&mut self) -> bool {
        let fronts =
            self.servers.iter().filter_map(|(server, stack)| Some((stack.front()?.used, *server)));
        let Some((_, server)) = fronts.take(COMPARED).min() else {
            return false;
        };
        let evicted = self.servers.get_mut(&server).and_then(VecDeque::pop_front).is_some();
        self.count -= u32::from(evicted);
        evicted
    }
}

fn key(live: &Arc<PoolLive>) -> usize {
    Arc::as_ptr(live).addr()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use tidegate_model::Name;
    use tokio::net::UnixStream;

    use super::*;

    const KEEP: Keep = Keep {
        capacity: 2,
        timeout: Duration::from_secs(60),
        requests: 0,
        time: Duration::from_secs(60),
    };

    struct Fixture {
        idle: Idle,
        budget: Arc<Budget>,
        live: Arc<PoolLive>,
        others: Vec<UnixStream>,
    }

    fn state(address: &str) -> Arc<ServerState> {
        Arc::new(ServerState::new(&Name::new("p").expect("a name"), address, 0, 1))
    }

    fn fixture(limit: usize) -> Fixture {
        let budget = Budget::new(limit);
        let live = Arc::new(PoolLive::new(1));
        Fixture { idle: Idle::new(Arc::clone(&budget)), budget, live, others: Vec::new() }
    }

    impl Fixture {
        /// Puts a new connection and answers its descriptor, by which it is known again.
        fn put(&mut self, server: &Arc<ServerState>, keep: &Keep) -> i32 {
            let (near, far) = UnixStream::pair().expect("a pair");
            self.others.push(far);
            let fd = near.as_raw_fd();
            self.idle.put(
                &self.live,
                server,
                Upstream::new(Socket::Unix(near), Via::default()),
                keep,
            );
            fd
        }

        fn take(&mut self, server: &Arc<ServerState>) -> Option<i32> {
            match self.idle.take(&self.live, server.id(), Via::default())?.conn.end {
                Socket::Unix(stream) => Some(stream.as_raw_fd()),
                _ => None,
            }
        }
    }

    #[tokio::test]
    async fn the_last_used_is_taken_first_and_the_least_used_goes_first() {
        let mut f = fixture(10);
        let (a, b) = (state("a"), state("b"));
        f.put(&a, &KEEP);
        let second = f.put(&b, &KEEP);
        let third = f.put(&a, &KEEP);
        assert_eq!(f.take(&a), Some(third));
        assert_eq!(f.take(&a), None, "the oldest made room");
        assert_eq!(f.take(&b), Some(second));
        assert_eq!(f.budget.kept(), 0);
    }

    #[tokio::test]
    async fn what_its_server_closed_or_spoke_on_is_not_taken() {
        let mut f = fixture(10);
        let a = state("a");
        f.put(&a, &KEEP);
        f.others.clear();
        tokio::task::yield_now().await;
        assert_eq!(f.take(&a), None);
        f.put(&a, &KEEP);
        f.others[0].writable().await.expect("a socket");
        assert_eq!(f.others[0].try_write(b"x").expect("it is open"), 1);
        tokio::task::yield_now().await;
        assert_eq!(f.take(&a), None);
    }

    #[tokio::test]
    async fn connections_wear_out_and_leave_with_their_server() {
        let mut f = fixture(10);
        let a = state("a");
        f.put(&a, &Keep { requests: 1, ..KEEP });
        f.put(&a, &Keep { time: Duration::ZERO, ..KEEP });
        f.put(&a, &Keep { capacity: 0, ..KEEP });
        assert_eq!(f.take(&a), None);
        f.put(&a, &KEEP);
        a.leave();
        f.idle.drop_gone();
        assert_eq!((f.budget.kept(), f.take(&a)), (0, None));
        f.put(&a, &KEEP);
        assert_eq!(f.take(&a), None, "a server that left gets none back");
    }

    #[tokio::test]
    async fn all_workers_share_one_budget() {
        let mut f = fixture(1);
        let a = state("a");
        f.put(&a, &KEEP);
        f.put(&a, &KEEP);
        assert_eq!(f.budget.kept(), 1);
        drop(f.idle);
        assert_eq!(f.budget.kept(), 0);
    }
}
