//! What to say when the proxy knows no pool or server of that name: which one was probably meant.

use tidegate_model::nearest;

use crate::{
    Failure,
    answers::{PoolDetail, Pools},
    client::{Call, Client},
};

/// Names listed where none is near.
const MOST_NAMES: usize = 8;

/// A refusal because something is not there, with what there is instead. Any other failure is left
/// as it is, and so is this one when the proxy does not tell.
pub(crate) async fn explained(
    client: &mut Client,
    failure: Failure,
    upstream: &str,
    servers: &[String],
) -> Failure {
    if !failure.has_status(404) {
        return failure;
    }
    let Ok(pools) = client.read::<Pools>(&Call::get(&["upstreams"])).await else { return failure };
    let names: Vec<&str> = pools.upstreams.iter().map(|pool| pool.name.as_str()).collect();
    let Some(name) = names.iter().find(|name| name.eq_ignore_ascii_case(upstream)) else {
        return missing("upstream", upstream, "", &names);
    };
    let Ok(pool) = client.read::<PoolDetail>(&Call::get(&["upstreams", name])).await else {
        return failure;
    };
    let known: Vec<&str> = pool.servers.iter().map(|server| server.address.as_str()).collect();
    match servers.iter().find(|server| !known.contains(&server.as_str())) {
        Some(server) => missing("server", server, &format!(" in upstream \"{name}\""), &known),
        None => failure,
    }
}

/// `no upstream "chta"; did you mean "chat"?`
fn missing(what: &str, word: &str, place: &str, known: &[&str]) -> Failure {
    let known = known.iter().copied();
    let advice = match nearest(word, known.clone()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None if known.len() == 0 => format!("there is no {what} at all"),
        None if known.len() <= MOST_NAMES => {
            format!("there are: {}", known.collect::<Vec<_>>().join(", "))
        }
        None => format!("there are {} others", known.len()),
    };
    let detail = format!("no {what} \"{word}\"{place}; {advice}");
    Failure::Refused { status: 404, detail, lines: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant() {
        let said = |word: &str, known: &[&str]| missing("upstream", word, "", known).to_string();
        assert_eq!(said("chta", &["chat", "shop"]), "no upstream \"chta\"; did you mean \"chat\"?");
        assert_eq!(said("orders", &["a", "b"]), "no upstream \"orders\"; there are: a, b");
        assert_eq!(said("orders", &[]), "no upstream \"orders\"; there is no upstream at all");
        assert_eq!(said("orders", &["p"; 9]), "no upstream \"orders\"; there are 9 others");
    }
}
