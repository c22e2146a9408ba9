//! The admin side as a client on a raw socket meets it.

mod checks;
mod dyups;
mod events;
mod explain;
mod guard;
mod kit;
mod pages;
