//! For what a client's connection of HTTP/2 is closed.

use h2::Reason;

/// What a client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Too many streams were reset before their answer (CVE-2023-44487).
    Resets,
    /// Too many frames that carry nothing: pings, settings, priorities, empty data.
    Frames,
    /// Streams wait for room that is not given (zero windows).
    Stalled,
    /// Heads without end, or streams broken one after another, by the measures of the h2 crate
    /// (CVE-2024-27316, CVE-2025-8671).
    Unruly,
    /// More than its window had room for (RFC 9113 §5.2).
    FlowControl,
    FrameSize,
    /// Any other breach of RFC 9113, or a head that cannot be read (RFC 7541).
    Protocol,
}

impl Fault {
    pub const ALL: [Self; 7] = [
        Self::Resets,
        Self::Frames,
        Self::Stalled,
        Self::Unruly,
        Self::FlowControl,
        Self::FrameSize,
        Self::Protocol,
    ];

    /// The label `reason` of its metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::Frames => "frames",
            Self::Stalled => "stalled",
            Self::Unruly => "unruly",
            Self::FlowControl => "flow_control",
            Self::FrameSize => "frame_size",
            Self::Protocol => "protocol",
        }
    }

    /// What the client is told (RFC 9113 §7).
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Resets | Self::Frames | Self::Stalled | Self::Unruly => Reason::ENHANCE_YOUR_CALM,
            Self::FlowControl => Reason::FLOW_CONTROL_ERROR,
            Self::FrameSize => Reason::FRAME_SIZE_ERROR,
            Self::Protocol => Reason::PROTOCOL_ERROR,
        }
    }

    /// That for which the h2 crate has closed a connection by itself; `None`: its client did, or the
    /// network.
    pub(crate) fn of(error: &h2::Error) -> Option<Self> {
        let reason = error.reason().filter(|_| error.is_go_away() && error.is_library())?;
        Some(match reason {
            // The latter is what it says of one field that fills frame after frame.
            Reason::ENHANCE_YOUR_CALM | Reason::COMPRESSION_ERROR => Self::Unruly,
            Reason::FLOW_CONTROL_ERROR => Self::FlowControl,
            Reason::FRAME_SIZE_ERROR => Self::FrameSize,
            _ => Self::Protocol,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_its_place() {
        for (place, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, place, "{}", fault.label());
        }
    }
}
