//! The commands as they are typed, against a server of canned answers in the shape of the admin
//! API: what they ask, what they show, and how they end. Those against the real binary are in
//! `tests/blackbox/steering.rs`.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]
#![allow(unreachable_pub, reason = "the kit is written like a library")]

mod kit;

mod history; // generations, diff, restore
mod pools; // upstream list, show, set, delete
mod servers; // server add, set, remove, up, down, drain
mod watching; // drains that are waited for, events, tunnels, top
mod whole; // status, config, reload, explain; how failures are told
