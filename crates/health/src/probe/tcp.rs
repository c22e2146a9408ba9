//! `tcp`: somebody accepts connections. One that is closed at once is not meant, as with Tengine: a
//! balancer in between accepts for servers that are not there.

use std::{io, mem::MaybeUninit};

use socket2::SockRef;

use super::{Fault, Found, dial::Socket};

/// Judges a new connection by what can be seen of it without waiting.
pub(super) fn peek(socket: &Socket) -> Found {
    let mut byte = [MaybeUninit::uninit()];
    let peeked = match socket {
        Socket::Tcp(stream) => SockRef::from(stream).peek(&mut byte),
        Socket::Unix(stream) => SockRef::from(stream).peek(&mut byte),
        // Whoever got so far on it has heard the server.
        Socket::Tls(_) | Socket::Within(_) => return Ok("connected".into()),
    };
    match peeked {
        Ok(0) => Err(Fault::server("the connection was closed at once")),
        Ok(_) => Ok("connected".into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok("connected".into()),
        Err(error) => Err(Fault::io("the connection broke at once", &error)),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::upstream::CheckKind;
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, UnixListener, UnixStream},
    };

    use super::*;
    use crate::probe::kit::{Asking, run};

    #[test]
    fn silence_and_a_greeting_pass_an_end_does_not() {
        run(async {
            let (near, mut far) = UnixStream::pair().expect("a pair");
            let near = Socket::Unix(near);
            assert!(peek(&near).is_ok());
            far.write_all(b"220 ready\r\n").await.expect("room");
            assert!(peek(&near).is_ok());
            let (near, far) = UnixStream::pair().expect("a pair");
            drop(far);
            assert!(peek(&Socket::Unix(near)).is_err());
        });
    }

    #[test]
    fn who_accepts_passes_who_refuses_does_not() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
            let address = listener.local_addr().expect("an address").to_string();
            let asking = Asking::new(CheckKind::Tcp, &address);
            assert!(asking.ask().await.is_ok());
            drop(listener);
            let refused = asking.ask().await.expect_err("nobody listens");
            assert!(refused.to_string().contains("refused"), "{refused}");
        });
    }

    #[test]
    fn a_check_may_have_its_own_port_but_not_on_a_unix_socket() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
            let mut asking = Asking::new(CheckKind::Tcp, "127.0.0.1:1");
            asking.check.port = listener.local_addr().expect("an address").port();
            assert!(asking.ask().await.is_ok());
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("s");
            let _listener = UnixListener::bind(&path).expect("a listener");
            let mut asking = Asking::new(CheckKind::Tcp, &format!("unix:{}", path.display()));
            asking.check.port = 1;
            assert!(asking.ask().await.is_ok());
        });
    }
}
