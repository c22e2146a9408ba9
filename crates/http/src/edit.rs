//! What a proxy changes in heads: fields that belong to one connection stay here, framing is
//! written anew, and the server learns who asked.

mod request;
mod response;
mod told;

pub(crate) use request::{Outgoing, allowed_upgrade, request};
pub(crate) use response::{Additions, Answering, interim, response};
pub(crate) use told::Told;
