//! The checks of a real table: they follow its servers through every change, and what they find is
//! what its servers are thought of.

mod kit;

use kit::{Origin, Stage, check, delete, pool, server};
use tidegate_model::{
    Span,
    upstream::{CheckKind, CheckSpec, CheckStart, Protocol},
};
use tidegate_table::{Ailment, Operation, ServerState};

const HOUR: Option<Span> = Some(Span::from_secs(3_600));

fn ailment(state: &ServerState) -> Option<Ailment> {
    state.health.ailment(1)
}

fn passed(state: &ServerState) -> u64 {
    state.health.checked().map_or(0, |checked| checked.passed)
}

fn failed(state: &ServerState) -> u64 {
    state.health.checked().map_or(0, |checked| checked.failed)
}

#[tokio::test]
async fn fall_takes_a_server_out_and_rise_brings_it_back() {
    let origin = Origin::start().await;
    let stage = Stage::open([pool("a", [server(&origin)], check())]);
    let state = stage.state("a", 0);
    stage.until(|| passed(&state) > 0).await;
    assert_eq!(ailment(&state), None);
    origin.answer(501);
    stage.until(|| ailment(&state) == Some(Ailment::Unhealthy)).await;
    let checked = state.health.checked().expect("a check");
    assert!(checked.falls >= 3, "{checked:?}");
    assert!(checked.last.is_some_and(|last| last.detail == "status 501 is not expected"));
    origin.answer(200);
    stage.until(|| ailment(&state).is_none()).await;
    assert!(state.health.checked().is_some_and(|checked| checked.rises >= 2));
}

#[tokio::test]
async fn a_pool_is_asked_in_what_it_speaks() {
    let origin = Origin::start().await;
    let stage = Stage::open([pool("a", [server(&origin)], check())]);
    let state = stage.state("a", 0);
    stage.until(|| passed(&state) > 0).await;
    let mut other = pool("a", [server(&origin)], check());
    if let Operation::Put { spec, .. } = &mut other {
        spec.protocol = Some(Protocol::Http2);
    }
    stage.change(other).await;
    // The origin only knows HTTP/1.
    stage.until(|| ailment(&state) == Some(Ailment::Unhealthy)).await;
}

#[tokio::test]
async fn who_starts_down_is_checking_until_rise() {
    let origin = Origin::start().await;
    // Neither passes nor fails.
    origin.answer(0);
    let start = CheckSpec { start: Some(CheckStart::Down), timeout: HOUR, ..check() };
    let stage = Stage::open([pool("a", [server(&origin)], start)]);
    let state = stage.state("a", 0);
    stage.until(|| origin.connections() > 0).await;
    assert_eq!(ailment(&state), Some(Ailment::Checking));
    let start = CheckSpec { start: Some(CheckStart::Down), path: Some("/p".into()), ..check() };
    origin.answer(200);
    stage.change(pool("a", [server(&origin)], start)).await;
    stage.until(|| ailment(&state).is_none()).await;
    assert!(passed(&state) >= 2);
}

#[tokio::test]
async fn two_pools_with_the_same_address_check_independently() {
    let origin = Origin::start().await;
    let path = |path: &str| CheckSpec { path: Some(path.into()), ..check() };
    let stage = Stage::open([
        pool("good", [server(&origin)], path("/good")),
        pool("bad", [server(&origin)], path("/404")),
    ]);
    let (good, bad) = (stage.state("good", 0), stage.state("bad", 0));
    stage.until(|| ailment(&bad) == Some(Ailment::Unhealthy) && passed(&good) >= 3).await;
    assert_eq!((ailment(&good), failed(&good), passed(&bad)), (None, 0, 0));
}

#[tokio::test]
async fn a_check_stops_with_its_server_its_pool_and_itself() {
    let [fence, removed, deleted, unchecked, down] = Origin::several().await;
    let stage = Stage::open([
        pool("a", [server(&fence), server(&removed)], check()),
        pool("b", [server(&deleted)], check()),
        pool("c", [server(&unchecked)], check()),
        pool("d", [server(&down)], check()),
    ]);
    let probed = [&removed, &deleted, &unchecked, &down];
    stage.until(|| probed.iter().all(|origin| origin.connections() > 0)).await;
    stage.change(pool("a", [server(&fence)], check())).await;
    stage.change(delete("b")).await;
    let off = CheckSpec { kind: Some(CheckKind::Off), ..CheckSpec::default() };
    stage.change(pool("c", [server(&unchecked)], off)).await;
    let mut spec = server(&down);
    spec.down = true;
    stage.change(pool("d", [spec], check())).await;
    stage.more(&fence, 3).await;
    let before = probed.map(Origin::connections);
    stage.more(&fence, 10).await;
    assert_eq!(probed.map(Origin::connections), before);
}

#[tokio::test]
async fn a_running_probe_ends_with_its_server() {
    let origin = Origin::start().await;
    origin.answer(0);
    let patient = CheckSpec { timeout: HOUR, ..check() };
    let stage = Stage::open([pool("a", [server(&origin)], patient)]);
    stage.until(|| origin.open() > 0).await;
    stage.change(delete("a")).await;
    stage.until(|| origin.open() == 0).await;
}

#[tokio::test]
async fn weightless_servers_and_backups_are_checked() {
    let [weightless, backup] = Origin::several().await;
    let (mut one, mut two) = (server(&weightless), server(&backup));
    one.weight = 0;
    two.backup = true;
    let stage = Stage::open([pool("a", [one, two], check())]);
    stage.until(|| weightless.connections() > 0 && backup.connections() > 0).await;
}

#[tokio::test]
async fn a_changed_check_is_followed_at_once() {
    let [origin, other] = Origin::several().await;
    let stage = Stage::open([]);
    let rare = CheckSpec { interval: HOUR, fast_interval: HOUR, ..check() };
    stage.change(pool("a", [server(&origin)], rare.clone())).await;
    stage.until(|| origin.connections() == 1).await;
    let state = stage.state("a", 0);
    stage.until(|| passed(&state) == 1).await;

    let port = CheckSpec { port: Some(other.port()), ..rare.clone() };
    stage.change(pool("a", [server(&origin)], port)).await;
    stage.until(|| other.connections() == 1).await;
    let path = CheckSpec { path: Some("/404".into()), ..rare.clone() };
    stage.change(pool("a", [server(&origin)], path)).await;
    stage.until(|| failed(&state) == 1).await;
    let often = CheckSpec { path: Some("/404".into()), ..check() };
    stage.change(pool("a", [server(&origin)], often)).await;
    stage.until(|| ailment(&state) == Some(Ailment::Unhealthy)).await;
    assert_eq!(other.connections(), 1);
}

#[tokio::test]
async fn a_suspicion_brings_one_probe_and_one_that_fails_is_enough() {
    let origin = Origin::start().await;
    let stage = Stage::open([]);
    let rare = CheckSpec { interval: HOUR, fast_interval: HOUR, ..check() };
    stage.change(pool("a", [server(&origin)], rare)).await;
    let state = stage.state("a", 0);
    stage.until(|| passed(&state) > 0).await;
    origin.answer(501);
    let before = passed(&state);
    (0..100).for_each(|_| stage.suspects.report(&state));
    stage.until(|| ailment(&state) == Some(Ailment::Unhealthy)).await;
    assert_eq!((failed(&state), passed(&state)), (1, before));
}

#[tokio::test]
async fn a_probe_that_passes_ends_a_fail_timeout() {
    let origin = Origin::start().await;
    let stage = Stage::open([]);
    let rare = CheckSpec { interval: HOUR, fast_interval: HOUR, ..check() };
    stage.change(pool("a", [server(&origin)], rare)).await;
    let state = stage.state("a", 0);
    stage.until(|| passed(&state) == 1).await;
    let spec = server(&origin);
    assert!(state.failed(&spec, 1_000) && state.is_failed(&spec, 1_001));
    stage.suspects.report(&state);
    stage.until(|| state.fails() == 0).await;
    assert!(!state.is_failed(&spec, 1_001));
    assert_eq!(ailment(&state), None);
}

#[tokio::test]
async fn a_few_places_are_enough_for_many_servers() {
    let origin = Origin::start().await;
    let pools: Vec<_> =
        (0..50).map(|at| pool(&format!("p{at}"), [server(&origin)], check())).collect();
    let stage = Stage::open_with(1, pools);
    let states: Vec<_> = (0..50).map(|at| stage.state(&format!("p{at}"), 0)).collect();
    stage.until(|| states.iter().all(|state| passed(state) >= 2)).await;
    assert_eq!(origin.most_open(), 1);
}

#[tokio::test]
async fn nothing_is_probed_once_the_checks_have_finished() {
    let origin = Origin::start().await;
    let stage = Stage::open([pool("a", [server(&origin)], check())]);
    stage.until(|| origin.connections() > 0).await;
    stage.finish().await;
    let fence = Origin::start().await;
    let other = Stage::open([pool("b", [server(&fence)], check())]);
    // What was accepted but not counted yet is counted by then.
    other.more(&fence, 2).await;
    let before = origin.connections();
    other.more(&fence, 5).await;
    assert_eq!(origin.connections(), before);
}
