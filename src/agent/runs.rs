//! The owner of runs, thread `runs`: accepts requests, keeps the lanes (one run per session, a few in all, first come
//! first served), starts a thread per turn, and takes its slot back the moment the hub says that the run is over.
//!
//! It never waits for a run's thread: what still sits in a name look-up stays behind, may write nothing, and is counted
//! (`limits::LEFTOVER_RUNS`). To the hub it sends and does not wait; what clients see is the hub's business.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select, unbounded};
use serde_json::Value;

use super::book::{Book, Left};
use super::dedupe::{Dedupe, Method};
use super::intake::Image;
use super::models::client::RunCancel;
use super::models::wire::Thinking;
use super::session::{self, Source};
use super::turn;
use super::world::{Job, Options, World};
use crate::hub::reply::Reply;
use crate::hub::run_events::{AbortRuns, Answer, Cancel as _, ClosedRun, EndKind, EndRun, Follow, OpenRun, RunEvent};
use crate::limits::{LANE_WAIT_WARNING, LEFTOVER_RUNS, RUNS_QUEUE, STOP_BUDGET};
use crate::protocol::ErrorShape;
use crate::protocol::params::agent::AgentParams;
use crate::protocol::params::chat::{ChatInjectParams, ChatSendParams};
use crate::store::message::{Block, Message};

mod requests;

use requests::Accepted;

/// `stopReason` of runs that end because the gateway does.
pub const STOP_REASON: &str = "restart";
/// When a full queue may have room again.
const RETRY_MS: u64 = 2000;

/// Who sent a request.
#[derive(Clone, Debug)]
pub struct Caller {
    pub conn_id: Arc<str>,
    pub device_id: Option<Arc<str>>,
    /// Holds operator.admin: its stop phrases stop everybody's runs of the session.
    pub admin: bool,
}

/// A turn that one of the HTTP APIs asks for.
pub struct Ask {
    /// The run's id, and the idempotency key: the same again within five minutes follows the same run.
    pub run_id: String,
    /// As the client wrote it; checked here.
    pub session_key: String,
    /// The agent of a session key that names none.
    pub agent: Option<String>,
    pub message: String,
    pub images: Vec<Image>,
    pub thinking: Option<Thinking>,
    pub extra_system_prompt: Option<String>,
    pub timeout: Option<Duration>,
    pub options: Options,
}

enum Order {
    Ask(Box<Ask>, Box<dyn Follow>),
    Agent(Box<AgentParams>, Caller, Reply),
    Chat(Box<ChatSendParams>, Caller, Reply),
    Inject(ChatInjectParams, Reply),
    /// The number of slots may be another one.
    Lanes,
    Stop,
}

#[derive(Default)]
struct Counts {
    active: AtomicUsize,
    queued: AtomicUsize,
    /// Threads of runs, those of aborted runs included.
    threads: AtomicUsize,
    draining: AtomicBool,
}

/// The way to the `runs` thread. Clones are cheap; nothing here blocks.
#[derive(Clone)]
pub struct RunsHandle {
    /// Boxed: a bounded channel is as large as its bound times one item from the start.
    orders: Sender<Box<Order>>,
    counts: Arc<Counts>,
}

/// The thread itself, for whoever stops it.
pub struct Runs {
    pub handle: RunsHandle,
    thread: thread::JoinHandle<()>,
    ended: Receiver<()>,
}

impl RunsHandle {
    /// `agent`: accepted at once, its end comes as a second response.
    pub fn agent(&self, params: AgentParams, caller: Caller, reply: Reply) {
        self.send(Order::Agent(Box::new(params), caller, reply));
    }

    /// A request of the HTTP APIs; everything that becomes of it is told to `follower`.
    pub fn ask(&self, ask: Ask, follower: Box<dyn Follow>) {
        self.send(Order::Ask(Box::new(ask), follower));
    }

    /// `chat.send`
    pub fn chat_send(&self, params: ChatSendParams, caller: Caller, reply: Reply) {
        self.send(Order::Chat(Box::new(params), caller, reply));
    }

    /// `chat.inject`
    pub fn inject(&self, params: ChatInjectParams, reply: Reply) {
        self.send(Order::Inject(params, reply));
    }

    /// The configuration changed: turns that wait may have a slot now (`agents.defaults.maxConcurrent`).
    pub fn lanes_changed(&self) {
        // With a full queue the next order does the same.
        let _ = self.orders.try_send(Box::new(Order::Lanes));
    }

    /// Turns that have a slot.
    pub fn active(&self) -> usize {
        self.counts.active.load(Ordering::SeqCst)
    }

    /// Turns that wait.
    pub fn queued(&self) -> usize {
        self.counts.queued.load(Ordering::SeqCst)
    }

    /// Threads of runs that live, also of aborted ones that sit in a name look-up.
    pub fn threads(&self) -> usize {
        self.counts.threads.load(Ordering::SeqCst)
    }

    /// Nothing new is accepted any more; what runs and what waits goes on. For a planned restart.
    pub fn drain(&self) {
        self.counts.draining.store(true, Ordering::SeqCst);
    }

    fn send(&self, order: Order) {
        let order = match self.orders.try_send(Box::new(order)) {
            Ok(()) => return,
            Err(TrySendError::Full(order) | TrySendError::Disconnected(order)) => order,
        };
        let error = ErrorShape::unavailable("too many requests for the agent are waiting; try again in a moment");
        match *order {
            Order::Agent(_, _, reply) | Order::Chat(_, _, reply) | Order::Inject(_, reply) => {
                reply.err(&error.retry_after(RETRY_MS));
            }
            Order::Ask(_, follower) => follower.refuse(&error.retry_after(RETRY_MS)),
            Order::Lanes | Order::Stop => {}
        }
    }
}

impl Runs {
    /// Starts the thread. `closed` is where the hub says that a run is over; `on_death` is called when the thread
    /// panics.
    pub fn start(
        world: Arc<World>,
        closed: Receiver<ClosedRun>,
        on_death: Box<dyn FnOnce() + Send>,
    ) -> std::io::Result<Runs> {
        let (orders, inbox) = bounded(RUNS_QUEUE);
        let (ended_tx, ended) = bounded(1);
        let counts: Arc<Counts> = Arc::default();
        let (thread_ended, threads) = unbounded();
        let owner = Owner {
            world,
            orders: inbox,
            closed,
            threads,
            thread_ended,
            counts: counts.clone(),
            queue: VecDeque::new(),
            running: HashMap::new(),
            leftovers: HashSet::new(),
            dedupe: Dedupe::default(),
        };
        let thread = thread::Builder::new().name("runs".into()).spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| owner.work())).is_err() {
                on_death();
            }
            let _ = ended_tx.send(());
        })?;
        Ok(Runs { handle: RunsHandle { orders, counts }, thread, ended })
    }

    /// Aborts everything, keeps the partial texts, ends the thread. False when it did not end in time.
    pub fn stop(self, deadline: Duration) -> bool {
        self.handle.drain();
        // The queue may be full of requests; the thread empties it.
        let _ = self.handle.orders.send_timeout(Box::new(Order::Stop), deadline);
        if self.ended.recv_timeout(deadline).is_err() {
            return false;
        }
        self.thread.join().is_ok()
    }
}

/// A turn that was accepted and waits for its lane.
struct Waiting {
    job: Job,
    method: Method,
    cancel: Arc<RunCancel>,
    timeout: Option<Duration>,
    since: Instant,
    warned: bool,
}

/// A turn that has a slot.
struct Running {
    session_key: String,
    background: bool,
    cancel: Arc<RunCancel>,
    book: Arc<Book>,
    deadline: Option<Instant>,
    since: Instant,
    /// Its thread has ended already.
    ended: bool,
}

struct Owner {
    world: Arc<World>,
    orders: Receiver<Box<Order>>,
    closed: Receiver<ClosedRun>,
    /// Ids of runs whose threads have ended.
    threads: Receiver<Arc<str>>,
    thread_ended: Sender<Arc<str>>,
    counts: Arc<Counts>,
    queue: VecDeque<Waiting>,
    running: HashMap<Arc<str>, Running>,
    /// Aborted runs whose threads have not ended.
    leftovers: HashSet<Arc<str>>,
    dedupe: Dedupe,
}

impl Owner {
    fn work(mut self) {
        let mut stop_by: Option<Instant> = None;
        loop {
            let wake = self.next_wake().into_iter().chain(stop_by).min();
            let timer = wake.map_or_else(crossbeam_channel::never, crossbeam_channel::at);
            select! {
                recv(self.orders) -> order => match self.up_to_date(order).map(|order| *order) {
                    Ok(Order::Agent(params, caller, reply)) => self.agent(*params, caller, reply),
                    Ok(Order::Chat(params, caller, reply)) => self.chat(*params, caller, reply),
                    Ok(Order::Ask(ask, follower)) => self.ask(*ask, follower),
                    Ok(Order::Inject(params, reply)) => self.inject(params, reply),
                    Ok(Order::Lanes) => self.schedule(),
                    Ok(Order::Stop) | Err(_) if stop_by.is_none() => {
                        stop_by = Some(Instant::now() + STOP_BUDGET);
                        self.abort_all();
                    }
                    Ok(Order::Stop) | Err(_) => self.orders = crossbeam_channel::never(),
                },
                recv(self.closed) -> closed => match closed {
                    Ok(closed) => self.close(closed),
                    // The hub is gone: nobody is left to hear of a run.
                    Err(_) => return,
                },
                recv(self.threads) -> id => if let Ok(id) = id { self.thread_is_over(&id) },
                recv(timer) -> _ => self.tick(Instant::now()),
            }
            let over = self.running.is_empty() && self.queue.is_empty();
            if stop_by.is_some_and(|by| over || Instant::now() >= by) {
                return;
            }
        }
    }

    /// Ends that the hub has told come before requests: whoever has seen the final answer and asks again gets it again.
    fn up_to_date<T>(&mut self, order: T) -> T {
        while let Ok(closed) = self.closed.try_recv() {
            self.close(closed);
        }
        order
    }

    fn next_wake(&self) -> Option<Instant> {
        let deadlines = self.running.values().filter_map(|r| r.deadline);
        let warnings = self.queue.iter().filter(|w| !w.warned).map(|w| w.since + LANE_WAIT_WARNING);
        deadlines.chain(warnings).chain(self.dedupe.next_expiry()).min()
    }

    fn tick(&mut self, now: Instant) {
        self.dedupe.prune(now);
        let late: Vec<(Arc<str>, String)> = self
            .running
            .iter_mut()
            .filter(|(_, r)| r.deadline.is_some_and(|at| at <= now))
            .map(|(id, r)| {
                r.deadline = None;
                (id.clone(), r.session_key.clone())
            })
            .collect();
        for (id, key) in late {
            self.abort(&id, &key, "timeout");
        }
        for ahead in 0..self.queue.len() {
            let waiting = &mut self.queue[ahead];
            if !waiting.warned && waiting.since + LANE_WAIT_WARNING <= now {
                waiting.warned = true;
                log::warn!(
                    "lane wait exceeded: lane=session:{} waitedMs={} queueAhead={ahead}",
                    waiting.job.route.key,
                    now.duration_since(waiting.since).as_millis()
                );
            }
        }
    }

    // ── Lanes ──────────────────────────────────────────────────────────────────────────────────────────

    /// The hub knows the run before its client does, so that an abort finds it; the client hears that it was accepted
    /// before the run says anything.
    fn open(
        &mut self,
        request: Accepted,
        final_reply: Option<Reply>,
        followers: Vec<Box<dyn Follow>>,
        accept: impl FnOnce(),
    ) {
        let run_id: Arc<str> = request.key.into();
        let cancel: Arc<RunCancel> = Arc::default();
        (self.world.hub)(RunEvent::Open(OpenRun {
            run_id: run_id.clone(),
            session_key: request.route.key.as_str().into(),
            conn_id: Some(request.caller.conn_id),
            device_id: request.caller.device_id,
            final_reply,
            followers,
            cancel: cancel.clone(),
        }));
        let source = match request.method {
            Method::Agent => Source::Agent,
            Method::Chat | Method::Ask => Source::Chat,
        };
        self.queue.push_back(Waiting {
            job: Job {
                run_id,
                route: request.route,
                message: request.message,
                images: request.images,
                thinking: request.thinking,
                extra_system_prompt: request.extra_system_prompt,
                source,
                options: request.options,
            },
            method: request.method,
            cancel,
            timeout: request.timeout,
            since: Instant::now(),
            warned: false,
        });
        // Counted before anybody hears of it: who drains must not find the house empty.
        self.count();
        accept();
        self.schedule();
    }

    /// Gives free slots away, in the order in which turns came; those that nobody waits for never take the last one.
    fn schedule(&mut self) {
        let slots = (self.world.config)().agents.defaults.max_concurrent.max(1);
        let mut at = 0;
        while at < self.queue.len() && self.running.len() < slots {
            let job = &self.queue[at].job;
            let background = self.running.values().filter(|r| r.background).count();
            let is_crowded = job.is_background() && background + 1 >= slots.max(2);
            if is_crowded || self.running.values().any(|r| r.session_key == job.route.key) {
                at += 1;
                continue;
            }
            if let Some(waiting) = self.queue.remove(at) {
                self.start(waiting);
            }
        }
        self.count();
    }

    fn start(&mut self, waiting: Waiting) {
        let Waiting { job, method, cancel, timeout, .. } = waiting;
        let run_id = job.run_id.clone();
        let book: Arc<Book> = Arc::default();
        let now = Instant::now();
        self.running.insert(
            run_id.clone(),
            Running {
                session_key: job.route.key.clone(),
                background: job.is_background(),
                cancel: cancel.clone(),
                book: book.clone(),
                deadline: timeout.and_then(|time| now.checked_add(time)),
                since: now,
                ended: false,
            },
        );
        let started_at = (self.world.now_ms)();
        (self.world.hub)(RunEvent::Started { run_id: run_id.clone(), at_ms: started_at });
        if self.leftovers.len() >= LEFTOVER_RUNS {
            let text =
                format!("{} interrupted turns still wait for the network; try again later", self.leftovers.len());
            return self.refuse(&run_id, text);
        }
        log::debug!("run {run_id}: session {} ({method:?})", job.route.key);
        let (world, ended) = (self.world.clone(), self.thread_ended.clone());
        let name = format!("run-{}", run_id.chars().take(8).collect::<String>());
        // Whatever happens, the owner hears that the thread is over.
        let over = Over { run_id: job.run_id.clone(), ended, counts: self.counts.clone() };
        self.counts.threads.fetch_add(1, Ordering::SeqCst);
        let spawned = thread::Builder::new().name(name).spawn(move || {
            let _over = over;
            work(&world, &job, &cancel, &book);
        });
        if let Err(e) = spawned {
            self.refuse(&run_id, format!("no thread for the turn: {e}"));
        }
    }

    /// A run that has a slot but no thread.
    fn refuse(&mut self, run_id: &Arc<str>, text: String) {
        log::error!("run {run_id}: {text}");
        if let Some(running) = self.running.get_mut(run_id) {
            running.ended = true;
        }
        let message = format!("Error: {text}");
        (self.world.hub)(RunEvent::End(turn::refusal(run_id, text, message, (self.world.now_ms)())));
    }

    fn count(&self) {
        self.counts.active.store(self.running.len(), Ordering::SeqCst);
        self.counts.queued.store(self.queue.len(), Ordering::SeqCst);
    }

    // ── Ends ───────────────────────────────────────────────────────────────────────────────────────────

    fn abort(&self, run_id: &Arc<str>, session_key: &str, stop_reason: &'static str) {
        (self.world.hub)(RunEvent::Abort(AbortRuns {
            session_key: Some(session_key.into()),
            run_id: Some(run_id.to_string()),
            stop_reason,
            at_ms: (self.world.now_ms)(),
            only_of: None,
            reply: None,
        }));
    }

    fn abort_all(&mut self) {
        self.counts.draining.store(true, Ordering::SeqCst);
        // What waits first, so that nothing takes a slot that becomes free.
        for waiting in &self.queue {
            self.abort(&waiting.job.run_id, &waiting.job.route.key, STOP_REASON);
        }
        for (id, running) in &self.running {
            self.abort(id, &running.session_key, STOP_REASON);
        }
    }

    /// The hub has closed a run: its slot is free, whatever its thread does.
    fn close(&mut self, closed: ClosedRun) {
        self.dedupe.finish(&closed.run_id, &closed.answer, Instant::now());
        if closed.how != EndKind::Done {
            self.dedupe.forget(Method::Ask, &closed.run_id);
        }
        if let Some(at) = self.queue.iter().position(|w| w.job.run_id == closed.run_id) {
            self.queue.remove(at);
        }
        let running = self.running.remove(&closed.run_id);
        self.count_run(&closed.how, running.as_ref().map(|running| running.since.elapsed()));
        if let Some(running) = running
            && let EndKind::Aborted(reason) = closed.how
        {
            // Usually the hub has done so already.
            running.cancel.cancel();
            log::info!("run {}: aborted ({reason})", closed.run_id);
            if !running.ended {
                self.leftovers.insert(closed.run_id.clone());
            }
            self.keep_partial(running.book.close(), &closed);
        }
        self.schedule();
    }

    fn count_run(&self, how: &EndKind, took: Option<Duration>) {
        let metrics = &self.world.metrics;
        let outcome = match how {
            EndKind::Done => "completed",
            EndKind::Error(_) => "error",
            EndKind::Aborted("timeout") => "timeout",
            EndKind::Aborted(_) => "aborted",
        };
        metrics.runs.count("", outcome);
        if let Some(took) = took {
            metrics.run_seconds.observe(took);
        }
    }

    /// The unfinished message of an aborted run goes into the transcript, as far as people saw it.
    fn keep_partial(&self, left: Left, closed: &ClosedRun) {
        session::record_abort(&self.world.sessions, &closed.session_key, closed.at_ms);
        let Left { transcript, partial, speaker, messages } = left;
        let text = if messages == 0 { closed.partial.clone() } else { partial };
        let (Some(mut transcript), Some(speaker)) = (transcript, speaker) else { return };
        if !text.is_empty() {
            let message = Message::assistant(speaker, vec![Block::text(text)], closed.at_ms);
            if let Err(e) = transcript.append_message(&message, closed.at_ms) {
                log::error!("{}: partial text not written: {e}", transcript.path().display());
            }
        }
        sync_later(transcript);
    }

    fn thread_is_over(&mut self, run_id: &Arc<str>) {
        if !self.leftovers.remove(run_id)
            && let Some(running) = self.running.get_mut(run_id)
        {
            running.ended = true;
        }
    }
}

/// Tells the owner that a run's thread is over, also when it panics.
struct Over {
    run_id: Arc<str>,
    ended: Sender<Arc<str>>,
    counts: Arc<Counts>,
}

impl Drop for Over {
    fn drop(&mut self) {
        self.counts.threads.fetch_sub(1, Ordering::SeqCst);
        let _ = self.ended.send(self.run_id.clone());
    }
}

/// The thread of one run.
fn work(world: &World, job: &Job, cancel: &Arc<RunCancel>, book: &Book) {
    let end = catch_unwind(AssertUnwindSafe(|| turn::run(world, job, cancel, book))).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let what = what.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        log::error!("run {}: internal error: {what}", job.run_id);
        let text = "internal error in the agent; see the gateway's log".to_owned();
        Some(turn::refusal(&job.run_id, text.clone(), format!("Error: {text}"), (world.now_ms)()))
    });
    // Everything is in the file before anybody hears of the end; that it is on the disk may take a moment longer.
    let left = match &end {
        Some(_) => book.close().transcript,
        None => None,
    };
    let end = end.unwrap_or_else(|| EndRun {
        run_id: job.run_id.clone(),
        how: EndKind::Aborted("rpc"),
        at_ms: (world.now_ms)(),
        text: None,
        usage: None,
        answer: Answer::Ok(Value::Null),
        details: None,
    });
    // Dropped by the hub when the run is closed already.
    (world.hub)(RunEvent::End(end));
    if let Some(mut transcript) = left
        && let Err(e) = transcript.sync()
    {
        log::error!("{}: not synced: {e}", transcript.path().display());
    }
}

/// fdatasync takes up to half a second on a flash card; the owner has other things to do.
fn sync_later(mut transcript: crate::store::Transcript) {
    let sync = move || {
        if let Err(e) = transcript.sync() {
            log::error!("{}: not synced: {e}", transcript.path().display());
        }
    };
    // Without a thread the next turn of the session syncs the file.
    let _ = thread::Builder::new().name("run-sync".into()).spawn(sync);
}

#[cfg(test)]
#[path = "runs_tests.rs"]
mod tests;
