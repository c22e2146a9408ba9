//! A body that becomes another on its way: what comes out of the transformation is framed and goes on
//! in place of the payload, when the transformation gives it, and whenever the source pauses.

use std::io;

use super::{Flow, FlowError};
use crate::Transform;

/// A transformation under way.
#[derive(Debug)]
pub(super) struct Transforming {
    transform: Box<dyn Transform>,
    /// Something went in that may not have come out.
    holds: bool,
}

impl Flow {
    /// Passes on what `transform` makes of the payload.
    #[must_use]
    pub fn with_transform(mut self, transform: Box<dyn Transform>) -> Self {
        self.transform = Some(Transforming { transform, holds: false });
        self
    }

    pub(super) fn holds(&self) -> bool {
        self.transform.as_ref().is_some_and(|transforming| transforming.holds)
    }

    /// Payload goes in.
    pub(super) fn take_in(&mut self, payload: &[u8]) -> Result<(), FlowError> {
        self.transformed(true, |transform| transform.write(payload))
    }

    /// The source pauses: what it has sent so far goes on.
    pub(super) fn let_go(&mut self) -> Result<(), FlowError> {
        self.transformed(false, |transform| transform.flush())
    }

    /// The source has sent all of it.
    pub(super) fn finish_transform(&mut self) -> Result<(), FlowError> {
        self.transformed(false, |transform| transform.finish())
    }

    /// Adds what comes out of the transformation, which holds something afterwards or not.
    fn transformed(
        &mut self,
        holds: bool,
        act: impl FnOnce(&mut dyn Transform) -> io::Result<Vec<u8>>,
    ) -> Result<(), FlowError> {
        let Some(transforming) = &mut self.transform else { return Ok(()) };
        transforming.holds = holds;
        let out = act(&mut *transforming.transform).map_err(FlowError::Source)?;
        if out.is_empty() {
            return Ok(());
        }
        self.payload += out.len() as u64;
        let tail = self.begin_piece(out.len());
        self.pending.extend_from_slice(&out);
        self.pending.extend_from_slice(tail);
        Ok(())
    }
}
