//! Strangers take turns. A handshake of TLS costs as much computing as hundreds of requests, the first
//! words of HTTP/2 may be a flood, and a thousand clients that come at once must not keep everybody
//! else on the worker waiting until the last of them is done. So only a few may compute between two
//! looks at all the others. Nobody holds a turn while it waits for its client: clients that never say
//! the rest are in nobody's way.

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use tokio::{
    sync::{Notify, Semaphore},
    task::yield_now,
};

/// Steps between two looks at everybody else. One with RSA takes half a millisecond.
const AT_ONCE: usize = 2;

/// Whose turn it is on one worker; those who wait come in order.
#[derive(Debug)]
pub(crate) struct Turns(Semaphore);

/// Remembers that a stranger was woken, until it has its turn.
struct Woken(Notify);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

impl Turns {
    /// Runs what serves a stranger, each step of it in turn. Cancel safe if that is.
    pub(crate) async fn run<F: Future>(&self, serving: F) -> F::Output {
        let mut serving = pin!(serving);
        let woken = Arc::new(Woken(Notify::new()));
        let waker = Waker::from(Arc::clone(&woken));
        loop {
            let turn = self.0.acquire().await.expect("it is never closed");
            let step = poll_fn(|_| {
                let mut cx = Context::from_waker(&waker);
                Poll::Ready(serving.as_mut().poll(&mut cx))
            });
            let step = step.await;
            // The turn ends when everybody else who can go on has done so.
            yield_now().await;
            drop(turn);
            if let Poll::Ready(done) = step {
                return done;
            }
            woken.0.notified().await;
        }
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use tokio::task::LocalSet;

    use super::*;

    /// Computes in so many steps, and can go on at once after each.
    async fn steps(count: usize, taken: Rc<Cell<usize>>) {
        for _ in 0..count {
            taken.set(taken.get() + 1);
            let mut is_first = true;
            poll_fn(|cx| {
                if std::mem::take(&mut is_first) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
        }
    }

    #[tokio::test]
    async fn others_are_looked_at_between_a_few_steps() {
        let (turns, taken) = (Rc::new(Turns::default()), Rc::new(Cell::new(0)));
        let local = LocalSet::new();
        let handshakes: Vec<_> = (0..100)
            .map(|_| {
                let (turns, taken) = (Rc::clone(&turns), Rc::clone(&taken));
                local.spawn_local(async move { turns.run(steps(2, taken)).await })
            })
            .collect();
        let most = local.run_until(async {
            let (mut most, mut before) = (0, 0);
            while taken.get() < 200 {
                yield_now().await;
                most = most.max(taken.get() - before);
                before = taken.get();
            }
            for handshake in handshakes {
                handshake.await.expect("it does not panic");
            }
            most
        });
        // Somebody's turn may end just before a look and somebody else's begin just after it.
        assert!(most.await <= 2 * AT_ONCE, "too many at once");
    }

    #[tokio::test]
    async fn who_waits_for_a_client_is_in_nobodys_way() {
        let turns = Rc::new(Turns::default());
        let local = LocalSet::new();
        for _ in 0..2 * AT_ONCE {
            let turns = Rc::clone(&turns);
            local.spawn_local(async move { turns.run(std::future::pending::<()>()).await });
        }
        let late = local.run_until(async {
            for _ in 0..3 {
                yield_now().await;
            }
            turns.run(async { 7 }).await
        });
        assert_eq!(late.await, 7);
    }
}
