//! Why a command did not do what it was asked to, and the exit code that says so to scripts.

use std::fmt;

use crate::text::clean;

/// See interface §1 for the codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The proxy said no. `lines` are its reasons field by field.
    Refused { status: u16, detail: String, lines: Vec<String> },
    /// Ctrl-C while looking on. It is no error, but what was waited for has not come either.
    Stopped(String),
    /// Nobody who speaks this API answers there.
    Unreachable(String),
    /// What was typed makes no sense.
    Usage(String),
}

impl Failure {
    pub(crate) fn refused(detail: impl Into<String>) -> Self {
        Self::Refused { status: 0, detail: detail.into(), lines: Vec::new() }
    }

    pub(crate) fn has_status(&self, code: u16) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == code)
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { .. } => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 69,
            // As shells count a process that was interrupted.
            Self::Stopped(_) => 130,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { detail, lines, .. } => {
                write!(f, "{}", clean(detail))?;
                lines.iter().try_for_each(|line| write!(f, "\n  {}", clean(line)))
            }
            Self::Stopped(text) | Self::Unreachable(text) | Self::Usage(text) => {
                write!(f, "{}", clean(text))
            }
        }
    }
}

impl std::error::Error for Failure {}
