//! The cookie that brings a client back to its server. Its value is a hash of what the pool knows
//! the server by: it survives every change of the pool, and a server that is gone or unwell is
//! simply replaced by another, with a new cookie.

use tidegate_model::upstream::Sticky;
use tidegate_table::{parse_token, print_token};
use tidegate_wire::cookie as cookie_of;

use crate::attempt::Try;

/// The server that the client's cookie names.
pub(crate) fn named(sticky: Option<&Sticky>, headers: &[httparse::Header<'_>]) -> Option<u64> {
    parse_token(cookie_of(headers, &sticky?.cookie)?)
}

/// The Set-Cookie value that binds the client to the server of this try; `None` when it is bound
/// already, or when the pool does not do that.
pub(crate) fn cookie(this: &Try<'_>) -> Option<String> {
    let Sticky { cookie, max_age } = this.pool.upstream.sticky.as_ref()?;
    let token = this.pick.server.token();
    if this.job.affinity.sticky == Some(token) {
        return None;
    }
    let mut value = format!("{cookie}={}; Path=/; HttpOnly", print_token(token));
    if let Some(max_age) = max_age {
        // Less than a second is not none.
        let seconds = max_age.as_millis().div_ceil(1_000);
        value.push_str(&format!("; Max-Age={seconds}"));
    }
    Some(value)
}
