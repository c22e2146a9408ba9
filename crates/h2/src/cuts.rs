//! Streams that end before their time. To reset one takes back what it has not sent yet; so that a client
//! gets what there was of an answer, as it would by HTTP/1, they are reset only when all that could be
//! written has been.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

use bytes::Bytes;
use h2::{Reason, SendStream};

/// Those of one connection.
#[derive(Debug, Default)]
pub(crate) struct Cuts(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    streams: Vec<SendStream<Bytes>>,
    driver: Option<Waker>,
}

impl Cuts {
    /// Leaves a stream to be reset.
    pub(crate) fn leave(&self, stream: SendStream<Bytes>) {
        let mut waiting = self.lock();
        waiting.streams.push(stream);
        let driver = waiting.driver.take();
        drop(waiting);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Resets those that were left, of a connection that has written what it can; `false`: there is
    /// none, and `cx` is woken when there is.
    pub(crate) fn reset(&self, cx: &Context<'_>) -> bool {
        let mut waiting = self.lock();
        let streams = std::mem::take(&mut waiting.streams);
        if streams.is_empty() {
            waiting.driver = Some(cx.waker().clone());
            return false;
        }
        drop(waiting);
        for mut stream in streams {
            // RFC 9113 §8.1: what was cut is not to be taken for whole.
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
