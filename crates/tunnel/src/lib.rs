//! Tunnels: what is left of a connection once both sides speak a protocol of their own. A [`Pump`]
//! moves the bytes, and owns no buffer while there are none. Each has a [`Card`] in the
//! [`Register`], where anybody can look at it and ask it to close; under WebSocket it knows where
//! frames end, so that it can say goodbye between two of them.
#![forbid(unsafe_code)]

mod ask;
mod card;
mod pump;
mod register;

pub use ask::{Ask, How, Tally, Why};
pub use card::{Asked, Card, Kind, Phase};
pub use pump::{Account, Pump, Start};
pub use register::{Entry, Register};
