//! The parameters that several requests have in common.
#![expect(dead_code, reason = "utoipa describes the fields of structs")]

use tidegate_model::upstream::OnRemove;
use utoipa::{IntoParams, ToSchema};

/// Of every change of pools.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct InQuery {
    /// Says what would change, and changes nothing.
    #[param(inline)]
    dry_run: Option<Flag>,
    /// Also what leaves a pool with nobody.
    #[param(inline)]
    force: Option<Flag>,
    /// What becomes of the tunnels to servers that leave; otherwise what their pool says.
    existing: Option<OnRemove>,
    /// Why, for the history.
    #[param(max_length = 1000)]
    reason: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
struct InHead {
    /// `*`, or ETags of what is to be changed: it happens only if one of them still holds.
    #[param(rename = "If-Match", pattern = r#"^(\*|(W/)?"[0-9a-z]*"(, ?(W/)?"[0-9a-z]*")*)$"#)]
    if_match: Option<String>,
    /// One of your own making: a repeated one is answered as the first, and changes nothing.
    #[param(rename = "Idempotency-Key", pattern = "^[!-~]{1,255}$")]
    idempotency_key: Option<String>,
}

/// What a change may bring along.
pub(crate) struct OnChange;

impl IntoParams for OnChange {
    fn into_params(
        _: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
    ) -> Vec<utoipa::openapi::path::Parameter> {
        [InQuery::into_params(|| None), InHead::into_params(|| None)].concat()
    }
}

/// Of what creates or replaces.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct OnPut {
    /// Creates, and never replaces.
    #[param(rename = "If-None-Match", inline)]
    if_none_match: Option<Star>,
}

/// Of what is shown with its ETag.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct OnShow {
    /// ETags that are known: the answer is 304 if one of them still holds.
    #[param(rename = "If-None-Match", example = "\"41\"")]
    if_none_match: Option<String>,
}

/// Yes or no.
#[derive(ToSchema)]
enum Flag {
    #[serde(rename = "true")]
    True,
    #[serde(rename = "1")]
    One,
    #[serde(rename = "false")]
    False,
    #[serde(rename = "0")]
    Zero,
}

#[derive(ToSchema)]
enum Star {
    #[serde(rename = "*")]
    Any,
}
