//! Thread `mdns`: makes sure that the names are free, announces the gateway, answers who looks for it and says goodbye
//! at the end. It sleeps until somebody speaks to it, a network comes or goes, or it is told to stop.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::links::Links;
use super::records::{self, Names};
use super::wire::{self, Packet, Record};
use super::{Facts, SERVICE};
use crate::sys::poll::{self, WakePipe};
use crate::sys::{link_changes, memory};
use crate::{ids, limits};

/// For those who ask without being part of the group (RFC 6762 6.7).
const LEGACY_TTL: u32 = 10;
/// Asking for a name: so often, in this distance (RFC 6762 8.1).
const PROBES: u8 = 3;
const PROBE_PAUSE: Duration = Duration::from_millis(250);
/// Who asked for the same name at the same time and went first has this long to finish (8.2).
const GIVE_WAY: Duration = Duration::from_secs(1);
/// After so many names that were taken the next ones are tried slowly (8.1).
const QUICK_CONFLICTS: u32 = 15;
const SLOWLY: Duration = Duration::from_secs(5);
/// The announcement is said twice, and what everybody has just heard is not said again for as long (8.3, 6).
const ANNOUNCEMENTS: u8 = 2;
const AGAIN: Duration = Duration::from_secs(1);
/// Answers in one second; who asks more often is not answered.
const ANSWERS_PER_SECOND: u32 = 50;
/// Packets that are read before anything else is looked at.
const PACKETS: usize = 64;
/// A network that comes has an address in each family only after a moment.
const LINK_SETTLES: Duration = Duration::from_secs(1);

/// Dropped, it says goodbye and ends its thread.
pub struct Announcement {
    wake: Arc<WakePipe>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Announcement {
    /// Err: the port of multicast DNS cannot be shared, or there is no network and nobody who would tell of one.
    pub fn start(facts: Facts, groups: &[SocketAddr]) -> io::Result<Announcement> {
        let links = Links::join(groups)?;
        let changes = link_changes::subscribe();
        if links.all.is_empty() && changes.is_none() {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        let (wake, stop) = (Arc::new(WakePipe::new()?), Arc::new(AtomicBool::new(false)));
        let now = Instant::now();
        // Machines that start together must not speak together.
        let [random] = ids::random_bytes::<1>();
        let responder = Responder {
            facts,
            names: Names::default(),
            stage: Stage::Probing { asked: 0, due: now + Duration::from_millis(u64::from(random)) },
            conflicts: 0,
            said: None,
            answered: (now, 0),
            links,
            changes,
            changed: None,
            wake: wake.clone(),
            stop: stop.clone(),
        };
        let thread = thread::Builder::new()
            .name("mdns".into())
            .stack_size(memory::stack(limits::CONNECTION_STACK))
            .spawn(move || responder.run())?;
        Ok(Announcement { wake, stop, thread: Some(thread) })
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wake.wake();
        // It waits for nothing but the pipe.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How far the names are ours.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// No network to ask in.
    Alone,
    Probing {
        asked: u8,
        due: Instant,
    },
    Announcing {
        said: u8,
        due: Instant,
    },
    Known,
}

impl Stage {
    fn due(self) -> Option<Instant> {
        match self {
            Stage::Probing { due, .. } | Stage::Announcing { due, .. } => Some(due),
            Stage::Alone | Stage::Known => None,
        }
    }

    fn is_ours(self) -> bool {
        matches!(self, Stage::Announcing { .. } | Stage::Known)
    }
}

struct Responder {
    facts: Facts,
    names: Names,
    stage: Stage,
    conflicts: u32,
    /// When everybody heard all of it.
    said: Option<Instant>,
    /// Begin of the present second, and answers in it.
    answered: (Instant, u32),
    links: Links,
    changes: Option<UdpSocket>,
    /// When to look at a change.
    changed: Option<Instant>,
    wake: Arc<WakePipe>,
    stop: Arc<AtomicBool>,
}

impl Responder {
    fn run(mut self) {
        let mut buffer = vec![0; wire::PACKET_BYTES + 1];
        self.found_links();
        while !self.stop.load(Ordering::Acquire) {
            let due = [self.stage.due(), self.changed].into_iter().flatten().min();
            let wait = due.map(|at| at.saturating_duration_since(Instant::now()));
            let sockets: Vec<&UdpSocket> = self.links.sockets().chain(&self.changes).collect();
            if poll::wait_sockets(&sockets, &self.wake, wait).is_err() {
                break;
            }
            self.look_at_links(&mut buffer);
            if self.stage.due().is_some_and(|due| due <= Instant::now()) {
                self.step();
            }
            // A bounded number: somebody who floods must not keep us from the end.
            let mut limit = PACKETS;
            while let Some((n, from, link)) = self.links.hear(&mut buffer, &mut limit) {
                self.hear(&buffer[..n], from, link);
            }
        }
        if self.stage.is_ours() {
            self.say_everywhere(|record| Record { ttl: 0, ..record });
        }
    }

    /// Takes note of networks that have come or gone, and speaks in those that are there now.
    fn look_at_links(&mut self, buffer: &mut [u8]) {
        if let Some(changes) = &self.changes {
            let news = (0..PACKETS).take_while(|_| changes.recv(buffer).is_ok()).count();
            if news > 0 {
                self.changed.get_or_insert(Instant::now() + LINK_SETTLES);
            }
        }
        if self.changed.is_some_and(|at| at <= Instant::now()) {
            self.changed = None;
            if self.links.refresh() {
                self.found_links();
            }
        }
    }

    fn found_links(&mut self) {
        if self.links.all.is_empty() {
            log::info!(target: "discovery", "no network to be announced in; it is looked for");
            self.stage = Stage::Alone;
        } else if !matches!(self.stage, Stage::Probing { asked: 0, .. }) {
            self.probe_from(Instant::now());
        }
    }

    fn probe_from(&mut self, due: Instant) {
        self.stage = Stage::Probing { asked: 0, due };
    }

    /// What is due in this stage.
    fn step(&mut self) {
        let now = Instant::now();
        match self.stage {
            Stage::Probing { asked, .. } if asked < PROBES => {
                let probe = wire::print(&records::probe(&self.facts, self.names, &self.own()));
                for link in &self.links.all {
                    self.links.say(link, &probe);
                }
                self.stage = Stage::Probing { asked: asked + 1, due: now + PROBE_PAUSE };
            }
            Stage::Probing { .. } => {
                self.announce(0);
                let (instance, host) = (self.names.instance(&self.facts), self.names.host());
                let mode = if self.facts.program.is_some() { "full" } else { "minimal" };
                let port = self.facts.port;
                log::info!(
                    target: "discovery",
                    "announced as {SERVICE} on port {port} ({mode}): \"{instance}\" at {host}.local"
                );
            }
            Stage::Announcing { said, .. } => self.announce(said),
            Stage::Alone | Stage::Known => {}
        }
    }

    fn announce(&mut self, said: u8) {
        self.say_everywhere(|record| record);
        let due = Instant::now() + AGAIN;
        self.stage = if said + 1 < ANNOUNCEMENTS { Stage::Announcing { said: said + 1, due } } else { Stage::Known };
    }

    fn hear(&mut self, bytes: &[u8], from: SocketAddr, link: usize) {
        let Some(packet) = wire::parse(bytes) else { return };
        if packet.response {
            if self.links.speaks(from) {
                self.defend(&packet);
            }
        } else if self.stage.is_ours() {
            self.answer(packet, from, link);
        } else if let Stage::Probing { asked: 1.., .. } = self.stage
            && records::goes_first(&self.facts, self.names, &self.own(), &packet.authority)
        {
            self.probe_from(Instant::now() + GIVE_WAY);
        }
    }

    /// Somebody has one of our names: before we said it we take another one, afterwards we ask once more.
    fn defend(&mut self, packet: &Packet) {
        let taken = records::taken(&self.facts, self.names, &self.own(), &packet.records);
        if !taken.any() {
            return;
        }
        match self.stage {
            Stage::Announcing { .. } | Stage::Known => self.probe_from(Instant::now()),
            Stage::Probing { asked: 1.., .. } => {
                self.conflicts = self.conflicts.saturating_add(1);
                if taken.instance {
                    self.names.instance = self.names.instance.saturating_add(1);
                    let name = self.names.instance(&self.facts);
                    log::warn!(target: "discovery", "gateway name conflict resolved; newName=\"{name}\"");
                }
                if taken.host {
                    self.names.host = self.names.host.saturating_add(1);
                    let name = self.names.host();
                    log::warn!(target: "discovery", "gateway hostname conflict resolved; newHostname=\"{name}\"");
                }
                let slow = if self.conflicts > QUICK_CONFLICTS { SLOWLY } else { Duration::ZERO };
                self.probe_from(Instant::now() + slow);
            }
            Stage::Alone | Stage::Probing { .. } => {}
        }
    }

    fn answer(&mut self, packet: Packet, from: SocketAddr, link: usize) {
        // Whoever finds the service needs the rest at once.
        let all = records::records(&self.facts, self.names, &self.links.all[link].addresses);
        if !records::is_asked(&packet, &all) || !self.may_answer() {
            return;
        }
        if !self.links.is_member(from) {
            let capped = all.into_iter().map(|record| Record { ttl: record.ttl.min(LEGACY_TTL), ..record }).collect();
            let answer = Packet { id: packet.id, questions: packet.questions, ..response(capped) };
            self.links.tell(from, &wire::print(&answer));
            return;
        }
        let claims = !packet.authority.is_empty();
        if packet.questions.iter().all(|question| question.unicast) {
            self.links.tell(from, &wire::print(&response(all)));
        } else if claims || self.said.is_none_or(|at| at.elapsed() >= AGAIN) {
            let shared = packet.questions.iter().any(|question| question.kind == wire::PTR);
            if shared && !claims {
                // Others answer as well: 20 to 120 ms (RFC 6762 6).
                let [random] = ids::random_bytes::<1>();
                let _ = poll::pause(&self.wake, Duration::from_millis(20 + u64::from(random) * 100 / 255));
            }
            self.links.say(&self.links.all[link], &wire::print(&response(all)));
            self.said = Some(Instant::now());
        }
    }

    fn may_answer(&mut self) -> bool {
        if self.answered.0.elapsed() >= Duration::from_secs(1) {
            self.answered = (Instant::now(), 0);
        }
        self.answered.1 += 1;
        self.answered.1 <= ANSWERS_PER_SECOND
    }

    /// Says all of it in every link, each with the addresses that are good there.
    fn say_everywhere(&mut self, change: impl Fn(Record) -> Record) {
        for link in &self.links.all {
            let all = records::records(&self.facts, self.names, &link.addresses);
            self.links.say(link, &wire::print(&response(all.into_iter().map(&change).collect())));
        }
        self.said = Some(Instant::now());
    }

    fn own(&self) -> Vec<Record> {
        records::own(&self.facts, self.names, &self.links.all)
    }
}

fn response(records: Vec<Record>) -> Packet {
    Packet { response: true, records, ..Packet::default() }
}
