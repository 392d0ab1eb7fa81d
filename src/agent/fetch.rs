//! Fetches an address of the web that somebody else has named: `policy::ssrf` judges every hop as it is written and
//! every answer of the name service, and what was judged is what is connected to.
//!
//! Each fetch has a thread of its own, so that a name look-up that hangs keeps nobody beyond the deadline; a few
//! of them at once are enough. No proxy of the environment is used: it would look names up in our place.

use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};

use crate::http::url::{Host, Url, UrlError};
use crate::limits;
use crate::policy::ssrf::{self, Blocked};

/// How much later than the fetch's own deadline its caller stops waiting.
const GRACE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(100);

/// True: the gateway is stopping and nobody waits for pages any more.
pub type Stopping = Arc<dyn Fn() -> bool + Send + Sync>;

/// How far one fetch may go.
#[derive(Clone)]
pub struct Limits {
    pub max_bytes: usize,
    pub over: Over,
    pub redirects: u32,
    /// From the first look-up to the last byte, all hops together.
    pub deadline: Duration,
    pub user_agent: String,
    /// Value of `Accept`.
    pub accept: &'static str,
    /// Asked by whoever waits, every `LOOK`.
    pub stopping: Option<Stopping>,
}

/// What becomes of an answer with more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Its beginning is enough.
    Cut,
    Refuse,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub status: u16,
    /// Where the last redirect led.
    pub url: Url,
    /// As the server wrote it, or empty.
    pub content_type: String,
    pub bytes: Vec<u8>,
    /// There was more.
    pub cut: bool,
}

/// Why there is no answer. `Display` is for people and for models.
#[derive(Debug)]
pub enum FetchError {
    /// The address, or what it leads to, is not asked; nothing was sent there.
    Blocked(Blocked),
    TooManyRedirects(u32),
    RedirectLoop,
    NoLocation(u16),
    TooLarge(usize),
    /// The seconds it had.
    TimedOut(u64),
    Busy,
    Stopping,
    Compressed(String),
    Failed(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::Blocked(why) => f.write_str(why.text()),
            FetchError::TooManyRedirects(limit) => write!(f, "Too many redirects (limit: {limit})"),
            FetchError::RedirectLoop => f.write_str("Redirect loop detected"),
            FetchError::NoLocation(status) => write!(f, "Redirect missing location header ({status})"),
            FetchError::TooLarge(max) => write!(f, "the answer is larger than {max} bytes"),
            FetchError::TimedOut(seconds) => write!(f, "the request timed out after {seconds} s"),
            FetchError::Busy => f.write_str("too many fetches are under way; try again in a moment"),
            FetchError::Stopping => f.write_str("the gateway is stopping"),
            FetchError::Compressed(coding) => write!(f, "the answer is compressed ({coding}), which was not asked for"),
            FetchError::Failed(why) => f.write_str(why),
        }
    }
}

impl From<UrlError> for FetchError {
    fn from(error: UrlError) -> Self {
        FetchError::Blocked(Blocked::Url(error))
    }
}

/// Fetches an address. `allowlist`: see [`ssrf::check`].
pub fn fetch_bytes(url: &str, limits: &Limits, allowlist: &[String]) -> Result<Fetched, FetchError> {
    fetch_through(Box::new(DefaultResolver::default()), url, limits, allowlist)
}

fn fetch_through(
    names: Box<dyn Resolver>,
    url: &str,
    limits: &Limits,
    allowlist: &[String],
) -> Result<Fetched, FetchError> {
    let url = Url::parse(url)?;
    judge(&url, allowlist)?;
    let slot = Slot::take().ok_or(FetchError::Busy)?;
    let (done, result) = bounded(1);
    // What keeps the gateway's state alive stays on this side.
    let (theirs, list) = (Limits { stopping: None, ..limits.clone() }, allowlist.to_vec());
    let work = move || {
        let fetched = Fetch { agent: agent(names, &theirs), limits: &theirs, allowlist: &list }.run(url);
        // A caller who has given up does not hear it.
        let _ = done.send(fetched);
        drop(slot);
    };
    let stack = crate::sys::memory::stack(limits::POOL_STACK);
    let started = thread::Builder::new().name("fetch".into()).stack_size(stack).spawn(work);
    started.map_err(|e| FetchError::Failed(format!("no thread for the request: {e}")))?;
    let until = Instant::now() + limits.deadline + GRACE;
    loop {
        match result.recv_deadline(until.min(Instant::now() + LOOK)) {
            Ok(fetched) => return fetched,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(FetchError::Failed("the request ended without an answer".into()));
            }
            Err(RecvTimeoutError::Timeout) if Instant::now() >= until => {
                return Err(FetchError::TimedOut(limits.deadline.as_secs()));
            }
            Err(RecvTimeoutError::Timeout) if limits.stopping.as_ref().is_some_and(|stopping| stopping()) => {
                return Err(FetchError::Stopping);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// The address as it is written; the resolver judges what it leads to.
fn judge(url: &Url, allowlist: &[String]) -> Result<(), FetchError> {
    let judged = match &url.host {
        Host::Ip(ip) if is_test_server(SocketAddr::new(*ip, url.port)) => ssrf::check_listed(url, allowlist),
        _ => ssrf::check(url, allowlist),
    };
    judged.map_err(FetchError::Blocked)
}

/// Tests reach servers on loopback, on the ports that they name here; there is no such way in a release build.
#[cfg(debug_assertions)]
fn is_test_server(address: SocketAddr) -> bool {
    let ports = std::env::var("OPENCLAW_TEST_FETCH_LOOPBACK_PORTS").unwrap_or_default();
    address.ip().is_loopback() && ports.split(',').any(|port| port.parse() == Ok(address.port()))
}

#[cfg(not(debug_assertions))]
fn is_test_server(_: SocketAddr) -> bool {
    false
}

/// One of the fetches that may be under way in this process, whoever asks for them.
struct Slot;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl Slot {
    fn take() -> Option<Slot> {
        let free = |n: usize| (n < limits::FETCHES).then_some(n + 1);
        TAKEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).ok().map(|_| Slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Lets only public addresses through. Every connection looks its name up here, so that a name that leads elsewhere
/// the second time is judged the second time.
#[derive(Debug)]
struct Guard {
    names: Box<dyn Resolver>,
}

/// How the guard says no through ureq.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Blocked::Resolved.text())
    }
}

impl std::error::Error for Refused {}

impl Resolver for Guard {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let addresses = self.names.resolve(uri, config, timeout)?;
        // One private answer among public ones is an attack or a mistake, and not ours to sort out.
        let allowed = |address: &SocketAddr| ssrf::is_public(address.ip()) || is_test_server(*address);
        if !addresses.iter().all(allowed) {
            return Err(ureq::Error::Other(Box::new(Refused)));
        }
        Ok(addresses)
    }
}

fn agent(names: Box<dyn Resolver>, limits: &Limits) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // Each hop is judged here.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .max_idle_connections(0)
        .accept_encoding("identity")
        .accept(limits.accept)
        .user_agent(&limits.user_agent)
        .input_buffer_size(limits::MODEL_BUFFER)
        .output_buffer_size(limits::MODEL_BUFFER)
        .build();
    Agent::with_parts(config, DefaultConnector::default(), Guard { names })
}

struct Fetch<'a> {
    agent: Agent,
    limits: &'a Limits,
    allowlist: &'a [String],
}

impl Fetch<'_> {
    fn run(&self, mut url: Url) -> Result<Fetched, FetchError> {
        let until = Instant::now() + self.limits.deadline;
        let mut seen = vec![url.clone()];
        loop {
            let response = self.ask(&url, until)?;
            let status = response.status().as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return self.take(url, response);
            }
            let location = text_header(&response, "location").ok_or(FetchError::NoLocation(status))?;
            url = url.join(&location)?;
            judge(&url, self.allowlist)?;
            if seen.contains(&url) {
                return Err(FetchError::RedirectLoop);
            }
            if seen.len() as u32 > self.limits.redirects {
                return Err(FetchError::TooManyRedirects(self.limits.redirects));
            }
            seen.push(url.clone());
        }
    }

    fn ask(&self, url: &Url, until: Instant) -> Result<ureq::http::Response<Body>, FetchError> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.timed_out());
        }
        let request = self.agent.get(url.to_string()).config().timeout_global(Some(left)).build();
        request.call().map_err(|e| self.failed(url, e))
    }

    fn take(&self, url: Url, response: ureq::http::Response<Body>) -> Result<Fetched, FetchError> {
        let status = response.status().as_u16();
        if let Some(coding) = text_header(&response, "content-encoding").filter(|c| !c.eq_ignore_ascii_case("identity"))
        {
            return Err(FetchError::Compressed(coding));
        }
        let content_type = text_header(&response, "content-type").unwrap_or_default();
        let max = self.limits.max_bytes;
        let too_large = || FetchError::TooLarge(max);
        let announced = text_header(&response, "content-length").and_then(|n| n.parse::<u64>().ok());
        if self.limits.over == Over::Refuse && announced.is_some_and(|n| n > max as u64) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        reader.take(max as u64 + 1).read_to_end(&mut bytes).map_err(|e| {
            let failed = |e: std::io::Error| FetchError::Failed(format!("the answer broke off: {e}"));
            match e.downcast::<ureq::Error>() {
                Ok(error) => self.failed(&url, error),
                Err(e) => failed(e),
            }
        })?;
        let cut = bytes.len() > max;
        if cut && self.limits.over == Over::Refuse {
            return Err(too_large());
        }
        bytes.truncate(max);
        Ok(Fetched { status, url, content_type, bytes, cut })
    }

    fn failed(&self, url: &Url, error: ureq::Error) -> FetchError {
        match error {
            ureq::Error::Other(inner) if inner.is::<Refused>() => FetchError::Blocked(Blocked::Resolved),
            ureq::Error::Timeout(_) => self.timed_out(),
            ureq::Error::HostNotFound => FetchError::Failed(format!("{} has no address", url.host_text())),
            // It names what the system says, a failed look-up too.
            ureq::Error::Io(e) => FetchError::Failed(format!("{} does not answer: {e}", url.host_text())),
            other => FetchError::Failed(format!("{} does not answer: {other}", url.host_text())),
        }
    }

    fn timed_out(&self) -> FetchError {
        FetchError::TimedOut(self.limits.deadline.as_secs())
    }
}

fn text_header(response: &ureq::http::Response<Body>, name: &str) -> Option<String> {
    let value = response.headers().get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::collections::VecDeque;
    use std::io::Write as _;
    use std::net::{IpAddr, TcpListener};

    const LIMITS: Limits = Limits {
        max_bytes: 1000,
        over: Over::Refuse,
        redirects: 3,
        deadline: Duration::from_secs(20),
        user_agent: String::new(),
        accept: "*/*",
        stopping: None,
    };

    /// Answers look-ups in this order, and counts them.
    #[derive(Debug, Default)]
    struct Script(Arc<Mutex<VecDeque<Vec<SocketAddr>>>>);

    impl Resolver for Script {
        fn resolve(
            &self,
            _: &Uri,
            _: &ureq::config::Config,
            _: NextTimeout,
        ) -> Result<ResolvedSocketAddrs, ureq::Error> {
            let mut out = self.empty();
            for address in self.0.lock().pop_front().ok_or(ureq::Error::HostNotFound)? {
                out.push(address);
            }
            Ok(out)
        }
    }

    fn script(answers: &[&[SocketAddr]]) -> Box<Script> {
        Box::new(Script(Arc::new(Mutex::new(answers.iter().map(|a| a.to_vec()).collect()))))
    }

    /// Something that would answer, and whether it was asked.
    fn server() -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret");
            }
        });
        (address, count)
    }

    #[test]
    fn names_that_lead_home_are_refused_whatever_else_they_lead_to() {
        let (home, asked) = server();
        let public: SocketAddr = "93.184.216.34:80".parse().unwrap();
        let mapped = SocketAddr::new("::ffff:127.0.0.1".parse::<IpAddr>().unwrap(), home.port());
        let metadata: SocketAddr = "169.254.169.254:80".parse().unwrap();
        for answers in [&[home][..], &[public, home], &[home, public], &[mapped], &[public, metadata]] {
            let url = format!("http://rebind.example:{}/", home.port());
            let error = fetch_through(script(&[answers]), &url, &LIMITS, &[]).unwrap_err();
            assert!(matches!(error, FetchError::Blocked(Blocked::Resolved)), "{answers:?}: {error:?}");
            assert_eq!(error.to_string(), "Blocked: resolves to private/internal/special-use IP address");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0, "nothing was ever sent");
    }

    #[test]
    fn a_name_is_looked_up_for_each_connection_and_judged_each_time() {
        let (home, asked) = server();
        // The first answer is public (and nobody is there), the second is home.
        let names = script(&[&["192.0.2.1:9".parse().unwrap()], &[home]]);
        let queue = names.0.clone();
        let guard = Guard { names };
        let uri: Uri = "http://rebind.example/".parse().unwrap();
        let config = Agent::config_builder().build();
        queue.lock()[0] = vec!["93.184.216.34:80".parse().unwrap()];
        let first = guard.resolve(&uri, &config, NextTimeout::default()).unwrap();
        assert_eq!(first.iter().map(ToString::to_string).collect::<Vec<_>>(), ["93.184.216.34:80"]);
        assert!(guard.resolve(&uri, &config, NextTimeout::default()).is_err());
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn addresses_are_judged_before_anybody_is_asked() {
        let (home, asked) = server();
        let port = home.port();
        for host in [
            "127.0.0.1",
            "localhost",
            "LOCALHOST.",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "0.0.0.0",
            "[::]",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
            "127.1",
            "127.0.1",
            "a.localhost",
        ] {
            let error = fetch_bytes(&format!("http://{host}:{port}/"), &LIMITS, &[]).unwrap_err();
            assert_eq!(error.to_string(), "Blocked hostname or private/internal/special-use IP address", "{host}");
        }
        for (url, text) in [
            ("ftp://example.com/", "Invalid URL: must be http or https"),
            ("http://x@127.0.0.1/", "Invalid URL: user names and passwords in addresses are not supported"),
            ("http://[::1%25lo]/", "Invalid URL"),
        ] {
            assert_eq!(fetch_bytes(url, &LIMITS, &[]).unwrap_err().to_string(), text);
        }
        let error = fetch_bytes("http://other.example/", &LIMITS, &["files.example".into()]).unwrap_err();
        assert_eq!(error.to_string(), "Blocked hostname (not in allowlist)");
        assert_eq!(asked.load(Ordering::SeqCst), 0, "nothing was ever sent");
    }
}
