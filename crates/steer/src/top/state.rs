//! What `top` knows and what is being looked at.

use std::cmp::Ordering;

use super::{
    rates::Rates,
    sample::{Heard, Sample},
};
use crate::answers::{Drain, Live, Pool, Server};

/// What fills the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Drains,
    Pools,
    Servers,
}

/// What the rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Active,
    Fails,
    Name,
    Requests,
    Tunnels,
}

/// Longer filters match nothing anyway.
const LONGEST_FILTER: usize = 64;

/// Everything that is shown follows from this.
pub(super) struct State {
    /// Where the proxy is.
    pub(super) place: String,
    pub(super) colour: bool,
    pub(super) sample: Option<Sample>,
    /// Why the last look failed, if it did.
    pub(super) trouble: Option<String>,
    pub(super) pool_rates: Rates,
    pub(super) server_rates: Rates,
    pub(super) page: Page,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    /// Whether keys go into the filter.
    pub(super) is_typing: bool,
    /// Places of pools in the sample, in the order in which they are shown.
    pub(super) order: Vec<usize>,
    /// The pool under the cursor, by name, so that it stays so when the order changes.
    selected: Option<String>,
    /// Rows that the pages of servers and of drains begin at.
    pub(super) scrolled: usize,
    /// The pool whose servers were heard of last.
    server_rates_of: Option<String>,
    is_over: bool,
}

impl State {
    pub(super) fn new(place: String, colour: bool) -> Self {
        Self {
            place,
            colour,
            sample: None,
            trouble: None,
            pool_rates: Rates::default(),
            server_rates: Rates::default(),
            page: Page::Pools,
            sort: Sort::Name,
            is_reversed: false,
            filter: String::new(),
            is_typing: false,
            order: Vec::new(),
            selected: None,
            scrolled: 0,
            server_rates_of: None,
            is_over: false,
        }
    }

    pub(super) fn hear(&mut self, heard: Heard) {
        let sample = match heard {
            Ok(sample) => sample,
            Err(why) => {
                self.trouble = Some(why);
                return;
            }
        };
        self.trouble = None;
        let pool = |pool: &Pool| (pool.requests_total, pool.fails_total.unwrap_or_default());
        let pools = sample.pools.upstreams.iter().map(|one| (one.name.as_str(), pool(one)));
        self.pool_rates.hear(sample.at, pools);
        if let Some(detail) = &sample.detail {
            if self.server_rates_of.as_ref() != Some(&detail.name) {
                self.server_rates.forget();
                self.server_rates_of = Some(detail.name.clone());
            }
            let server = |live: &Live| (live.requests_total, live.fails_total);
            let servers = detail.servers.iter();
            let servers = servers.map(|one| (one.address.as_str(), server(&one.live)));
            self.server_rates.hear(sample.at, servers);
        }
        self.sample = Some(sample);
        self.arrange();
    }

    /// Puts the pools in order, and the cursor where its pool is.
    pub(super) fn arrange(&mut self) {
        let pools = self.sample.as_ref().map_or(&[][..], |sample| &sample.pools.upstreams);
        let filter = self.filter.to_ascii_lowercase();
        let fits = |pool: &Pool| pool.name.to_ascii_lowercase().contains(&filter);
        let mut order: Vec<usize> =
            (0..pools.len()).filter(|place| filter.is_empty() || fits(&pools[*place])).collect();
        let weigh = |pool: &Pool| self.weight(pool);
        order.sort_by(|one, other| {
            let (one, other) = (&pools[*one], &pools[*other]);
            let heavier = match self.sort {
                Sort::Name => Ordering::Equal,
                _ => weigh(other).total_cmp(&weigh(one)),
            };
            let ordering = heavier.then_with(|| one.name.cmp(&other.name));
            if self.is_reversed { ordering.reverse() } else { ordering }
        });
        let is_there =
            order.iter().any(|place| Some(&pools[*place].name) == self.selected.as_ref());
        if !is_there {
            self.selected = order.first().map(|place| pools[*place].name.clone());
        }
        self.order = order;
    }

    fn weight(&self, pool: &Pool) -> f64 {
        match self.sort {
            Sort::Active => pool.requests_active as f64,
            Sort::Fails => self.pool_rates.of(&pool.name).fails.unwrap_or_default(),
            Sort::Name => 0.0,
            Sort::Requests => self.pool_rates.of(&pool.name).requests.unwrap_or_default(),
            Sort::Tunnels => pool.tunnels_active as f64,
        }
    }

    /// The pool whose servers are wanted.
    pub(super) fn watched(&self) -> Option<&str> {
        self.selected.as_deref()
    }

    /// Where the cursor is among the rows.
    pub(super) fn cursor(&self) -> usize {
        let pools = self.pools();
        let is_it = |place: &usize| Some(pools[*place].name.as_str()) == self.watched();
        self.order.iter().position(is_it).unwrap_or_default()
    }

    /// Moves the cursor, or what is on a page without one.
    pub(super) fn step(&mut self, rows: isize) {
        match self.page {
            Page::Pools => {
                let last = self.order.len().saturating_sub(1);
                let row = self.cursor().saturating_add_signed(rows).min(last);
                let name = self.order.get(row).map(|place| self.pools()[*place].name.clone());
                self.selected = name.or_else(|| self.selected.take());
            }
            Page::Drains | Page::Servers => {
                let last = match self.page {
                    Page::Drains => self.drains().len(),
                    _ => self.servers().len(),
                };
                let row = self.scrolled.saturating_add_signed(rows);
                self.scrolled = row.min(last.saturating_sub(1));
            }
        }
    }

    pub(super) fn turn_to(&mut self, page: Page) {
        (self.page, self.scrolled) = (page, 0);
    }

    pub(super) fn next_sort(&mut self) {
        self.sort = match self.sort {
            Sort::Name => Sort::Requests,
            Sort::Requests => Sort::Active,
            Sort::Active => Sort::Tunnels,
            Sort::Tunnels => Sort::Fails,
            Sort::Fails => Sort::Name,
        };
        self.arrange();
    }

    pub(super) fn reverse(&mut self) {
        self.is_reversed = !self.is_reversed;
        self.arrange();
    }

    pub(super) fn type_filter(&mut self, char: char) {
        if self.filter.len() < LONGEST_FILTER && !char.is_control() {
            self.filter.push(char);
        }
        self.arrange();
    }

    pub(super) fn erase_filter(&mut self, all: bool) {
        if all {
            self.filter.clear();
        } else {
            self.filter.pop();
        }
        self.arrange();
    }

    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn pools(&self) -> &[Pool] {
        self.sample.as_ref().map_or(&[], |sample| &sample.pools.upstreams)
    }

    pub(super) fn drains(&self) -> &[Drain] {
        self.sample.as_ref().map_or(&[], |sample| &sample.drains)
    }

    /// Of the pool under the cursor, once they were asked for; the busiest first, if that is asked
    /// for.
    pub(super) fn servers(&self) -> Vec<&Server> {
        let detail = self.sample.as_ref().and_then(|sample| sample.detail.as_ref());
        let detail = detail.filter(|detail| Some(detail.name.as_str()) == self.watched());
        let mut servers: Vec<&Server> =
            detail.map_or(Vec::new(), |pool| pool.servers.iter().collect());
        let weight = |server: &Server| match self.sort {
            Sort::Active => server.live.requests_active as f64,
            Sort::Fails => server.live.fails_total as f64,
            Sort::Name => 0.0,
            Sort::Requests => self.server_rates.of(&server.address).requests.unwrap_or_default(),
            Sort::Tunnels => server.live.tunnels_active as f64,
        };
        servers.sort_by(|one, other| weight(other).total_cmp(&weight(one)));
        if self.is_reversed {
            servers.reverse();
        }
        servers
    }
}

impl Sort {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Fails => "errors",
            Self::Name => "name",
            Self::Requests => "requests",
            Self::Tunnels => "tunnels",
        }
    }
}
