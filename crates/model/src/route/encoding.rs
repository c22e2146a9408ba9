//! The codings that a route may compress answers with.

/// A content coding, by its word in RFC 9110 §8.4.1 and its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Brotli,
    Gzip,
    Zstd,
}

impl Encoding {
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Gzip, Self::Zstd];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}
