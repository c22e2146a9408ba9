//! A fingerprint of a pool's definition in the file. The journal keeps it, so that a start tells a
//! definition that changed since from one that did not. It has to be the same on every machine and
//! in every later version, which std's hashers do not promise.

use tidegate_model::{Name, UpstreamSpec};

// FNV-1a with 128 bits, draft-eastlake-fnv.
const OFFSET_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// 32 hexadecimal digits for the name as spelled and the definition in its JSON form. It notices
/// changes; it is not cryptographic and no protection against somebody who wants two definitions
/// to look the same.
pub fn upstream_hash(spec: &UpstreamSpec, name: &Name) -> String {
    let json = serde_json::to_vec(spec).expect("a definition has string keys and plain values");
    // No name holds a zero byte, so name and definition cannot run into each other.
    let hash = fnv1a(OFFSET_BASIS, name.as_str().as_bytes());
    format!("{:032x}", fnv1a(fnv1a(hash, &[0]), &json))
}

fn fnv1a(start: u128, bytes: &[u8]) -> u128 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tidegate_model::{Address, ServerSpec};

    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(fnv1a(OFFSET_BASIS, b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }

    #[test]
    fn equal_definitions_hash_alike_and_others_do_not() {
        let name = |text| Name::new(text).expect("a name");
        let plain = UpstreamSpec::default();
        let other = UpstreamSpec { keepalive: Some(1), ..UpstreamSpec::default() };
        let hash = upstream_hash(&plain, &name("a"));
        assert_eq!(hash, upstream_hash(&UpstreamSpec::default(), &name("a")));
        assert_ne!(hash, upstream_hash(&other, &name("a")));
        assert_ne!(hash, upstream_hash(&plain, &name("A")));
    }

    #[test]
    fn every_key_of_a_definition_counts() {
        let name = Name::new("kf").expect("a name");
        let hash = |json: &str| {
            let spec: UpstreamSpec = serde_json::from_str(json).expect("a definition");
            upstream_hash(&spec, &name)
        };
        let definitions = [
            "{}",
            r#"{"send_proxy":"off"}"#,
            r#"{"send_proxy":"v2"}"#,
            r#"{"protocol":"http1"}"#,
            r#"{"protocol":"http2"}"#,
            r#"{"source":[]}"#,
            r#"{"source":["10.0.0.8","10.0.0.9"]}"#,
            r#"{"source":["10.0.0.9","10.0.0.8"]}"#,
            r#"{"tunnel":{"ping_interval":"0s"}}"#,
            r#"{"tunnel":{"on_remove":"keep"}}"#,
            r#"{"tunnel":{"on_remove":"drain"}}"#,
            r#"{"tunnel":{"drain_over":"60s"}}"#,
            r#"{"tunnel":{"close_code":1012}}"#,
        ];
        let hashes: HashSet<String> = definitions.into_iter().map(hash).collect();
        assert_eq!(hashes.len(), definitions.len());
    }

    /// The journals of every version hold these.
    #[test]
    fn the_hash_never_changes() {
        let name = Name::new("kf").expect("a name");
        let server = ServerSpec::new(Address::parse("10.0.0.1:80").expect("an address"));
        let spec = UpstreamSpec { servers: Some(vec![server]), ..UpstreamSpec::default() };
        assert_eq!(upstream_hash(&spec, &name), "62f538735a457149ae0f07f98a52d194");
        let text = r#"{"send_proxy":"v2","source":["10.0.0.9"],"tunnel":{"ping_interval":"30s","on_remove":"drain","drain_over":"5m","close_code":1001}}"#;
        let spec: UpstreamSpec = serde_json::from_str(text).expect("a definition");
        assert_eq!(upstream_hash(&spec, &name), "e027170b6207ab5cdcd244847742ce2f");
    }
}
