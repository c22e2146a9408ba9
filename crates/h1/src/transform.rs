//! What a body may become on its way. The flow knows no more of it than that payload goes in and,
//! sooner or later, other payload comes out.

use std::{fmt, io};

/// Turns a body's payload into another, piece by piece. What comes out of each call goes on.
pub trait Transform: fmt::Debug {
    /// # Errors
    /// When the payload cannot be turned into anything; the body is cut then.
    fn write(&mut self, payload: &[u8]) -> io::Result<Vec<u8>>;

    /// Nothing more will come for a while: whatever was written so far is to come out.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn flush(&mut self) -> io::Result<Vec<u8>>;

    /// Nothing more will come at all.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn finish(&mut self) -> io::Result<Vec<u8>>;
}
