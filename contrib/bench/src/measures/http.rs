//! The HTTP interfaces: probes on kept-alive connections, chat completions, and what an open stream occupies.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{TURN, TURNS, median, millis, per_second};
use crate::process::Server;
use crate::table::{Table, Target, Unit};
use crate::tls::{self, TlsStream};
use crate::ws::{Door, PATIENCE};
use crate::{Bench, Result, fail};

const STREAMS: usize = 64;
/// In kB.
const MOST_FOR_A_STREAM: Target = Target::AtMost(32.0);

pub fn http(bench: &Bench, table: &mut Table) -> Result<()> {
    let home = bench.home("http", 0)?;
    let (ours, limit) = bench.pair(&home)?;
    let (mut our_rates, mut limit_rates) = (Vec::new(), Vec::new());
    for _ in 0..bench.many(TURNS) {
        for (server, rates) in [(&ours, &mut our_rates), (&limit, &mut limit_rates)] {
            let mut pages = (0..8).map(|_| Page::open(&server.door)).collect::<Result<Vec<_>>>()?;
            rates.push(per_second(&mut pages, TURN, |page| page.get_health())?);
        }
    }
    let limit = Some(median(&mut limit_rates));
    let ratio = Target::RatioAtLeast(0.8);
    table.row("GET /health per second, 8 kept alive", Unit::PerSecond, median(&mut our_rates), limit, ratio);
    if bench.self_test {
        return Ok(());
    }
    let own = chat_cost(bench, &ours)?;
    table.row("chat completion, 200 chunks: own cost, p50", Unit::Millis, own, None, Target::AtMost(3.0));
    table.row(
        "memory for each of 64 open streams",
        Unit::Memory,
        stream_memory(&ours, Page::open)?,
        None,
        MOST_FOR_A_STREAM,
    );
    let home = bench.home("tls", 0)?;
    home.set_tls()?;
    let secure = Server::spawn(&bench.ours(&home))?;
    secure.wait_for(|door| Page::open_tls(door)?.get_health())?;
    let memory = stream_memory(&secure, Page::open_tls)?;
    table.row("  over TLS", Unit::Memory, memory, None, Target::AtMost(96.0));
    // With a lane for each, every stream has a turn with a connection to its model behind it.
    let home = bench.home("lanes", 0)?;
    home.set_lanes(STREAMS)?;
    let (ours, _) = Server::start(&bench.ours(&home))?;
    table.row("  all with a turn at work", Unit::Memory, stream_memory(&ours, Page::open)?, None, Target::None);
    Ok(())
}

/// Median time of a streamed completion without what the model endpoint took, in milliseconds.
fn chat_cost(bench: &Bench, server: &Server) -> Result<f64> {
    bench.model.prepare(200, 5);
    let mut page = Page::open(&server.door)?;
    let mut costs = Vec::new();
    for number in 0..bench.many(100) + 5 {
        bench.model.take_spent();
        let begin = Instant::now();
        let text = page.chat("chunks:200x5")?;
        let total = begin.elapsed();
        // Of the count of requests the last may be one behind: the answer is whole before it is counted.
        let (model, _) = bench.model.take_spent();
        if text.matches("wwwww").count() == 0 || !text.ends_with("data: [DONE]\n\n") {
            return fail(format!("not the model's answer: {text}"));
        }
        if number >= 5 {
            costs.push(millis(total.saturating_sub(model)));
        }
    }
    Ok(median(&mut costs))
}

/// Resident memory of one stream that has begun and waits for its model, in kB.
fn stream_memory<P: Pipe>(server: &Server, open: impl Fn(&Door) -> Result<Page<P>>) -> Result<f64> {
    std::thread::sleep(Duration::from_secs(4));
    let before = server.memory()?.anonymous;
    let mut pages = Vec::new();
    for _ in 0..STREAMS {
        let mut page = open(&server.door)?;
        page.ask("hold:")?;
        pages.push(page);
    }
    // Those that have a turn have begun by then.
    std::thread::sleep(Duration::from_secs(3));
    let (mut begun, mut byte) = (0, [0]);
    for page in &mut pages {
        page.read.get_ref().socket().set_nonblocking(true)?;
        begun += usize::from(page.read.get_mut().read(&mut byte).is_ok_and(|read| read > 0));
    }
    if begun == 0 {
        return fail("no stream has begun");
    }
    Ok((server.memory()?.anonymous as f64 - before as f64) / STREAMS as f64)
}

/// Plain or encrypted.
trait Pipe: Read + Write {
    fn socket(&self) -> &TcpStream;
}

impl Pipe for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Pipe for TlsStream {
    fn socket(&self) -> &TcpStream {
        self.get_ref()
    }
}

/// A kept-alive HTTP connection.
struct Page<P: Pipe = TcpStream> {
    read: BufReader<P>,
    door: Door,
    line: String,
    body: Vec<u8>,
}

impl Page {
    fn open(door: &Door) -> Result<Page> {
        Ok(Page::over(connect(door)?, door))
    }
}

impl Page<TlsStream> {
    fn open_tls(door: &Door) -> Result<Page<TlsStream>> {
        Ok(Page::over(tls::over(connect(door)?)?, door))
    }
}

fn connect(door: &Door) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&door.addr, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

impl<P: Pipe> Page<P> {
    fn over(pipe: P, door: &Door) -> Page<P> {
        Page { read: BufReader::new(pipe), door: door.clone(), line: String::new(), body: Vec::new() }
    }

    fn get_health(&mut self) -> Result<()> {
        let request = format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", self.door.addr);
        self.read.get_mut().write_all(request.as_bytes())?;
        let Some(length) = self.head()? else { return fail("GET /health answered without Content-Length") };
        self.body.resize(length, 0);
        Ok(self.read.read_exact(&mut self.body)?)
    }

    /// A streamed completion, to its end.
    fn chat(&mut self, message: &str) -> Result<String> {
        self.ask(message)?;
        self.head()?;
        let mut all = Vec::new();
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                return Ok(String::from_utf8(all)?);
            }
            all.extend_from_slice(&chunk);
        }
    }

    fn ask(&mut self, message: &str) -> Result<()> {
        let body = format!(
            "{{\"model\":\"openclaw\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"{message}\"}}]}}"
        );
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.door.addr,
            self.door.token,
            body.len()
        );
        Ok(self.read.get_mut().write_all(request.as_bytes())?)
    }

    /// Reads a head; its Content-Length.
    fn head(&mut self) -> Result<Option<usize>> {
        let (mut length, mut first) = (None, true);
        loop {
            self.line.clear();
            if self.read.read_line(&mut self.line)? == 0 {
                return fail("the server closed a connection that should be kept alive");
            }
            if std::mem::take(&mut first) && !self.line.starts_with("HTTP/1.1 200") {
                return fail(format!("the server answered {}", self.line.trim()));
            }
            match self.line.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = Some(value.trim().parse()?)
                }
                None if self.line.trim().is_empty() => return Ok(length),
                _ => {}
            }
        }
    }

    /// One chunk of a body; empty: the last.
    fn chunk(&mut self) -> Result<Vec<u8>> {
        self.line.clear();
        self.read.read_line(&mut self.line)?;
        let size = usize::from_str_radix(self.line.trim(), 16)?;
        let mut chunk = vec![0; size + 2];
        self.read.read_exact(&mut chunk)?;
        chunk.truncate(size);
        Ok(chunk)
    }
}
