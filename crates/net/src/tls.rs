//! TLS by rustls and aws-lc-rs, of which nothing is seen outside. A connection that has shaken hands is
//! a [`Socket`](crate::Socket) like any other: what is read from it and written to it is plaintext.
//! While it is idle it holds no buffer, for rustls' unbuffered interface lends them.

mod certificates;
mod connecting;
mod end;
mod files;
mod handshake;
mod inquiry;
mod serving;
mod session;
#[cfg(test)]
mod tests;

pub use certificates::Certificate;
pub use connecting::{TlsClient, TlsConnecting};
pub use end::TlsEnd;
pub use files::TlsFault;
pub use handshake::{TlsError, TlsFacts};
pub use inquiry::{TlsHandshake, TlsInquiry};
pub use serving::{CertificateFiles, ClientAuth, TlsServer, TlsServing, TlsVersion};
