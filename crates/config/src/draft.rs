//! What the files say together, and what is only wrong between two places of them: things defined
//! twice, names that do not exist, addresses that collide.

use std::{collections::HashSet, path::Path};

use tidegate_model::{Name, UpstreamSpec};

use crate::{
    Config,
    address::ListenAddress,
    admin::Admin,
    cover::Earlier,
    listener::{Kind, ListenerDraft, Mention},
    otlp::Otlp,
    place::{Place, Placed, Problem, Report, repeated},
    process::{AccessLog, Log, Metrics, Process},
    reader::Reader,
    route::{Files, RouteDraft},
    upstream::{self, DefaultsDraft, PoolDraft, TlsFiles},
};

/// The content of all files.
#[derive(Default)]
pub(crate) struct Draft {
    process: Option<Placed<Process>>,
    admin: Option<Placed<Admin>>,
    metrics: Option<Placed<Metrics>>,
    log: Option<Placed<Log>>,
    access_log: Option<Placed<Option<AccessLog>>>,
    otlp: Option<Placed<Option<Otlp>>>,
    upstream_defaults: Option<Placed<DefaultsDraft>>,
    listeners: Vec<ListenerDraft>,
    routes: Vec<RouteDraft>,
    upstreams: Vec<PoolDraft>,
    /// Where the admin and metrics listeners are.
    taken: Vec<Placed<ListenAddress>>,
}

impl Draft {
    /// Adds what one file says, save for its `include`.
    pub(crate) fn read(&mut self, reader: &mut Reader<'_>) {
        let report = reader.report;
        let taken = &mut self.taken;
        let metrics = reader.table("metrics", |reader| Metrics::read(reader, taken));
        let admin = reader.table("admin", |reader| Admin::read(reader, taken));
        once(report, &mut self.process, reader.table("process", Process::read));
        once(report, &mut self.admin, admin);
        once(report, &mut self.metrics, metrics);
        once(report, &mut self.log, reader.table("log", Log::read));
        once(report, &mut self.access_log, reader.table("access_log", AccessLog::read));
        once(report, &mut self.otlp, reader.table("otlp", Otlp::read));
        self.listeners.extend(reader.tables("listener", ListenerDraft::read));
        self.routes.extend(reader.tables("route", RouteDraft::read));
        let defaults = reader.table("upstream_defaults", upstream::defaults);
        once(report, &mut self.upstream_defaults, defaults);
        reader.named_tables("upstream", |name, reader| {
            self.upstreams.extend(PoolDraft::read(name, reader));
        });
    }

    /// The files of listeners' TLS, and where they are named.
    pub(crate) fn mentions(&self) -> Vec<Mention> {
        let of = |listener: &ListenerDraft| {
            let name = listener.name.as_ref().map_or("", |name| name.value.as_str());
            listener.files.iter().map(|file| Mention::new(name, file)).collect::<Vec<_>>()
        };
        self.listeners.iter().flat_map(of).collect()
    }

    /// Where `[otlp]` stands, to say something of it.
    pub(crate) fn otlp(&self) -> Option<Problem> {
        self.otlp.as_ref().map(|placed| placed.place.problem(String::new()))
    }

    /// From now on files of pools within `dir` are named by where they are in it.
    pub(crate) fn settle(&mut self, dir: &Path) {
        let defaults = self.upstream_defaults.iter_mut().map(|draft| &mut draft.value.spec);
        let pools = self.upstreams.iter_mut().map(|pool| &mut pool.spec);
        defaults.chain(pools).for_each(|spec| upstream::within(dir, spec));
    }

    /// The files that connections to servers need, by pool.
    pub(crate) fn tls_files(&self) -> Vec<TlsFiles> {
        let none = DefaultsDraft::default();
        let defaults = self.upstream_defaults.as_ref().map_or(&none, |draft| &draft.value);
        self.upstreams.iter().filter_map(|pool| pool.tls_files(defaults)).collect()
    }

    /// Checks what the sections mean together. `main` is where to complain about what is nowhere.
    pub(crate) fn check(mut self, report: &Report, main: impl Fn(&str) -> Place) -> Config {
        if self.admin.is_none() {
            let place = main("admin.listen");
            let defaults = Admin::default().listen.into_iter();
            self.taken.extend(defaults.map(|value| Placed { value, place: place.clone() }));
        }
        self.check_listeners(report, &main);
        self.check_routes(report, &main);
        self.load_pages(report);
        self.check_pools(report);
        self.check_upstreams(report);
        self.build()
    }

    fn check_listeners(&self, report: &Report, main: impl Fn(&str) -> Place) {
        if self.listeners.is_empty() {
            report.error(main("listener"), "at least one [[listener]] is needed");
        }
        let addresses = self.shared_addresses();
        // A listener without a name is called by its address: one complaint is enough.
        let names = self.listeners.iter().filter_map(|listener| listener.name.as_ref());
        let names = repeated(names).into_iter().filter(|(again, _)| {
            !addresses.iter().any(|(address, _)| address.place.is_at(&again.place))
        });
        names.for_each(|(again, first)| report.twice(again, first));
        addresses.iter().for_each(|(again, first)| report.twice(again, first));
    }

    /// The addresses that two sockets want. The ports of tcp are not those of udp.
    fn shared_addresses(&self) -> Vec<(&Placed<ListenAddress>, &Placed<ListenAddress>)> {
        let of = |kinds: &'static [Kind]| {
            let one = move |listener: &&ListenerDraft| {
                listener.kind.is_some_and(|kind| kinds.contains(&kind))
            };
            let listeners = self.listeners.iter().filter(one);
            listeners.filter_map(|listener| listener.address.as_ref())
        };
        let exclusive = |at: &&Placed<ListenAddress>| at.value.is_exclusive();
        let streams = of(&[Kind::Http, Kind::Tcp]).chain(&self.taken);
        let mut shared = repeated(streams.filter(exclusive));
        shared.extend(repeated(of(&[Kind::Udp]).filter(exclusive)));
        shared
    }

    fn check_routes(&self, report: &Report, main: impl Fn(&str) -> Place) {
        let http = self.listeners.iter().any(|listener| listener.kind == Some(Kind::Http));
        match self.routes.first() {
            None if http => {
                report.warn(main("route"), "there is no [[route]]: every request gets 404");
            }
            Some(route) if !http => {
                report.warn(route.place.clone(), "never matches: no listener speaks http");
            }
            _ => {}
        }
        let names = self.routes.iter().flat_map(|route| &route.listeners);
        names.for_each(|name| self.check_listener_name(name, report));
        self.warn_of_covered(report);
    }

    fn load_pages(&mut self, report: &Report) {
        let mut files = Files::default();
        self.routes.iter_mut().for_each(|route| route.load_pages(&mut files, report));
    }

    /// Checks that requests can come from the listener that a route names.
    fn check_listener_name(&self, name: &Placed<String>, report: &Report) {
        let named = |listener: &&ListenerDraft| {
            listener.name.as_ref().is_some_and(|known| known.value == name.value)
        };
        let quoted = name.value.escape_debug();
        match self.listeners.iter().find(named).map(|listener| listener.kind) {
            None => report.error(name.place.clone(), format!("there is no listener \"{quoted}\"")),
            Some(Some(kind @ (Kind::Tcp | Kind::Udp))) => {
                let message =
                    format!("listener \"{quoted}\" speaks {}: routes are for http", kind.word());
                report.error(name.place.clone(), message);
            }
            Some(Some(Kind::Http) | None) => {}
        }
    }

    /// Warns of pools that are named and not there: they may come through the API.
    fn check_pools(&self, report: &Report) {
        let known: HashSet<&Name> = self.upstreams.iter().map(|pool| &pool.name.value).collect();
        let warn = |pool: &Placed<Name>, until: &str| {
            if !known.contains(&pool.value) {
                let message =
                    format!("no pool \"{}\" here: {until} until the API makes it", pool.value);
                report.warn(pool.place.clone(), message);
            }
        };
        self.routes.iter().flat_map(|route| &route.pools).for_each(|pool| warn(pool, "502"));
        let of_listeners = self.listeners.iter().flat_map(|listener| &listener.pools);
        of_listeners.for_each(|pool| warn(pool, "nothing is passed on"));
    }

    fn warn_of_covered(&self, report: &Report) {
        let mut earlier = Earlier::default();
        let mut places = Vec::new();
        for (route, place) in self.routes.iter().filter_map(|d| Some((d.route.as_ref()?, &d.place)))
        {
            if let Some(at) = earlier.covering(route) {
                let first: &Place = places[at];
                let message = format!("never matches: the route at {first} takes all of it");
                report.warn(place.clone(), message);
            }
            earlier.push(route);
            places.push(place);
        }
    }

    fn check_upstreams(&self, report: &Report) {
        for (again, first) in repeated(self.upstreams.iter().map(|pool| &pool.name)) {
            report.twice(again, first);
        }
        let none = UpstreamSpec::default();
        let defaults = self.upstream_defaults.as_ref().map_or(&none, |draft| &draft.value.spec);
        self.upstreams.iter().for_each(|pool| pool.check(defaults, report));
        let wants_tls = |name: &Name| {
            let named = |pool: &&PoolDraft| pool.name.value == *name;
            self.upstreams
                .iter()
                .find(named)
                .is_some_and(|pool| pool.spec.resolve(defaults).tls.is_some())
        };
        let datagrams = self.listeners.iter().filter(|one| one.kind == Some(Kind::Udp));
        for pool in
            datagrams.flat_map(|listener| &listener.pools).filter(|pool| wants_tls(&pool.value))
        {
            report.error(pool.place.clone(), "this pool wants TLS, which datagrams cannot have");
        }
    }

    fn build(self) -> Config {
        Config {
            process: value_or_default(self.process),
            admin: value_or_default(self.admin),
            metrics: value_or_default(self.metrics),
            log: value_or_default(self.log),
            access_log: self.access_log.and_then(|placed| placed.value),
            otlp: self.otlp.and_then(|placed| placed.value),
            listeners: self.listeners.into_iter().filter_map(|draft| draft.listener).collect(),
            routes: self.routes.into_iter().filter_map(|draft| draft.route).collect(),
            upstream_defaults: value_or_default(self.upstream_defaults).spec,
            upstreams: self
                .upstreams
                .into_iter()
                .map(|pool| (pool.name.value, pool.spec))
                .collect(),
            files: Vec::new(),
        }
    }
}

fn value_or_default<T: Default>(placed: Option<Placed<T>>) -> T {
    placed.map(|placed| placed.value).unwrap_or_default()
}

/// Fills a slot that only one file may fill.
fn once<T>(report: &Report, slot: &mut Option<Placed<T>>, new: Option<Placed<T>>) {
    match (&slot, new) {
        (_, None) => {}
        (None, new) => *slot = new,
        (Some(first), Some(again)) => report.twice(&again, first),
    }
}
