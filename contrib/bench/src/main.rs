//! Measures a gateway and, in the same run, the least that any server could spend on the same work.
//!
//! One program: load generator, model endpoint without latency, and (as a child of itself) the limit server.
//! README.md says what each line of the table means. Linux only: it reads /proc.

mod device;
mod home;
mod limit;
mod measures;
mod model;
mod process;
mod swarm;
mod table;
mod tls;
mod ws;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use home::Home;
use limit::Sizes;
use model::Model;
use process::{Recipe, Server};
use table::Table;

pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Error>;

pub fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(message.into().into())
}

const USAGE: &str = "\
usage: openclaw-bench [--gateway FILE] [--only MODE,MODE,...] [--quick] [--keep] [--dir DIR] [--self-test]
       openclaw-bench --limit-server [--port N] [--echo] [--hello-bytes N] [--health-bytes N]

  --gateway FILE   the program to measure (default: target/release/openclaw of this repository)
  --only MODES     some of: start connect rpc idle fanout agent http growth big cli config stop reload sessions10k
  --quick          a tenth of the work: to see that everything runs, not to judge
  --dir DIR        where the temporary homes go (default: beside this program; a real disk, not tmpfs)
  --keep           leave the homes behind, with the gateway's log and console output
  --self-test      measure the limit server against itself: every ratio should come out near 1
  --limit-server   be the limit server, until standard input ends; --echo makes it an echo server

Exit: 0 every target met, 1 one was missed, 2 nothing could be measured.";

pub struct Bench {
    pub binary: PathBuf,
    pub model: Model,
    pub sizes: Sizes,
    pub self_test: bool,
    quick: bool,
    keep: bool,
    base: PathBuf,
}

impl Bench {
    pub fn home(&self, name: &str, sessions: usize) -> Result<Home> {
        Home::create(&self.base, name, self.model.port, sessions, self.keep)
    }

    /// Recipe for the server under test.
    pub fn ours<'a>(&'a self, home: &'a Home) -> Recipe<'a> {
        if self.self_test { self.limit() } else { Recipe::Gateway { binary: &self.binary, home } }
    }

    pub fn limit(&self) -> Recipe<'_> {
        Recipe::Limit { sizes: &self.sizes }
    }

    /// `count`, or a tenth of it in a quick run.
    pub fn many(&self, count: usize) -> usize {
        if self.quick { (count / 10).max(2) } else { count }
    }

    /// One gateway and one limit server, both ready; the gateway has been started once before.
    pub fn pair(&self, home: &Home) -> Result<(Server, Server)> {
        let (first, _) = Server::start(&self.ours(home))?;
        first.stop()?;
        Ok((Server::start(&self.ours(home))?.0, Server::start(&self.limit())?.0))
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.first().map(String::as_str) {
        Some("--measure-child") => process::measure_child(&words[1..]).map(|()| ExitCode::SUCCESS),
        _ => Options::parse(&words).and_then(run),
    };
    done.unwrap_or_else(|error| {
        eprintln!("openclaw-bench: {error}");
        ExitCode::from(2)
    })
}

struct Options {
    gateway: PathBuf,
    only: Vec<String>,
    dir: Option<PathBuf>,
    quick: bool,
    keep: bool,
    self_test: bool,
    limit_server: bool,
    echo: bool,
    port: u16,
    sizes: Sizes,
}

impl Options {
    fn parse(words: &[String]) -> Result<Options> {
        let mut options = Options {
            gateway: concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/release/openclaw").into(),
            only: measures::MODES.iter().map(|(name, _)| (*name).to_owned()).collect(),
            dir: None,
            quick: false,
            keep: false,
            self_test: false,
            limit_server: false,
            echo: false,
            port: 9001,
            sizes: Sizes { hello: 4500, health: 900 },
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value =
                || words.next().cloned().ok_or_else(|| Error::from(format!("{word} wants a value\n{USAGE}")));
            match word.as_str() {
                "--gateway" => options.gateway = value()?.into(),
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--dir" => options.dir = Some(value()?.into()),
                "--port" => options.port = value()?.parse()?,
                "--hello-bytes" => options.sizes.hello = value()?.parse()?,
                "--health-bytes" => options.sizes.health = value()?.parse()?,
                "--keep" => options.keep = true,
                "--quick" => options.quick = true,
                "--self-test" => options.self_test = true,
                "--limit-server" => options.limit_server = true,
                "--echo" => options.echo = true,
                _ => return fail(format!("unknown argument {word}\n{USAGE}")),
            }
        }
        if let Some(name) = options.only.iter().find(|name| measures::MODES.iter().all(|(mode, _)| mode != name)) {
            return fail(format!("unknown mode {name}\n{USAGE}"));
        }
        Ok(options)
    }
}

fn run(options: Options) -> Result<ExitCode> {
    if options.limit_server {
        limit::serve(options.port, &options.sizes, options.echo)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Ok(binary) = options.gateway.canonicalize() else {
        return fail(format!(
            "no gateway at {}: build it with `cargo build --release`, or name one with --gateway",
            options.gateway.display()
        ));
    };
    process::end_children_on_signals();
    // Stores hold secrets: the gateway would write them for their owner alone, and so do we.
    // SAFETY: changes one number of this process.
    unsafe { libc::umask(0o077) };
    let beside = || std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("bench-homes")));
    let base = options.dir.or_else(beside).unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&base)?;
    let mut bench = Bench {
        binary,
        model: Model::start()?,
        sizes: options.sizes,
        self_test: options.self_test,
        quick: options.quick,
        keep: options.keep,
        base: base.canonicalize()?,
    };
    if !bench.self_test {
        bench.sizes = measured_sizes(&bench)?;
    }
    println!(
        "{} on {} processors; frames of hello-ok {} and health {} bytes; fdatasync here takes {:.2} ms",
        bench.binary.display(),
        std::thread::available_parallelism().map_or(1, |count| count.get()),
        bench.sizes.hello,
        bench.sizes.health,
        sync_time(&bench)?.as_secs_f64() * 1e3,
    );
    let mut table = Table::default();
    table.head();
    for (name, measure) in measures::MODES {
        if options.only.iter().any(|wanted| wanted == name)
            && let Err(error) = measure(&bench, &mut table)
        {
            table.failed(name, &error);
        }
    }
    println!("{} lines, {} missed", table.rows, table.missed);
    Ok(ExitCode::from(u8::from(table.missed > 0)))
}

/// The limit server's answers are as long as the gateway's.
fn measured_sizes(bench: &Bench) -> Result<Sizes> {
    let home = bench.home("sizes", 0)?;
    let (server, _) = Server::start(&bench.ours(&home))?;
    let mut client = ws::Client::connect(&server.door, None)?;
    let sizes = Sizes { hello: client.hello_bytes, health: client.call("health", "{}")?.len() };
    client.close()?;
    server.stop()?;
    Ok(sizes)
}

/// Median time of a small synced write where the homes are: what the disk adds to every turn.
fn sync_time(bench: &Bench) -> Result<Duration> {
    use std::io::Write;
    let path = bench.base.join(format!("sync-{}", std::process::id()));
    let mut file = std::fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..20 {
        file.write_all(&[b'x'; 200])?;
        let begin = Instant::now();
        file.sync_data()?;
        times.push(begin.elapsed());
    }
    std::fs::remove_file(path)?;
    Ok(measures::median(&mut times))
}
