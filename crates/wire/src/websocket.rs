//! WebSocket frames (RFC 6455 §5) as a tunnel sees them: it passes them on as they are, but has to
//! know where one ends, so that it can put a frame of its own between two others. Nothing here
//! unmasks, copies or gathers messages; what a message says is the business of the two ends.

mod control;
mod pong;
mod scanner;
#[cfg(test)]
mod tests;

pub use control::Control;
pub use pong::{Filtered, PongFilter};
pub use scanner::Scanner;

/// The bit of a frame's first byte that ends a message.
const FIN: u8 = 0x80;
/// The bit of a frame's second byte that announces a masking key.
const MASKED: u8 = 0x80;
/// How long the header of a control frame is without its masking key, in bytes.
const HEADER: usize = 2;
/// How long a masking key is, in bytes.
const KEY: usize = 4;
/// The longest payload of a control frame, in bytes (§5.5).
const MAX_CONTROL: usize = 125;

/// Whose frames they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// All of its frames are masked (§5.1).
    Client,
    /// None of its frames is.
    Server,
}

/// What a frame is (§5.2); the other ten values are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

impl Sender {
    /// The mask bit of its frames.
    fn mask_bit(self) -> u8 {
        match self {
            Self::Client => MASKED,
            Self::Server => 0,
        }
    }

    /// How many bytes of masking key its frames have.
    fn key(self) -> usize {
        match self {
            Self::Client => KEY,
            Self::Server => 0,
        }
    }
}

impl Opcode {
    /// From the first byte of a frame.
    fn of(first: u8) -> Option<Self> {
        match first & 0x0f {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}
