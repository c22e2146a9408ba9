//! W3C Trace Context: what `traceparent` says of the trace that a request belongs to. Whatever is not
//! valid to the letter reads as absent, which is what the recommendation asks for.

use std::num::{NonZeroU64, NonZeroU128};

use httparse::Header;

use crate::field::lines;

/// The form that is written and read: version 00.
const LENGTH: usize = 55;

/// The bits of the flags: whether the caller may have recorded it, and whether the trace's id is
/// random (of the recommendation's second level).
const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;

/// A request's place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    pub trace: NonZeroU128,
    /// The span that the request was made in.
    pub parent: NonZeroU64,
    flags: u8,
}

impl TraceParent {
    /// Where the span's digits begin in what [`Self::text`] writes, and how many they are.
    pub const PARENT: std::ops::Range<usize> = 36..52;

    /// The beginning of a trace whose id is random.
    pub fn new(trace: NonZeroU128, parent: NonZeroU64) -> Self {
        Self { trace, parent, flags: RANDOM }
    }

    /// What the fields of a head say. Two of them say nothing.
    pub fn received(headers: &[Header<'_>]) -> Option<Self> {
        let mut values = lines(headers, "traceparent");
        let (first, second) = (values.next()?, values.next());
        if second.is_none() { Self::parse(first) } else { None }
    }

    /// Reads `00-TRACE-PARENT-FLAGS`. Of a later version the same parts are read, and what follows
    /// them is not.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (parts, rest) = value.split_at_checked(LENGTH)?;
        let version = u8::try_from(hexadecimal(&parts[..2])?).ok()?;
        let ends = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let dashes = [2, 35, 52].iter().all(|at| parts[*at] == b'-');
        if !ends || !dashes {
            return None;
        }
        Some(Self {
            trace: NonZeroU128::new(hexadecimal(&parts[3..35])?)?,
            parent: NonZeroU64::new(u64::try_from(hexadecimal(&parts[36..52])?).ok()?)?,
            flags: u8::try_from(hexadecimal(&parts[53..])?).ok()? & (SAMPLED | RANDOM),
        })
    }

    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same, recorded or not.
    pub fn sampled(self, sampled: bool) -> Self {
        let flags = if sampled { self.flags | SAMPLED } else { self.flags & !SAMPLED };
        Self { flags, ..self }
    }

    /// The field's value.
    pub fn text(self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace, self.parent, self.flags)
    }
}

/// Lower case alone.
fn hexadecimal(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_example_of_the_recommendation_is_read_and_written() {
        let context = TraceParent::parse(GOOD.as_bytes()).expect("it is valid");
        assert_eq!(context.trace.get(), 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(context.parent.get(), 0xb7ad_6b71_6920_3331);
        assert!(context.is_sampled());
        assert_eq!(context.text(), GOOD);
        assert!(context.sampled(false).text().ends_with("-00"));
        let parent = &context.text()[TraceParent::PARENT];
        assert_eq!(parent, "b7ad6b7169203331");
    }

    #[test]
    fn what_is_not_valid_to_the_letter_is_absent() {
        let bad = [
            "",
            "00",
            &GOOD[..54],
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-010",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0g-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-B7AD6B7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0A",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
        ];
        for value in bad {
            assert_eq!(TraceParent::parse(value.as_bytes()), None, "{value:?} was read");
        }
    }

    #[test]
    fn of_a_later_version_the_known_parts_are_read() {
        for rest in ["", "-", "-what-the-future-will-be-like"] {
            let value = format!("cc{}{rest}", &GOOD[2..]);
            let context = TraceParent::parse(value.as_bytes()).expect("it is read");
            assert_eq!(context.text(), GOOD, "{value}");
        }
    }

    #[test]
    fn unknown_flags_are_not_passed_on() {
        let value = format!("{}ff", &GOOD[..53]);
        let context = TraceParent::parse(value.as_bytes()).expect("it is valid");
        assert!(context.is_sampled());
        assert!(context.text().ends_with("-03"));
    }

    #[test]
    fn two_fields_say_nothing() {
        let field = Header { name: "TraceParent", value: GOOD.as_bytes() };
        assert!(TraceParent::received(&[field]).is_some());
        assert_eq!(TraceParent::received(&[field, field]), None);
        assert_eq!(TraceParent::received(&[]), None);
    }
}
