//! The real binary in a home of its own, clients for it, and upstreams for it. Everything on loopback, every wait on a
//! condition with one patience for all: `OPENCLAW_TEST_PATIENCE` stretches it on slow machines.

#![allow(dead_code, reason = "each chapter uses its part")]

pub mod client;
pub mod golden;
pub mod model;
#[cfg(target_os = "linux")]
pub mod mounts;
pub mod raw;
pub mod tls;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use openclaw::sys::process::{self, Sig};
use serde_json::{Value, json};

/// The token of every test gateway that has one.
pub const TOKEN: &str = "test-token-0123456789abcdef";

/// How long a condition may take to come true: 20 s times OPENCLAW_TEST_PATIENCE.
pub fn patience() -> Duration {
    let factor = std::env::var("OPENCLAW_TEST_PATIENCE").ok().and_then(|v| v.parse::<f64>().ok()).unwrap_or(1.0);
    Duration::from_secs_f64(20.0 * factor.max(0.1))
}

/// Waits until `condition` gives something.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// The program under test: OPENCLAW_TEST_BINARY, which contrib/cross sets for binaries of other machines, or this build's.
pub fn binary() -> String {
    std::env::var("OPENCLAW_TEST_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_openclaw").to_owned())
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound").port()
}

/// A HOME of its own, removed with everything in it.
pub struct Home {
    dir: PathBuf,
}

impl Default for Home {
    fn default() -> Self {
        Home::new()
    }
}

impl Home {
    pub fn new() -> Home {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("openclaw-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).expect("a temporary directory");
        Home { dir }
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    pub fn state(&self) -> PathBuf {
        self.dir.join(".openclaw")
    }

    pub fn config_path(&self) -> PathBuf {
        self.state().join("openclaw.json")
    }

    /// Writes the configuration as it stands.
    pub fn write_config(&self, text: &str) {
        fs::create_dir_all(self.state()).expect("state directory");
        fs::write(self.config_path(), text).expect("configuration");
    }

    /// Writes a configuration: `gateway.mode` local, the token, and `more` merged over it.
    pub fn configure(&self, more: Value) {
        let mut config = json!({"gateway": {"mode": "local", "auth": {"mode": "token", "token": TOKEN}}});
        merge(&mut config, more);
        self.write_config(&config.to_string());
    }

    /// The program with nothing of this machine's environment but PATH.
    pub fn command(&self, args: &[&str]) -> Command {
        self.program(&binary(), args)
    }

    /// Another program (a shell, `script`) in the same environment.
    pub fn program(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(name);
        command.args(args).env_clear().env("HOME", &self.dir).env("TMPDIR", self.dir.join("tmp"));
        command.env("LOGS_DIRECTORY", self.dir.join("logs")).env("TZ", "UTC");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if let Some(trace) = std::env::var_os("RUST_BACKTRACE") {
            command.env("RUST_BACKTRACE", trace);
        }
        fs::create_dir_all(self.dir.join("tmp")).expect("tmp");
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command to its end; a command that hangs fails the test.
    pub fn run(&self, args: &[&str]) -> Output {
        finish(self.command(args))
    }

    /// Text of the log files of this home.
    pub fn log_text(&self) -> String {
        let Ok(files) = fs::read_dir(self.dir.join("logs")) else { return String::new() };
        files.flatten().filter_map(|f| fs::read_to_string(f.path()).ok()).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Runs a prepared command to its end, killing it when patience runs out.
pub fn finish(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut readers = Vec::new();
    for pipe in [child.stdout.take().map(Pipe::Out), child.stderr.take().map(Pipe::Err)].into_iter().flatten() {
        readers.push(thread::spawn(move || {
            let mut bytes = Vec::new();
            match pipe {
                Pipe::Out(mut p) => p.read_to_end(&mut bytes),
                Pipe::Err(mut p) => p.read_to_end(&mut bytes),
            }
            .expect("a pipe");
            bytes
        }));
    }
    let deadline = Instant::now() + patience();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the command did not end: {command:?}");
        }
        thread::sleep(Duration::from_millis(5));
    };
    let mut outputs = readers.into_iter().map(|r| r.join().expect("a reader"));
    let (stdout, stderr) = (outputs.next().unwrap_or_default(), outputs.next().unwrap_or_default());
    Output { status, stdout, stderr }
}

enum Pipe {
    Out(std::process::ChildStdout),
    Err(std::process::ChildStderr),
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running gateway. Dropped, it is killed.
pub struct Gateway {
    child: Child,
    pub port: u16,
    /// Lines of both outputs so far.
    lines: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    /// Starts `gateway` with these further arguments and waits until it listens.
    pub fn start(home: &Home, args: &[&str]) -> Gateway {
        Gateway::start_with(home, args, |_| {})
    }

    /// The same with a change to the command (environment, limits).
    pub fn start_with(home: &Home, args: &[&str], change: impl FnOnce(&mut Command)) -> Gateway {
        let mut gateway = Gateway::spawn(home, args, change);
        wait_until("the gateway to listen", || {
            if let Some(status) = gateway.child.try_wait().expect("a child") {
                panic!("the gateway ended with {status}:\n{}", gateway.output());
            }
            gateway.output().contains("listening on ws")
        });
        gateway
    }

    /// Starts it without waiting for anything.
    pub fn spawn(home: &Home, args: &[&str], change: impl FnOnce(&mut Command)) -> Gateway {
        let port = free_port();
        let port_text = port.to_string();
        let mut all = vec!["gateway", "--port", &port_text];
        all.extend(args);
        Gateway::spawn_args(home, port, &all, change)
    }

    pub fn spawn_args(home: &Home, port: u16, args: &[&str], change: impl FnOnce(&mut Command)) -> Gateway {
        let mut command = home.command(args);
        change(&mut command);
        Gateway::spawn_command(command, port)
    }

    /// Starts a prepared command that becomes a gateway on this port.
    pub fn spawn_command(mut command: Command, port: u16) -> Gateway {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        collect(BufReader::new(out), lines.clone());
        collect(BufReader::new(err), lines.clone());
        Gateway { child, port, lines }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn output(&self) -> String {
        self.lines.lock().expect("lines").join("\n")
    }

    /// Waits for a line with this text on either output.
    pub fn wait_line(&self, text: &str) {
        wait_until(&format!("a line with {text:?}"), || self.output().contains(text));
    }

    /// How many lines with this text there are.
    pub fn count_lines(&self, text: &str) -> usize {
        self.lines.lock().expect("lines").iter().filter(|line| line.contains(text)).count()
    }

    pub fn signal(&self, signal: Sig) {
        process::signal(self.pid(), signal).expect("our own child");
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the end.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + patience();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the gateway did not end:\n{}", self.output());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// SIGTERM and the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Sig::Term);
        self.wait_exit().code()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// A field of /proc/<pid>/status in kB or as a count: VmRSS, RssAnon, Threads …
    pub fn proc_status(&self, field: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = text.lines().find(|l| l.starts_with(&format!("{field}:"))).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// One HTTP request on a connection of its own: status, headers as text, body.
    pub fn http(&self, request: &str) -> (u16, String, String) {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream.set_read_timeout(Some(patience())).expect("a socket");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        (status, head.to_owned(), body.to_owned())
    }

    pub fn get(&self, path: &str) -> (u16, String, String) {
        self.http(&format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("── the gateway said ──\n{}", self.output());
        }
    }
}

fn collect(reader: impl BufRead + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in reader.lines().map_while(Result::ok) {
            lines.lock().expect("lines").push(line);
        }
    });
}

/// Objects are merged, everything else replaces.
pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
