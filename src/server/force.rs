//! `--force` (cli 3.4, DECISIONS 97).
use std::net::SocketAddr;

/// Ends whatever listens on the port. `say` gets the lines `force: …` (subsystem gateway). Err = `Force: Error: …`, exit 1.
pub fn free_port(_port: u16, _say: &mut dyn FnMut(&str)) -> crate::error::Result<()> {
    Ok(())
}

/// Waits (3 s) until the address can be bound.
pub fn wait_bindable(_address: SocketAddr, _say: &mut dyn FnMut(&str)) -> crate::error::Result<()> {
    Ok(())
}
