//! What the variables of a template stand for in a request that is only asked about. It has no id,
//! and no server yet.

use std::{borrow::Cow, net::IpAddr};

use httparse::Header;
use tidegate_model::{Template, template::Variable};
use tidegate_wire::{Facts, cookie, query_argument};

/// A request, as templates see it.
pub(super) struct Variables<'r> {
    pub(super) facts: &'r Facts<'r>,
    pub(super) headers: &'r [Header<'r>],
    /// In lower case, without the port.
    pub(super) host: &'r str,
    /// Normalised.
    pub(super) path: &'r [u8],
    pub(super) client: IpAddr,
    pub(super) scheme: &'static str,
    /// The pool, once there is one.
    pub(super) upstream: &'r str,
}

impl Variables<'_> {
    pub(super) fn render(&self, template: &Template) -> String {
        let mut out = String::new();
        template.render(&mut out, |variable| self.value(variable));
        out
    }

    pub(super) fn value(&self, variable: &Variable) -> Option<Cow<'_, str>> {
        Some(match variable {
            Variable::ClientIp => self.client.to_string().into(),
            Variable::Cookie(name) => self.cookie(name)?.into(),
            Variable::Header(name) if name == "host" => self.facts.authority.into(),
            Variable::Header(name) => {
                let field = self.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
                String::from_utf8_lossy(field.value)
            }
            Variable::Host => self.host.into(),
            Variable::Method => self.facts.method.into(),
            Variable::Path => String::from_utf8_lossy(self.path),
            Variable::Query => String::from_utf8_lossy(self.facts.query?),
            Variable::QueryArgument(name) => {
                String::from_utf8_lossy(query_argument(self.facts.query?, name)?)
            }
            Variable::Scheme => self.scheme.into(),
            Variable::Upstream => self.upstream.into(),
            Variable::Uri => String::from_utf8_lossy(self.facts.target),
            Variable::Env(_)
            | Variable::RequestId
            | Variable::Server
            | Variable::TlsClientSubject => return None,
        })
    }

    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        cookie(self.headers, name)
    }
}
