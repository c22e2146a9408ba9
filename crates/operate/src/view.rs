//! What an emptying shows of itself.

use serde::Serialize;
use tidegate_model::drain::DrainSpec;
use utoipa::ToSchema;

/// One drain, as the admin API shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Drain)]
pub struct View {
    pub id: u64,
    /// The generation that last changed it.
    pub generation: u64,
    #[serde(flatten)]
    pub spec: DrainSpec,
    pub state: State,
    /// In milliseconds since 1970.
    pub begun: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<u64>,
    /// Tunnels that were open when it began, or were opened since, by requests that ran already.
    pub total: u64,
    /// Clients that were told to leave.
    pub closed: u64,
    /// Tunnels that ended by themselves.
    pub left: u64,
    /// Tunnels that were cut at the deadline.
    pub cut: u64,
    pub remaining: Remaining,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
}

/// How a drain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DrainState)]
pub enum State {
    /// Nothing runs on the server any more; it stays out of rotation.
    Drained,
    Paused,
    Running,
}

/// What still runs on the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DrainRemaining)]
pub struct Remaining {
    pub tunnels: u64,
    pub requests: u64,
}
