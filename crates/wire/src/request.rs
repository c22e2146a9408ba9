//! What a request head says, judged in one pass over its fields. The hot path: a name is compared
//! only with the one field that has its length.

use httparse::Header;

use crate::{
    authority::Authority,
    connection::Options,
    field::list,
    framing::{Body, Framing, Version},
    refusal::Refusal,
    target::Target,
};

/// What a request head says, borrowed from the buffer it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<'b> {
    pub version: Version,
    pub method: &'b str,
    /// What to forward: origin-form or `*`, never with a fragment. See [`Facts::rootless`].
    pub target: &'b [u8],
    /// An absolute-form had a query but no path, so that `target` starts with `?`: a `/` has to be
    /// written before it.
    pub rootless: bool,
    /// The path of the target, still encoded; `*` of the asterisk-form.
    pub path: &'b [u8],
    /// Without its `?`.
    pub query: Option<&'b [u8]>,
    /// The authority of the absolute-form or of Host, as sent; empty only for HTTP/1.0 without.
    pub authority: &'b str,
    /// The authority without its port, as sent; an IPv6 literal keeps its brackets.
    pub host: &'b str,
    /// Never `Length(0)`: that is `None`.
    pub body: Body,
    /// The Content-Length as sent. `Some(0)` goes with [`Body::None`] and is worth forwarding:
    /// some servers answer a POST without it with 411.
    pub declared_length: Option<u64>,
    /// The client wants to send more requests.
    pub keep_alive: bool,
    /// An HTTP/1.1 client waits for a 100 before it sends the content.
    pub expect_continue: bool,
    /// HTTP/1.1 with an Upgrade field and `upgrade` in Connection.
    pub upgrade: bool,
    /// Connection names fields besides those known by heart: ask
    /// [`named_by_connection`](crate::named_by_connection) about each.
    pub connection_names: bool,
}

/// Judges a request head that `httparse` has read completely.
///
/// # Errors
/// When the head is ambiguous, malformed or asks for what is not offered.
pub fn judge_request<'b>(request: &httparse::Request<'_, 'b>) -> Result<Facts<'b>, Refusal> {
    let (Some(method), Some(raw), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(Refusal::Incomplete);
    };
    let version = Version::of_minor(minor).ok_or(Refusal::Version)?;
    if method == "CONNECT" {
        return Err(Refusal::Connect);
    }
    let fields = Fields::read(request.headers)?;
    let body = fields.body(version, method)?;
    let target = Target::parse(method, raw)?;
    let authority = fields.authority(version, &target)?;
    let (path, query) = target.split();
    let is_11 = version == Version::Http11;
    if is_11 && fields.expects_more {
        return Err(Refusal::Expectation);
    }
    Ok(Facts {
        version,
        method,
        target: target.bytes,
        rootless: target.is_rootless,
        path,
        query,
        authority: authority.text,
        host: authority.host,
        body,
        declared_length: fields.framing.declared_length(),
        keep_alive: fields.options.persists(version),
        expect_continue: is_11 && fields.expects_continue && body != Body::None,
        upgrade: is_11 && fields.has_upgrade && fields.options.upgrade,
        connection_names: fields.options.names,
    })
}

/// The fields that matter, collected.
#[derive(Default)]
struct Fields<'b> {
    host: Option<&'b [u8]>,
    framing: Framing,
    options: Options,
    has_upgrade: bool,
    expects_continue: bool,
    expects_more: bool,
}

impl<'b> Fields<'b> {
    fn read(headers: &[Header<'b>]) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        headers.iter().try_for_each(|header| fields.field(header.name, header.value))?;
        Ok(fields)
    }

    fn field(&mut self, name: &str, value: &'b [u8]) -> Result<(), Refusal> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is("host") && self.host.replace(value).is_some() => {
                return Err(Refusal::HostRepeated);
            }
            6 if is("expect") => self.expect(value),
            7 if is("upgrade") => self.has_upgrade = true,
            10 if is("connection") => self.options.read(value),
            14 if is("content-length") => self.framing.content_length(value)?,
            17 if is("transfer-encoding") => self.framing.transfer_encoding(value)?,
            _ => {}
        }
        Ok(())
    }

    /// An empty Expect asks for something that is not known, too.
    fn expect(&mut self, value: &[u8]) {
        let mut expectations = list(value);
        self.expects_continue = true;
        self.expects_more |= list(value).next().is_none()
            || expectations.any(|e| !e.eq_ignore_ascii_case(b"100-continue"));
    }

    fn body(&self, version: Version, method: &str) -> Result<Body, Refusal> {
        match self.framing.body(version)? {
            Body::Length(0) | Body::None => Ok(Body::None),
            _ if method == "TRACE" => Err(Refusal::TraceBody),
            body => Ok(body),
        }
    }

    fn authority(&self, version: Version, target: &Target<'b>) -> Result<Authority<'b>, Refusal> {
        let host = self.host.map(Authority::parse).transpose()?;
        match (host, target.named) {
            (None, _) if version == Version::Http11 => Err(Refusal::HostMissing),
            (None, None) => Ok(Authority::default()),
            (Some(host), None) => Ok(host),
            (None, Some((named, _))) => Ok(named),
            (Some(host), Some((named, port))) if host.is_same(&named, port) => Ok(named),
            (Some(_), Some(_)) => Err(Refusal::HostMismatch),
        }
    }
}

#[cfg(test)]
mod tests;
