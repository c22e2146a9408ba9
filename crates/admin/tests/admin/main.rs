//! The admin side as a client on a raw socket meets it.

mod dyups;
mod guard;
mod kit;
mod pages;
