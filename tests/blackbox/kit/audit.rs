//! What must be true of tunnels at any moment. Every page of metrics that a test reads is held to
//! it, and one more when its proxy goes.

/// Of each listener: what was opened is active or closed, and every byte that came in, or was put
/// in, went out, was taken out, or is known to be lost.
#[track_caller]
pub fn audit(page: &str) {
    let sum = |family: &str, listener: &str, more: &str| -> u64 {
        let its = format!("{family}{{listener=\"{listener}\"{more}");
        let values = page.lines().filter_map(|line| line.strip_prefix(&its)?.rsplit(' ').next());
        values.map(|value| value.parse::<u64>().unwrap()).sum()
    };
    for line in page.lines() {
        let Some(rest) = line.strip_prefix("tidegate_listener_tunnels_total{listener=\"") else {
            continue;
        };
        let listener = rest.split('"').next().unwrap();
        let count = |family: &str| sum(&format!("tidegate_listener_{family}"), listener, "");
        let (opened, active) = (count("tunnels_total"), count("tunnels_active"));
        let closed = count("tunnel_closes_total");
        assert_eq!(opened, active + closed, "tunnels of {listener}:\n{page}");
        let bytes = |kind: &str| {
            let kind = format!(",kind=\"{kind}\"");
            sum("tidegate_listener_tunnel_bytes_total", listener, &kind)
        };
        assert_eq!(
            bytes("received") + bytes("injected"),
            bytes("sent") + bytes("swallowed") + bytes("discarded"),
            "bytes of {listener}:\n{page}"
        );
    }
}
