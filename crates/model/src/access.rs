//! Who may do what through the admin API: a role, and the pools that it holds for. What somebody may
//! read is never limited to some pools; what they may change is.

use crate::{Name, route::glob};

/// How far a token reaches; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Looking at everything.
    Read,
    /// Changing pools, servers, drains and tunnels.
    Operate,
    /// Also what concerns all of them at once: reloading the file, going back to a generation.
    Admin,
}

/// What a caller may do. `Default` may do everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub role: Role,
    /// Patterns of the pools that may be changed; `None`: all.
    upstreams: Option<Vec<String>>,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Admin];

    /// As the file, the log and the API write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl Access {
    /// Of that role, for every pool.
    pub const fn of(role: Role) -> Self {
        Self { role, upstreams: None }
    }

    /// Only pools of these names may be changed. In a pattern `*` stands for any run of bytes, and
    /// ASCII case does not matter.
    #[must_use]
    pub fn within(self, patterns: Vec<String>) -> Self {
        Self { upstreams: Some(patterns), ..self }
    }

    /// Whether the pool is one of those that may be changed; the role is another matter.
    pub fn covers(&self, pool: &Name) -> bool {
        let pool = pool.as_str().as_bytes();
        let fits = |pattern: &String| glob(pattern.as_bytes(), pool);
        self.upstreams.as_ref().is_none_or(|patterns| patterns.iter().any(fits))
    }

    /// The patterns, for those that have some.
    pub fn upstreams(&self) -> Option<&[String]> {
        self.upstreams.as_deref()
    }
}

impl Default for Access {
    fn default() -> Self {
        Self::of(Role::Admin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_those_before_it_may() {
        assert!(Role::Read < Role::Operate && Role::Operate < Role::Admin);
    }

    #[test]
    fn access_covers_the_pools_of_its_patterns() {
        let name = |text| Name::new(text).expect("a name");
        let some = Access::of(Role::Operate).within(vec!["kf_*".into(), "Im*Gateway".into()]);
        for pool in ["kf_a", "KF_A", "kf_", "imgateway", "IM-2-GATEWAY"] {
            assert!(some.covers(&name(pool)), "{pool}");
        }
        for pool in ["kf", "xkf_a", "gateway", "*"] {
            assert!(!some.covers(&name(pool)), "{pool}");
        }
        assert!(Access::default().covers(&name("anything")));
        assert!(!Access::of(Role::Admin).within(Vec::new()).covers(&name("anything")));
    }
}
