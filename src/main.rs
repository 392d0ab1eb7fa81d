fn main() -> std::process::ExitCode {
    openclaw::sys::memory::tune();
    let mut o = openclaw::gateway::RunOptions::default();
    let a: Vec<String> = std::env::args().collect();
    o.port = a.get(1).cloned();
    o.allow_unconfigured = true;
    o.verbose = a.get(2).is_some();
    match openclaw::gateway::run(o) {
        Ok(c) => c.into(),
        Err(e) => {
            eprintln!("{e}");
            e.code.into()
        }
    }
}
