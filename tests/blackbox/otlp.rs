//! Spans of requests, as a collector gets them, and what servers are told of their trace. Only in a
//! build with the feature `otlp`.

use serde_json::Value;

use crate::kit::{Edge, Origin, eventually};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn edge(collector: &Origin, sample: &str) -> Edge {
    let endpoint = format!("http://{}/v1/traces", collector.address());
    Edge::new().toml(&format!("[otlp]\nendpoint = {endpoint:?}\nsample = {sample}"))
}

fn request(parent: &str) -> String {
    format!("GET /a?b HTTP/1.1\r\nHost: app\r\ntraceparent: {parent}\r\ntracestate: a=b\r\n\r\n")
}

/// The first batch of spans.
fn spans(collector: &Origin) -> Vec<Value> {
    collector.wait_for_requests(1);
    let body: Value = serde_json::from_str(&collector.last_request().text()).unwrap();
    body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
}

#[test]
fn a_request_is_a_span_between_its_caller_and_its_server() {
    let (collector, dead, up) =
        (Origin::answering(200, "{}"), Origin::refusing(), Origin::named("up"));
    let edge = edge(&collector, "1").logging().pool("app", &[&dead, &up]).start();
    edge.client().ask(request(&format!("00-{TRACE}-{CALLER}-00")));
    let told = up.last_request();
    assert_eq!(told.field("tracestate"), Some("a=b"));
    let spans = spans(&collector);
    assert_eq!(spans.len(), 3, "{spans:#?}");
    assert!(spans.iter().all(|span| span["traceId"] == TRACE), "{spans:#?}");
    assert_eq!(spans[0]["parentSpanId"], CALLER);
    assert!(spans[1..].iter().all(|span| span["parentSpanId"] == spans[0]["spanId"]), "{spans:#?}");
    let answering = spans[2]["spanId"].as_str().unwrap();
    assert_eq!(told.field("traceparent"), Some(&*format!("00-{TRACE}-{answering}-01")));
    assert_eq!(edge.records(1)[0]["trace_id"], TRACE);
    eventually("they are counted", || edge.metric("tidegate_otlp_exported_total") == Some(3.0));
    assert_eq!(edge.metric("tidegate_otlp_dropped_total"), Some(0.0));
}

#[test]
fn without_a_caller_a_trace_begins() {
    let (collector, up) = (Origin::answering(200, "{}"), Origin::named("up"));
    let edge = edge(&collector, "1").pool("app", &[&up]).start();
    edge.client().ask(request("00-nonsense"));
    let told = up.last_request();
    assert_eq!(told.field("tracestate"), None, "it was another trace's");
    let spans = spans(&collector);
    assert_eq!(spans[0].get("parentSpanId"), None);
    let parent = told.field("traceparent").unwrap();
    assert!(parent.contains(spans[0]["traceId"].as_str().unwrap()), "{parent}");
}

#[test]
fn only_trusted_proxies_have_a_request_recorded() {
    for (trusted, flag) in [("", "00"), ("trusted_proxies = [\"127.0.0.1/32\"]", "01")] {
        let (collector, up) = (Origin::answering(200, "{}"), Origin::named("up"));
        let edge = edge(&collector, "0").listener(trusted).pool("app", &[&up]).start();
        edge.client().ask(request(&format!("00-{TRACE}-{CALLER}-01")));
        let parent = up.last_request().field("traceparent").unwrap().to_owned();
        assert!(parent.starts_with(&format!("00-{TRACE}-")), "{parent}");
        assert!(parent.ends_with(flag) && !parent.contains(CALLER), "{parent}");
    }
}

#[test]
fn a_stop_exports_what_is_left() {
    let (collector, up) = (Origin::answering(200, "{}"), Origin::named("up"));
    let edge = edge(&collector, "1").pool("app", &[&up]).start();
    edge.get("app", "/");
    edge.signal(rustix::process::Signal::TERM);
    assert_eq!(spans(&collector).len(), 2);
}
