//! A server as a process: started, looked at through /proc, stopped. Whatever happens, it does not outlive us.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use crate::home::Home;
use crate::limit::Sizes;
use crate::ws::{Client, Door, PATIENCE};
use crate::{Result, fail};

/// Process ids for the signal handler; 0 is a free place.
static CHILDREN: [AtomicI32; 8] = [const { AtomicI32::new(0) }; 8];

/// How to start a server.
pub enum Recipe<'a> {
    Gateway { binary: &'a Path, home: &'a Home },
    Limit { sizes: &'a Sizes },
}

pub struct Server {
    child: Child,
    pub door: Door,
    console: Option<PathBuf>,
    /// Moment of the exec.
    started: Instant,
}

#[derive(Clone, Copy)]
pub struct Memory {
    /// Resident and resident anonymous memory, kB.
    pub rss: u64,
    pub anonymous: u64,
}

impl Server {
    /// Starts it and waits until a client has its hello-ok; the time from exec to there.
    pub fn start(recipe: &Recipe) -> Result<(Server, Duration)> {
        let server = Server::spawn(recipe)?;
        let client = server.first_client()?;
        let took = server.started.elapsed();
        client.close()?;
        Ok((server, took))
    }

    pub fn spawn(recipe: &Recipe) -> Result<Server> {
        let (mut command, port, token, console) = match recipe {
            Recipe::Gateway { binary, home } => {
                let mut command = home.command(binary);
                command.args(["gateway", "--port", &home.port.to_string()]).stdin(Stdio::null());
                let console = home.root.join("console.log");
                let file = fs::File::create(&console)?;
                command.stdout(file.try_clone()?).stderr(file);
                (command, home.port, home.token.clone(), Some(console))
            }
            Recipe::Limit { sizes } => {
                let port = free_port()?;
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["--limit-server", "--port", &port.to_string()]);
                command.args(["--hello-bytes", &sizes.hello.to_string(), "--health-bytes", &sizes.health.to_string()]);
                command.stdin(Stdio::piped());
                (command, port, "limit".into(), None)
            }
        };
        // A group of its own: Ctrl-C reaches only us, and we end it.
        command.process_group(0);
        let started = Instant::now();
        let child = command.spawn()?;
        remember(child.id() as i32);
        let door = Door { addr: SocketAddr::from(([127, 0, 0, 1], port)), token };
        Ok(Server { child, door, console, started })
    }

    /// Tries until the port answers. The first connection that is accepted must also be served.
    fn first_client(&self) -> Result<Client> {
        loop {
            match TcpStream::connect_timeout(&self.door.addr, PATIENCE) {
                Ok(stream) => return Client::over(stream, &self.door, None),
                Err(_) if !alive(self.pid()) => return fail(format!("the server ended at once{}", self.last_words())),
                Err(error) if self.started.elapsed() > PATIENCE => {
                    return fail(format!("the server does not listen: {error}{}", self.last_words()));
                }
                Err(_) => std::thread::sleep(Duration::from_micros(100)),
            }
        }
    }

    /// Tries until `work` succeeds.
    pub fn wait_for(&self, work: impl Fn(&Door) -> Result<()>) -> Result<()> {
        loop {
            match work(&self.door) {
                Ok(()) => return Ok(()),
                Err(_) if !alive(self.pid()) => return fail(format!("the server ended at once{}", self.last_words())),
                Err(error) if self.started.elapsed() > PATIENCE => {
                    return fail(format!("the server does not answer: {error}{}", self.last_words()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn last_words(&self) -> String {
        let text = self.console.as_ref().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let from = text.len().saturating_sub(600);
        let tail = text.char_indices().find(|(at, _)| *at >= from).map_or("", |(at, _)| &text[at..]);
        if tail.is_empty() { String::new() } else { format!("; it said:\n{}", tail.trim_end()) }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn memory(&self) -> Result<Memory> {
        let status = self.read("status")?;
        Ok(Memory { rss: field(&status, "VmRSS:"), anonymous: field(&status, "RssAnon:") })
    }

    /// Processor time of all threads that it ever had, in nanoseconds.
    pub fn cpu(&self) -> Result<Duration> {
        let mut clock: libc::clockid_t = 0;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: both calls write only to the variable whose address they get.
        let failed = unsafe {
            libc::clock_getcpuclockid(self.pid(), &mut clock) != 0 || libc::clock_gettime(clock, &mut time) != 0
        };
        if failed {
            return fail("the server's processor clock cannot be read");
        }
        Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }

    /// How often its threads went to sleep of their own accord, which is how often they were woken.
    pub fn wakeups(&self) -> Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            // A thread may end while we look.
            let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
            sum += field(&status, "voluntary_ctxt_switches:");
        }
        Ok(sum)
    }

    /// Processor time of the threads of this name that live.
    pub fn thread_cpu(&self, name: &str) -> Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let folder = task?.path();
            if fs::read_to_string(folder.join("comm")).is_ok_and(|comm| comm.trim() == name) {
                let times = fs::read_to_string(folder.join("schedstat")).unwrap_or_default();
                nanos += times.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    pub fn threads(&self) -> Result<u64> {
        Ok(field(&self.read("status")?, "Threads:"))
    }

    /// Bytes that reached the block layer, and bytes handed to `write`.
    pub fn written(&self) -> Result<(u64, u64)> {
        let io = self.read("io")?;
        Ok((field(&io, "write_bytes:"), field(&io, "wchar:")))
    }

    fn read(&self, file: &str) -> Result<String> {
        Ok(fs::read_to_string(format!("/proc/{}/{file}", self.pid()))?)
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: no pointers; the child has not been waited for, so the id is its own.
        unsafe { libc::kill(self.pid(), signal) };
    }

    /// SIGTERM; the time until it is gone.
    pub fn stop(mut self) -> Result<Duration> {
        let begin = Instant::now();
        self.signal(libc::SIGTERM);
        self.wait_exit(begin)
    }

    /// Waits for the exit; the time since `begin`.
    pub fn wait_exit(&mut self, begin: Instant) -> Result<Duration> {
        while self.child.try_wait()?.is_none() {
            if begin.elapsed() > PATIENCE {
                return fail(format!("the server does not stop within {} s of SIGTERM", PATIENCE.as_secs()));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(begin.elapsed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        forget(self.pid());
    }
}

/// What one command cost.
pub struct Cost {
    pub time: Duration,
    /// Largest resident memory, kB.
    pub max_rss: u64,
    pub status: i32,
}

/// Runs a command through a small process of our own: a child's peak memory also counts the program it was
/// started from, and ours has become large by then.
pub fn measure_command(mut command: Command) -> Result<Cost> {
    let program = command.get_program().to_owned();
    let mut through = Command::new(std::env::current_exe()?);
    through.arg("--measure-child").arg(program).args(command.get_args());
    through.env_clear().envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    command.stdin(Stdio::null());
    let output = through.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [nanos, max_rss, status] = numbers[..] else { return fail("the measuring process died") };
    Ok(Cost { time: Duration::from_nanos(nanos), max_rss, status: status as i32 })
}

/// The small process: prints nanoseconds, peak memory in kB and exit code of one command.
pub fn measure_child(words: &[String]) -> Result<()> {
    let [program, args @ ..] = words else { return fail("--measure-child wants a command") };
    let begin = Instant::now();
    let child = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut status = 0;
    // SAFETY: zeroes are a valid rusage; wait4 writes only to the two variables whose addresses it gets.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::alarm(PATIENCE.as_secs() as u32);
        if libc::wait4(child.id() as i32, &mut status, 0, &mut usage) < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        usage
    };
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 255 };
    println!("{} {} {code}", begin.elapsed().as_nanos(), usage.ru_maxrss);
    Ok(())
}

pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// SIGINT and SIGTERM end the servers first.
pub fn end_children_on_signals() {
    extern "C" fn end(_: i32) {
        for place in &CHILDREN {
            let pid = place.load(Ordering::SeqCst);
            if pid > 0 {
                // SAFETY: kill is safe in a signal handler.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
        // SAFETY: as above.
        unsafe { libc::_exit(130) };
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler does nothing that is forbidden in one.
        unsafe { libc::signal(signal, end as *const () as libc::sighandler_t) };
    }
}

fn remember(pid: i32) {
    for place in &CHILDREN {
        if place.compare_exchange(0, pid, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            return;
        }
    }
}

fn forget(pid: i32) {
    for place in &CHILDREN {
        let _ = place.compare_exchange(pid, 0, Ordering::SeqCst, Ordering::SeqCst);
    }
}

fn alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !status.contains("State:\tZ"))
}

/// The number after `name` at the start of a line; 0 without one.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
