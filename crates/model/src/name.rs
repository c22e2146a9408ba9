//! Pool names. They compare without ASCII case everywhere (nginx does), and keep the spelling of
//! whoever defined them last. A name may come from an URL or a Host header, so its length and its
//! bytes are bounded here, once.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name, in bytes. A DNS name fits; a label in the metrics stays readable.
pub const MAX_LEN: usize = 255;

/// A pool's name: 1 to [`MAX_LEN`] bytes without control characters.
#[derive(Clone)]
pub struct Name(Arc<str>);

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadName {
    Control,
    Empty,
    TooLong,
}

impl Name {
    /// # Errors
    /// When the text is empty, longer than [`MAX_LEN`] or holds a control character.
    pub fn new(text: &str) -> Result<Self, BadName> {
        match text {
            "" => Err(BadName::Empty),
            _ if text.len() > MAX_LEN => Err(BadName::TooLong),
            _ if text.chars().any(char::is_control) => Err(BadName::Control),
            _ => Ok(Self(text.into())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key under which a table stores it.
    pub fn folded(&self) -> Arc<str> {
        if self.0.bytes().any(|b| b.is_ascii_uppercase()) {
            self.0.to_ascii_lowercase().into()
        } else {
            Arc::clone(&self.0)
        }
    }
}

/// Folds `text` into `buffer` for a look-up in a table keyed by [`Name::folded`]; `None` when no
/// name can be that long.
pub fn fold<'b>(text: &str, buffer: &'b mut [u8; MAX_LEN]) -> Option<&'b str> {
    let folded = buffer.get_mut(..text.len())?;
    folded.copy_from_slice(text.as_bytes());
    folded.make_ascii_lowercase();
    std::str::from_utf8(folded).ok()
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("a pool name may not hold control characters"),
            Self::Empty => f.write_str("a pool name may not be empty"),
            Self::TooLong => write!(f, "a pool name is at most {MAX_LEN} bytes long"),
        }
    }
}

impl std::error::Error for BadName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case_and_keep_their_spelling() {
        let name = Name::new("ImGateway").expect("a name");
        assert_eq!(name, Name::new("IMGATEWAY").expect("a name"));
        assert_eq!(name.to_string(), "ImGateway");
        assert_eq!(&*name.folded(), "imgateway");
        assert_eq!(fold("IMgateWAY", &mut [0; MAX_LEN]), Some("imgateway"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert_eq!(Name::new(""), Err(BadName::Empty));
        assert_eq!(Name::new("a\nb"), Err(BadName::Control));
        assert_eq!(Name::new(&"a".repeat(256)), Err(BadName::TooLong));
        assert_eq!(fold(&"a".repeat(256), &mut [0; MAX_LEN]), None);
    }
}
