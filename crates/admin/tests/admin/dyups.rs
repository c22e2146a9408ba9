//! dyups' interface, asked as its own test harness asks: HTTP/1.0, bare line feeds, one more of
//! them after the body. Cases are numbered as in the specification that they come from.

use crate::kit::{Site, body, code, header};

const TWO: &[(&str, &str)] =
    &[("host1", "server 127.0.0.1:8088;"), ("host2", "server 127.0.0.1:8089;")];

fn block(name: &str, ports: &[u16]) -> String {
    let line = |port: &u16| {
        format!(
            "server 127.0.0.1:{port} weight=1 max_conns=0 max_fails=1 fail_timeout=10 backup=0 \
             down=0\n"
        )
    };
    format!("{name}\n{}\n", ports.iter().map(line).collect::<String>())
}

#[tokio::test]
async fn c1_to_c28_pools_are_listed_replaced_and_deleted() {
    let site = Site::with(TWO);
    let hosts = block("host1", &[8088]) + &block("host2", &[8089]);
    assert_eq!(body(&site.get("/list").await), "host1\nhost2\n");
    assert_eq!(body(&site.get("/detail").await), hosts);
    assert_eq!(body(&site.get("/upstream/host1").await), "server 127.0.0.1:8088\n");
    let made = site.post("/upstream/dyhost", "server 127.0.0.1:8088;").await;
    assert_eq!((code(&made), body(&made)), ("200", "success"));
    assert_eq!(body(&site.get("/list").await), "host1\nhost2\ndyhost\n");
    assert_eq!(body(&site.get("/detail").await), hosts.clone() + &block("dyhost", &[8088]));
    let both = "server 127.0.0.1:8088;server 127.0.0.1:8089;";
    assert_eq!(body(&site.post("/upstream/dyhost", both).await), "success");
    assert_eq!(body(&site.get("/detail").await), hosts.clone() + &block("dyhost", &[8088, 8089]));
    assert_eq!(body(&site.delete("/upstream/dyhost").await), "success");
    assert_eq!(body(&site.get("/list").await), "host1\nhost2\n");
    assert_eq!(body(&site.get("/detail").await), hosts);
    let again = site.delete("/upstream/dyhost").await;
    assert_eq!((code(&again), body(&again)), ("404", "not found uptream"));
    assert_eq!(body(&site.delete("/upstream/host1").await), "success");
    assert_eq!(body(&site.get("/detail").await), block("host2", &[8089]));
    site.post("/upstream/dyhost", "server 127.0.0.1:8088;").await;
    let expected = block("host2", &[8089]) + &block("dyhost", &[8088]);
    assert_eq!(body(&site.get("/detail").await), expected);
    for accepted in [
        "server 127.0.0.1:8088 weight=3; server 127.0.0.1:8089 weight=1;",
        "server 127.0.0.1:8088; server 127.0.0.1:18089 backup;",
        "ip_hash;server 127.0.0.1:8088; server 127.0.0.1:8089;",
        "server unix:/run/dyups.sock;",
    ] {
        assert_eq!(body(&site.post("/upstream/dyhost", accepted).await), "success", "{accepted}");
    }
    site.stop().await;
}

#[tokio::test]
async fn c40_c41_x8_to_x13_a_refused_body_changes_nothing_and_says_why() {
    let site = Site::with(&[("a", "server 127.0.0.1:8088;")]);
    for refused in [
        "ip_hash aaa;server 127.0.0.1:8088; server 127.0.0.1:8089;",
        "ip_hash;aaserver 127.0.0.1:8088; server 127.0.0.1:8089;",
        "server 127.0.0.1:9",
        "server 127.0.0.1:9;;",
        " # only a comment",
        "server 127.0.0.1:9 weight=0;",
        "server 127.0.0.1:9 max_fails=-1;",
        "server 127.0.0.1:9 fail_timeout=5ms;",
        "server 127.0.0.1:9 bogus=1;",
        "ip_hash; server 127.0.0.1:9; server 127.0.0.1:8089 backup;",
        "server 127.0.0.1:9 backup;",
        "server no-such-host.invalid;",
        "include /etc/passwd;",
    ] {
        let answer = site.post("/upstream/a", refused).await;
        assert_eq!((code(&answer), body(&answer)), ("500", "add server failed"), "{refused}");
        assert!(header(&answer, "X-Tidegate-Reason").is_some_and(|reason| !reason.is_empty()));
    }
    assert_eq!(body(&site.get("/upstream/a").await), "server 127.0.0.1:8088\n");
    let answer = site.post("/upstream/a", "\nserver é.example\u{1};").await;
    let reason = header(&answer, "x-tidegate-reason").expect("a reason");
    assert!(reason.starts_with("line 2: ") && reason.is_ascii(), "{reason}");
    assert_eq!(code(&site.post("/upstream/%ff", "server 127.0.0.1:9;").await), "500");
    site.stop().await;
}

#[tokio::test]
async fn x1_to_x7_the_same_mistake_has_other_codes_under_other_methods() {
    let site = Site::with(&[]);
    let server = "server 127.0.0.1:1;";
    for (answer, expected) in [
        (site.post("/upstream/a", "").await, ("204", "")),
        (site.post("/nope", "").await, ("204", "")),
        (site.post("/upstream", server).await, ("404", "not support this interface")),
        (site.post("/upstream/a/b", server).await, ("404", "not support this interface")),
        (site.post("/foo/bar", server).await, ("404", "not support this api")),
        (site.delete("/upstream").await, ("405", "not support this interface")),
        (site.delete("/foo/bar").await, ("405", "not support this api")),
        (site.delete("/upstream/%ff").await, ("404", "not found uptream")),
        (site.get("/upstream/none").await, ("404", "")),
        (site.get("/upstream").await, ("404", "")),
        (site.get("/upstream/a/b").await, ("404", "")),
        (site.get("/foo").await, ("404", "")),
        (site.get("/list").await, ("204", "")),
        (site.get("/detail").await, ("204", "")),
    ] {
        assert_eq!((code(&answer), body(&answer)), expected, "{answer}");
        let length = (expected.0 != "204").then(|| expected.1.len().to_string());
        assert_eq!(header(&answer, "Content-Length"), length.as_deref(), "{answer}");
        assert_eq!(header(&answer, "Content-Type"), None, "{answer}");
    }
    for request in [
        "PUT /upstream/a HTTP/1.0\nHost: localhost\nContent-Length: 3\n\nabc\n",
        "HEAD /list HTTP/1.0\nHost: localhost\n\n",
        "PATCH /list HTTP/1.0\nHost: localhost\n\n",
        "OPTIONS * HTTP/1.0\nHost: localhost\n\n",
    ] {
        let answer = site.send(request.as_bytes()).await;
        assert_eq!((code(&answer), body(&answer)), ("405", ""), "{request}");
        assert_eq!(header(&answer, "Content-Length"), Some("0"), "{request}");
    }
    site.stop().await;
}

#[tokio::test]
async fn the_root_and_broken_paths_are_answered_as_nginx_itself_does() {
    let site = Site::with(TWO);
    let answer = site.get("/").await;
    assert_eq!(code(&answer), "404");
    assert!(body(&answer).contains("<center><h1>404 Not Found</h1></center>"), "{answer}");
    assert_eq!(header(&answer, "Content-Type"), Some("text/html"));
    assert_eq!(code(&site.get("/%zz").await), "400");
    assert_eq!(code(&site.get("/../list").await), "400");
    site.stop().await;
}

#[tokio::test]
async fn x14_to_x16_and_x19_names_and_paths_have_no_case() {
    let site = Site::with(&[]);
    assert_eq!(body(&site.post("/upstream/Dy", "server 127.0.0.1:8088;").await), "success");
    assert_eq!(body(&site.get("/upstream/dY").await), "server 127.0.0.1:8088\n");
    assert_eq!(body(&site.get("/UPSTREAM/%64y/").await), "server 127.0.0.1:8088\n");
    for path in ["/list/", "/LIST", "/list/xyz", "//list?x=1", "/a/../list"] {
        assert_eq!(body(&site.get(path).await), "Dy\n", "{path}");
    }
    let odd = "server \"127.0.0.1:8088\"  weight=2 ;\n#c\n";
    assert_eq!(body(&site.post("/upstream/dy", odd).await), "success");
    assert_eq!(body(&site.get("/list").await), "dy\n", "the last spelling counts");
    site.stop().await;
}

#[tokio::test]
async fn a_named_server_is_shown_by_its_first_address() {
    let site = Site::with(&[]);
    assert_eq!(body(&site.post("/upstream/a", "server localhost:8088;").await), "success");
    let answer = site.get("/upstream/a").await;
    assert!(
        ["server 127.0.0.1:8088\n", "server [::1]:8088\n"].contains(&body(&answer)),
        "{answer}"
    );
    site.stop().await;
}

#[tokio::test]
async fn large_bodies_arrive_whole_and_too_large_ones_are_told_so() {
    let site = Site::with(&[]);
    let large = format!("#{}\nserver 127.0.0.1:8088;", "x".repeat(1_000_000));
    assert_eq!(body(&site.post("/upstream/a", &large).await), "success");
    let too_large = "x".repeat((1 << 20) + 1);
    let answer = site.post("/upstream/a", &too_large).await;
    assert_eq!(code(&answer), "413");
    assert!(body(&answer).contains("413 Request Entity Too Large"));
    let chunks = format!("{:x}\r\n{too_large}\r\n0\r\n\r\n", too_large.len());
    let head = "POST /upstream/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}");
    assert_eq!(code(&site.send(chunked.as_bytes()).await), "413");
    site.stop().await;
}

#[tokio::test]
async fn a_kept_connection_answers_one_request_after_another() {
    let site = Site::with(&[]);
    let post = "POST /upstream/a HTTP/1.1\nHost: localhost\nContent-Length: 15\n\nserver 1.1.1.1;";
    let get = "\nGET /list HTTP/1.1\nHost: localhost\nConnection: close\n\n";
    let answers = site.send(format!("{post}{get}").as_bytes()).await;
    assert!(answers.contains("\r\n\r\nsuccessHTTP/1.1 200 OK\r\n"), "{answers}");
    assert!(answers.ends_with("\r\n\r\na\n"), "{answers}");
    site.stop().await;
}
