use bytes::Bytes;
use tidegate_model::Name;
use tidegate_net::Socket;
use tokio::{
    net::UnixStream,
    sync::oneshot,
    task::{LocalSet, spawn_local, yield_now},
};

use super::*;

const KEEP: Keep = Keep {
    capacity: 8,
    timeout: Duration::from_secs(60),
    requests: 0,
    time: Duration::from_secs(60),
};

struct Fixture {
    sharing: Sharing,
    budget: Arc<Budget>,
    live: Arc<PoolLive>,
    state: Arc<ServerState>,
}

impl Fixture {
    fn new() -> Self {
        let (budget, live) = (Budget::new(10), Arc::new(PoolLive::new(1)));
        let name = Name::new("p").expect("a name");
        let state = Arc::new(ServerState::new(&name, "a", 0, 1));
        Self { sharing: Sharing::new(Arc::clone(&budget)), budget, live, state }
    }

    /// Puts a new connection to a server that allows so many streams, and answers the first of them; the
    /// server leaves when what it is held by is dropped.
    async fn put(&mut self, streams: u32, keep: &Keep) -> (Box<dyn Within>, oneshot::Sender<()>) {
        let (near, far) = UnixStream::pair().expect("a pair");
        let (held, gone) = oneshot::channel::<()>();
        spawn_local(async move {
            let settings = h2::server::Builder::new()
                .max_concurrent_streams(streams)
                .handshake::<_, Bytes>(far);
            let mut connection = settings.await.expect("a client");
            tokio::select! {
                _ = gone => (),
                _ = connection.accept() => (),
            }
        });
        let (asking, driving) = Asking::begin(Socket::Unix(near)).await.expect("a server");
        spawn_local(driving.run());
        let first = asking.stream();
        self.sharing.put(&self.live, &self.state, asking, Via::default(), keep);
        (first, held)
    }

    fn take(&mut self, keep: &Keep) -> Option<Box<dyn Within>> {
        self.sharing.take(&self.live, self.state.id(), Via::default(), keep)
    }
}

#[tokio::test]
async fn requests_share_a_connection_as_long_as_it_has_room() {
    let test = async {
        let mut f = Fixture::new();
        let (first, _held) = f.put(2, &KEEP).await;
        let second = f.take(&KEEP);
        assert!(second.is_some() && f.take(&KEEP).is_none());
        drop(first);
        assert!(f.take(&KEEP).is_some());
        assert_eq!(f.budget.kept(), 1);
        drop(f.sharing);
        assert_eq!(f.budget.kept(), 0);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn connections_wear_out_and_leave_with_their_server() {
    let test = async {
        let mut f = Fixture::new();
        let twice = Keep { requests: 2, ..KEEP };
        let (_first, _held) = f.put(9, &twice).await;
        assert!(f.take(&twice).is_some() && f.take(&twice).is_none());
        for unfit in [Keep { requests: 1, ..KEEP }, Keep { capacity: 0, ..KEEP }] {
            let _put = f.put(9, &unfit).await;
            assert_eq!(f.budget.kept(), 0);
        }
        let _old = f.put(9, &Keep { time: Duration::ZERO, ..KEEP }).await;
        assert!(f.take(&KEEP).is_none());
        let _put = f.put(9, &KEEP).await;
        f.state.leave();
        f.sharing.drop_gone();
        assert_eq!((f.budget.kept(), f.take(&KEEP).is_none()), (0, true));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn what_is_idle_is_closed_and_what_is_busy_is_not() {
    let test = async {
        let mut f = Fixture::new();
        let one = Keep { capacity: 1, ..KEEP };
        let (first, _one) = f.put(9, &one).await;
        let (second, _two) = f.put(9, &one).await;
        let (third, _three) = f.put(9, &one).await;
        f.sharing.sweep();
        assert_eq!(f.budget.kept(), 3);
        drop((first, second));
        f.sharing.sweep();
        assert_eq!(f.budget.kept(), 2, "as many are idle as may be");
        f.sharing.clear();
        assert_eq!(f.budget.kept(), 1, "one is busy");
        drop(third);
        let _idle = f.put(9, &Keep { timeout: Duration::ZERO, ..KEEP }).await;
        f.sharing.clear();
        assert_eq!(f.budget.kept(), 1);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn what_its_server_has_ended_is_not_taken() {
    let test = async {
        let mut f = Fixture::new();
        let (_first, held) = f.put(9, &KEEP).await;
        assert!(f.take(&KEEP).is_some());
        drop(held);
        while f.take(&KEEP).is_some() {
            yield_now().await;
        }
        assert_eq!(f.budget.kept(), 0);
    };
    LocalSet::new().run_until(test).await;
}
