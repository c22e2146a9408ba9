//! The `server` line (`ngx_http_upstream_server`). A known parameter may be repeated; the last one
//! wins, as in nginx.

use super::{
    quoted,
    time::{self, Precision},
};
use crate::{Address, Balance, ServerSpec};

/// Parameters of other servers of this grammar, refused by name.
const NOT_AVAILABLE: [&str; 6] = ["drain", "id=", "resolve", "route=", "service=", "srun_id="];

/// A host name of 253 bytes and a port fit.
const MAX_ADDRESS: usize = 260;

/// Reads the words after `server`. `method` is the balancing method named before this line; one
/// that comes later does not object to its parameters, in nginx neither.
///
/// # Errors
/// When nginx would refuse the line, or Tidegate has no such parameter.
pub(super) fn parse(words: &[Vec<u8>], method: Option<Balance>) -> Result<ServerSpec, String> {
    let (address, parameters) =
        words.split_first().ok_or("invalid number of arguments in \"server\" directive")?;
    let mut server = ServerSpec::new(self::address(address)?);
    for parameter in parameters {
        apply(&mut server, parameter, method)?;
    }
    Ok(server)
}

fn address(word: &[u8]) -> Result<Address, String> {
    let text = std::str::from_utf8(word)
        .map_err(|_| format!("{} is no server address: not UTF-8", quoted(word)))?;
    if text.len() > MAX_ADDRESS {
        return Err(format!("{} is no server address: too long", quoted(word)));
    }
    Address::parse(text).map_err(|bad| bad.to_string())
}

fn apply(server: &mut ServerSpec, word: &[u8], method: Option<Balance>) -> Result<(), String> {
    let invalid = |why: &str| format!("invalid server parameter {}: {why}", quoted(word));
    let text = std::str::from_utf8(word).map_err(|_| invalid("not UTF-8"))?;
    if NOT_AVAILABLE
        .iter()
        .any(|name| text == *name || name.ends_with('=') && text.starts_with(name))
    {
        return Err(format!("server parameter {}: not available yet", quoted(word)));
    }
    match text.split_once('=') {
        None if text == "down" => server.down = true,
        None if text == "backup" => {
            supported(method, &[Balance::Hash, Balance::IpHash, Balance::RandomTwo], text)?;
            server.backup = true;
        }
        Some(("weight", value)) => {
            server.weight = number(value).filter(|weight| *weight > 0).ok_or_else(|| {
                invalid("a weight is a number from 1 to 4294967295; to stop traffic use \"down\"")
            })?;
        }
        Some(("max_conns", value)) => {
            server.max_conns = number(value).ok_or_else(|| invalid(A_NUMBER))?;
        }
        Some(("max_fails", value)) => {
            server.max_fails = number(value).ok_or_else(|| invalid(A_NUMBER))?;
        }
        Some(("fail_timeout", value)) => {
            server.fail_timeout =
                time::parse(value, Precision::Secs).ok_or_else(|| invalid(A_TIME))?;
        }
        Some(("slow_start", value)) => {
            supported(method, &[Balance::Hash, Balance::IpHash], "slow_start")?;
            server.slow_start =
                time::parse(value, Precision::Secs).ok_or_else(|| invalid(A_TIME))?;
        }
        _ => return Err(invalid("unknown")),
    }
    Ok(())
}

const A_NUMBER: &str = "expected a number from 0 to 4294967295";
const A_TIME: &str = "expected a time such as 10s or 1m30s, without ms";

/// Refuses a parameter that means nothing to the method named before.
fn supported(method: Option<Balance>, without: &[Balance], parameter: &str) -> Result<(), String> {
    match method.filter(|method| without.contains(method)) {
        None => Ok(()),
        Some(method) => Err(format!(
            "balancing method {} does not support parameter \"{parameter}\"",
            method.word()
        )),
    }
}

/// Digits alone: unlike Rust, nginx knows no sign.
pub(super) fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    let all_digits = text.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| text.parse().ok()).flatten()
}
