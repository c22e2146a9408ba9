//! Which listeners run, and how a reload arranges them anew: planned by what is there, with every
//! new socket bound before anything is changed, and then told to the workers. A listener is known by
//! its name; its sockets are kept wherever somebody of the new file listens at their address.

use std::sync::Arc;

use tidegate_admin::ListenerChanges;
use tidegate_config::{Listener, Protocol};
use tidegate_net::{Bound, ListenError, Options as SocketOptions, bind, bind_datagrams};
use tidegate_worker::{ListenerLive, Settings};

use crate::{
    certificates::{ByListener, Renewal, Secured},
    doors::{Opening, Served},
    facts::{Listening, Registry},
    file,
    workers::{Order, Orders},
};

/// The listeners that run.
pub(crate) struct Listeners {
    registry: Arc<Registry>,
    workers: usize,
    running: Vec<Running>,
    /// The number given last, to a door or a stay.
    last: u32,
}

#[derive(Clone)]
struct Running {
    listener: Listener,
    door: u32,
    stay: u32,
    /// Where it was bound.
    address: tidegate_net::ListenAddress,
    live: Arc<ListenerLive>,
    secured: Option<Arc<Secured>>,
}

/// Where a listener of the new file gets its sockets from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// It is what it was: nothing is done.
    Same(usize),
    /// Its own; only settings are new.
    Own(usize),
    /// Those of another one, or of itself when it spoke something else.
    Other(usize),
    Bound,
}

/// What is to be done, with everything bound that it needs.
pub(crate) struct Arrangement {
    steps: Vec<Step>,
    running: Vec<Running>,
    last: u32,
    pub(crate) changes: ListenerChanges,
}

enum Step {
    Alter(u32, Served),
    Close(u32),
    Open { door: u32, served: Served, bound: Bound },
}

/// A listener that cannot be had.
pub(crate) struct Unbound {
    pub(crate) listener: String,
    pub(crate) error: ListenError,
}

impl Listeners {
    pub(crate) fn new(registry: &Arc<Registry>, workers: usize) -> Self {
        Self { registry: Arc::clone(registry), workers, running: Vec::new(), last: 0 }
    }

    /// Plans how to get to these, which do TLS with those, and binds what is new.
    ///
    /// # Errors
    /// When an address cannot be had. Nothing has changed then.
    pub(crate) fn arrange(
        &self,
        wanted: &[Listener],
        secured: &ByListener,
    ) -> Result<Arrangement, Unbound> {
        let froms = plan(&self.running, wanted, secured);
        let mut arrangement = Arrangement {
            steps: Vec::new(),
            running: Vec::new(),
            last: self.last,
            changes: changes(&self.running, wanted, secured),
        };
        let stays = |at: &usize| froms.iter().any(|from| from.of() == Some(*at));
        let leaving = (0..self.running.len()).filter(|at| !stays(at)).map(|at| &self.running[at]);
        let leaving: Vec<&Running> = leaving.collect();
        for (listener, from) in wanted.iter().zip(froms) {
            let secured = secured.get(&listener.name);
            self.add(&mut arrangement, (listener, secured), from, &leaving)?;
        }
        arrangement.steps.extend(leaving.iter().map(|running| Step::Close(running.door)));
        Ok(arrangement)
    }

    fn add(
        &self,
        arrangement: &mut Arrangement,
        (listener, secured): (&Listener, Option<&Arc<Secured>>),
        from: From,
        leaving: &[&Running],
    ) -> Result<(), Unbound> {
        let live = || self.registry.find(&listener.name);
        let live = live().unwrap_or_else(|| ListenerLive::new(&listener.name, self.workers));
        let (secured, listener) = (secured.cloned(), listener.clone());
        let (running, step) = match from {
            From::Same(at) => (self.running[at].clone(), None),
            From::Own(at) | From::Other(at) => {
                let old = &self.running[at];
                let is_own = from == From::Own(at);
                let stay = if is_own { old.stay } else { arrangement.number() };
                let (door, address) = (old.door, old.address.clone());
                let running = Running { listener, door, stay, address, live, secured };
                let step = Step::Alter(door, running.served());
                (running, Some(step))
            }
            From::Bound => {
                let bound = self.bind(&listener, leaving)?;
                let (door, stay) = (arrangement.number(), arrangement.number());
                let address = bound.address.clone();
                let running = Running { listener, door, stay, address, live, secured };
                let step = Step::Open { door, served: running.served(), bound };
                (running, Some(step))
            }
        };
        arrangement.running.push(running);
        arrangement.steps.extend(step);
        Ok(())
    }

    fn bind(&self, listener: &Listener, leaving: &[&Running]) -> Result<Bound, Unbound> {
        let address = file::address(&listener.address);
        let beside = leaving.iter().any(|one| one.overlaps(listener));
        let options = SocketOptions { beside, ..file::socket_options(listener) };
        let bound = match listener.protocol {
            Protocol::Http { .. } | Protocol::Tcp(_) => bind(&address, &options, self.workers),
            Protocol::Udp(_) => bind_datagrams(&address, &options, self.workers),
        };
        bound.map_err(|error| Unbound { listener: listener.name.clone(), error })
    }

    /// Tells the workers, and waits until each of them has done it.
    pub(crate) async fn become_so(&mut self, arrangement: Arrangement, orders: &Orders) {
        let Arrangement { steps, running, last, .. } = arrangement;
        (self.running, self.last) = (running, last);
        // Before anybody can come in by them.
        self.registry.set(self.running.iter().map(Running::listening).collect());
        if steps.is_empty() {
            return;
        }
        steps.into_iter().for_each(|step| step.tell(orders));
        if !orders.are_done().await {
            tracing::error!("a worker has not taken up the new listeners yet");
        }
    }

    /// What they do TLS with.
    pub(crate) fn secured(&self) -> ByListener {
        let secured = |one: &Running| Some((one.listener.name.clone(), one.secured.clone()?));
        self.running.iter().filter_map(secured).collect()
    }

    /// Tells the workers of new certificates, and waits until each of them has them; `false` when the
    /// listener is no longer what it was.
    pub(crate) async fn renew(&mut self, renewal: &Renewal, orders: &Orders) -> bool {
        let is_it = |one: &&mut Running| {
            one.listener.name == renewal.listener
                && is_same(one.secured.as_ref(), Some(&renewal.was))
        };
        let Some(running) = self.running.iter_mut().find(is_it) else { return false };
        running.secured = Some(Arc::clone(&renewal.now));
        let step = Step::Alter(running.door, running.served());
        self.registry.set(self.running.iter().map(Running::listening).collect());
        step.tell(orders);
        if !orders.are_done().await {
            tracing::error!("a worker has not taken up the new certificates yet");
        }
        true
    }

    /// Their names and addresses.
    pub(crate) fn addresses(&self) -> Vec<(String, String)> {
        let address = |one: &Running| (one.listener.name.clone(), one.address.to_string());
        self.running.iter().map(address).collect()
    }
}

impl Arrangement {
    fn number(&mut self) -> u32 {
        // It would take four billion changes to come round, and then those are long gone.
        self.last = self.last.wrapping_add(1);
        self.last
    }

    /// What is listened at from then on, by name, that was not before.
    pub(crate) fn opened(&self) -> Vec<(String, String)> {
        let opened = |step: &Step| match step {
            Step::Open { served, bound, .. } => {
                Some((served.live.name.to_string(), bound.address.to_string()))
            }
            Step::Alter(..) | Step::Close(_) => None,
        };
        self.steps.iter().filter_map(opened).collect()
    }
}

impl Step {
    fn tell(self, orders: &Orders) {
        match self {
            Self::Alter(door, served) => orders.tell(|| Order::Alter(door, served.clone())),
            Self::Close(door) => orders.tell(|| Order::Close(door)),
            Self::Open { door, served, bound } => {
                for (worker, socket) in bound.sockets.into_iter().enumerate() {
                    let (served, address) = (served.clone(), bound.address.clone());
                    let opening = Opening { door, served, address, socket };
                    orders.tell_one(worker, Order::Open(opening));
                }
            }
        }
    }
}

impl Running {
    /// Whether its sockets are where that one is to listen. A port that the system chose is where it
    /// is, and also any port again, for who asked for one.
    fn is_at(&self, wanted: &Listener) -> bool {
        let own = &self.listener;
        let is_as_asked = own.name == wanted.name && own.address == wanted.address;
        is_udp(own) == is_udp(wanted)
            && (is_as_asked || self.address == file::address(&wanted.address))
    }

    /// Whether one is at all addresses of a port of which the other has a single one.
    fn overlaps(&self, wanted: &Listener) -> bool {
        use tidegate_net::ListenAddress::Tcp;
        let (Tcp(a), Tcp(b)) = (&self.address, &file::address(&wanted.address)) else {
            return false;
        };
        let is_any = a.ip().is_unspecified() || b.ip().is_unspecified();
        let same = a.port() == b.port() && a.is_ipv4() == b.is_ipv4();
        is_any && same && a != b && is_udp(&self.listener) == is_udp(wanted)
    }

    fn listening(&self) -> Listening {
        Listening {
            address: self.address.to_string(),
            protocol: file::engine(&self.listener).protocol(),
            live: Arc::clone(&self.live),
            secured: self.secured.clone(),
            is_closed: false,
        }
    }

    fn served(&self) -> Served {
        let tls = self.secured.as_ref().map(|secured| secured.server.clone());
        Served {
            stay: self.stay,
            live: Arc::clone(&self.live),
            settings: Settings { tls, ..file::settings(&self.listener) },
            options: file::socket_options(&self.listener),
            engine: file::engine(&self.listener),
        }
    }

    /// Whether it is what is wanted, and has what that is to do TLS with.
    fn is(&self, wanted: &Listener, secured: &ByListener) -> bool {
        self.listener == *wanted && is_same(self.secured.as_ref(), secured.get(&wanted.name))
    }
}

impl From {
    fn of(self) -> Option<usize> {
        match self {
            Self::Same(at) | Self::Own(at) | Self::Other(at) => Some(at),
            Self::Bound => None,
        }
    }
}

fn is_same(one: Option<&Arc<Secured>>, other: Option<&Arc<Secured>>) -> bool {
    one.map(Arc::as_ptr) == other.map(Arc::as_ptr)
}

/// Where each of `wanted` gets its sockets from, when these run. Everybody who stays at its address
/// comes first, then those whose address somebody else had.
fn plan(running: &[Running], wanted: &[Listener], secured: &ByListener) -> Vec<From> {
    let of_itself = |wanted: &Listener| {
        let at = running.iter().position(|one| one.listener.name == wanted.name)?;
        let one = &running[at];
        match () {
            () if one.is(wanted, secured) => Some(From::Same(at)),
            () if !one.is_at(wanted) => None,
            () if protocol(&one.listener) == protocol(wanted) => Some(From::Own(at)),
            () => Some(From::Other(at)),
        }
    };
    let mut froms: Vec<Option<From>> = wanted.iter().map(of_itself).collect();
    for (at, listener) in wanted.iter().enumerate() {
        if froms[at].is_some() {
            continue;
        }
        let is_free = |place: usize| froms.iter().flatten().all(|from| from.of() != Some(place));
        let mut places = 0..running.len();
        let place = places.find(|place| is_free(*place) && running[*place].is_at(listener));
        froms[at] = Some(place.map_or(From::Bound, From::Other));
    }
    froms.into_iter().map(|from| from.unwrap_or(From::Bound)).collect()
}

fn is_udp(listener: &Listener) -> bool {
    matches!(listener.protocol, Protocol::Udp(_))
}

fn protocol(listener: &Listener) -> std::mem::Discriminant<Protocol> {
    std::mem::discriminant(&listener.protocol)
}

fn changes(running: &[Running], wanted: &[Listener], secured: &ByListener) -> ListenerChanges {
    let mut changes = ListenerChanges::default();
    for listener in wanted {
        match running.iter().find(|one| one.listener.name == listener.name) {
            None => changes.added.push(listener.name.clone()),
            Some(one) if one.is(listener, secured) => {}
            Some(_) => changes.changed.push(listener.name.clone()),
        }
    }
    let is_wanted = |name: &str| wanted.iter().any(|listener| listener.name == name);
    let names = running.iter().map(|one| one.listener.name.clone());
    changes.removed = names.filter(|name| !is_wanted(name)).collect();
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners(texts: &[&str]) -> Vec<Listener> {
        if texts.is_empty() {
            return Vec::new();
        }
        let text: String = texts.iter().map(|text| format!("[[listener]]\n{text}\n")).collect();
        tidegate_config::parse("test", &text).expect("it is right").config.listeners
    }

    /// Port 0 has become 9.
    fn running(texts: &[&str]) -> Vec<Running> {
        let running = |listener: Listener| Running {
            address: match file::address(&listener.address) {
                tidegate_net::ListenAddress::Tcp(ip) if ip.port() == 0 => {
                    tidegate_net::ListenAddress::Tcp((ip.ip(), 9).into())
                }
                address => address,
            },
            live: ListenerLive::new(&listener.name, 1),
            listener,
            door: 0,
            stay: 0,
            secured: None,
        };
        listeners(texts).into_iter().map(running).collect()
    }

    fn planned(before: &[&str], wanted: &[&str]) -> Vec<From> {
        plan(&running(before), &listeners(wanted), &ByListener::new())
    }

    const A: &str = "name = 'a'\naddress = '127.0.0.1:1'";
    const B: &str = "name = 'b'\naddress = '127.0.0.1:2'";

    #[test]
    fn only_what_differs_is_touched() {
        let limited = format!("{A}\nmax_connections = 1");
        let moved = "name = 'b'\naddress = '127.0.0.1:3'";
        assert_eq!(planned(&[A, B], &[B, A]), [From::Same(1), From::Same(0)]);
        assert_eq!(planned(&[A, B], &[&limited]), [From::Own(0)]);
        assert_eq!(planned(&[A, B], &[A, moved]), [From::Same(0), From::Bound]);
        assert_eq!(planned(&[], &[A]), [From::Bound]);
    }

    #[test]
    fn what_clients_may_speak_is_taken_up_without_new_sockets() {
        for key in ["h2c = true", "http2.max_resets = 1", "http2.window = '1m'"] {
            assert_eq!(planned(&[A], &[&format!("{A}\n{key}")]), [From::Own(0)], "{key}");
        }
        let limited = listeners(&[&format!("{A}\nh2c = true\nhttp2.window = '1m'")]);
        let settings = file::settings(&limited[0]);
        assert!(settings.h2c);
        assert_eq!((settings.http2.max_streams, settings.http2.window), (128, 1 << 20));
    }

    #[test]
    fn sockets_go_to_whoever_listens_there_now() {
        let (at_2, at_1) =
            ("name = 'a'\naddress = '127.0.0.1:2'", "name = 'b'\naddress = '127.0.0.1:1'");
        assert_eq!(planned(&[A, B], &[at_2, at_1]), [From::Other(1), From::Other(0)]);
        let renamed = "name = 'c'\naddress = '127.0.0.1:1'";
        assert_eq!(planned(&[A], &[renamed]), [From::Other(0)]);
        let tcp = format!("{A}\nprotocol = 'tcp'\nupstream = 'p'");
        assert_eq!(planned(&[A], &[&tcp]), [From::Other(0)]);
        let udp = format!("{A}\nprotocol = 'udp'\nupstream = 'p'");
        assert_eq!(planned(&[A], &[&udp]), [From::Bound]);
    }

    #[test]
    fn a_port_that_the_system_chose_stays_with_its_name() {
        let any = "name = 'a'\naddress = '127.0.0.1:0'";
        let limited = format!("{any}\nmax_connections = 1");
        assert_eq!(planned(&[any], &[&limited]), [From::Own(0)]);
        assert_eq!(planned(&[any], &["name = 'b'\naddress = '127.0.0.1:0'"]), [From::Bound]);
        assert_eq!(planned(&[any], &["name = 'a'\naddress = '127.0.0.1:9'"]), [From::Own(0)]);
        assert_eq!(planned(&[any], &["name = 'b'\naddress = '127.0.0.1:9'"]), [From::Other(0)]);
    }

    #[test]
    fn an_address_may_include_another() {
        let before = running(&["address = '0.0.0.0:1'", B]);
        let wanted = listeners(&[A, "address = '0.0.0.0:2'", "address = '[::]:2'"]);
        assert!(before[0].overlaps(&wanted[0]) && before[1].overlaps(&wanted[1]));
        assert!(!before[0].overlaps(&wanted[1]) && !before[1].overlaps(&wanted[2]));
    }

    #[test]
    fn what_became_of_each_is_told_by_name() {
        let limited = format!("{A}\nmax_connections = 1");
        let changes = changes(
            &running(&[A, B]),
            &listeners(&[&limited, "name = 'c'\naddress = '127.0.0.1:2'"]),
            &ByListener::new(),
        );
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let expected = ListenerChanges {
            added: names(&["c"]),
            changed: names(&["a"]),
            removed: names(&["b"]),
        };
        assert_eq!(changes, expected);
    }
}
