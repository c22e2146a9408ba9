//! What the variables of a template stand for in one request.

use std::{borrow::Cow, net::IpAddr};

use tidegate_model::{Template, template::Variable};
use tidegate_wire::{Facts, cookie, query_argument};

use tidegate_worker::{Encryption, RequestId};

/// A request, as templates see it.
pub(crate) struct Variables<'r> {
    pub(crate) facts: &'r Facts<'r>,
    pub(crate) headers: &'r [httparse::Header<'r>],
    /// In lower case, without the port.
    pub(crate) host: &'r str,
    /// Normalised.
    pub(crate) path: &'r [u8],
    pub(crate) client: Option<IpAddr>,
    pub(crate) id: &'r RequestId,
    /// The pool, once there is one.
    pub(crate) upstream: &'r str,
    /// `None`: it came in plain text.
    pub(crate) encryption: Option<&'r Encryption>,
}

/// Stands for the server in a rendered text until one is picked: no field value can hold it.
pub(crate) const SERVER_MARK: char = '\0';

/// The same for the pool, which may be the fallback in the end.
pub(crate) const UPSTREAM_MARK: char = '\u{1}';
pub(crate) const UPSTREAM_MARK_TEXT: &str = "\u{1}";

impl Variables<'_> {
    pub(crate) fn render(&self, template: &Template) -> String {
        let mut out = String::new();
        template.render(&mut out, |variable| self.value(variable));
        out
    }

    pub(crate) fn value(&self, variable: &Variable) -> Option<Cow<'_, str>> {
        Some(match variable {
            Variable::ClientIp => self.client?.to_string().into(),
            Variable::Cookie(name) => cookie(self.headers, name)?.into(),
            // Put in when the configuration was read: nothing here looks at the environment.
            Variable::Env(_) => return None,
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
            Variable::RequestId => self.id.as_str().into(),
            Variable::Scheme if self.encryption.is_some() => "https".into(),
            Variable::Scheme => "http".into(),
            Variable::Server => SERVER_MARK.to_string().into(),
            Variable::TlsClientSubject => self.encryption?.client_subject.as_deref()?.into(),
            Variable::Upstream => self.upstream.into(),
            Variable::Uri => String::from_utf8_lossy(self.facts.target),
        })
    }
}
