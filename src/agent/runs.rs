//! (stub until merged)
use std::thread::JoinHandle;
use std::time::Instant;
#[derive(Clone)]
pub struct RunsHandle;
impl RunsHandle {
    pub fn stop(&self, _deadline: Instant) {}
    pub fn active(&self) -> usize {
        0
    }
}
pub fn start(_: ()) -> std::io::Result<(RunsHandle, JoinHandle<()>)> {
    Ok((RunsHandle, std::thread::spawn(|| {})))
}
