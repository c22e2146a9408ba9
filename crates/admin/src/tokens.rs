//! Bearer tokens, and how the one that a request brings is recognised.

use std::{fmt, sync::Arc};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use axum::http::{HeaderMap, HeaderValue, header};
use subtle::ConstantTimeEq;
use tidegate_model::Access;

/// A bearer token: whose it is, and what it allows. The secret itself is not kept.
#[derive(Clone)]
pub struct Token {
    pub(crate) name: Arc<str>,
    digest: Digest,
    pub(crate) access: Access,
}

/// Of equal length whatever the secret's is, so that comparing tells nothing of that length.
type Digest = [u8; SHA256_OUTPUT_LEN];

impl Token {
    pub fn new(name: &str, secret: &str, access: Access) -> Self {
        Self { name: name.into(), digest: of(secret.as_bytes()), access }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, access, .. } = self;
        f.debug_struct("Token").field("name", name).field("access", access).finish_non_exhaustive()
    }
}

/// Which of the tokens a request brought.
///
/// # Errors
/// What is wrong with its `Authorization`.
pub(crate) fn identify<'t>(
    tokens: &'t [Token],
    headers: &HeaderMap,
) -> Result<&'t Token, &'static str> {
    let offered = headers.get(header::AUTHORIZATION).and_then(bearer);
    let offered = offered.ok_or("\"Bearer\" and a token are wanted")?;
    find(tokens, offered).ok_or("not a token of this process")
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token.trim_ascii())
}

/// Looks at every token and at all of its digest, whatever the first ones say: the time it takes
/// depends on nothing but how much was offered and how many tokens there are.
fn find<'t>(tokens: &'t [Token], offered: &[u8]) -> Option<&'t Token> {
    let offered = of(offered);
    let mut found = None;
    for token in tokens {
        if bool::from(token.digest.ct_eq(&offered)) {
            found = Some(token);
        }
    }
    found
}

fn of(secret: &[u8]) -> Digest {
    let mut out = Digest::default();
    // Both are as long as the algorithm says.
    out.copy_from_slice(digest(&SHA256, secret).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_all_of_its_bytes() {
        let token = |name: &str, secret: &str| Token::new(name, secret, Access::default());
        let tokens = [token("ops", "s3cret"), token("ci", "other")];
        let name = |offered: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(offered));
            identify(&tokens, &headers).ok().map(|token| token.name.to_string())
        };
        assert_eq!(name("Bearer s3cret").as_deref(), Some("ops"));
        assert_eq!(name("bearer other").as_deref(), Some("ci"));
        for wrong in
            ["Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crett", "Basic s3cret", "s3cret"]
        {
            assert_eq!(name(wrong), None, "{wrong:?}");
        }
        assert!(identify(&tokens, &HeaderMap::new()).is_err());
        assert!(!format!("{tokens:?}").contains("s3cret"));
    }
}
