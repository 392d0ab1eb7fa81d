//! The canvas host (http 10): pages that agents show to people, who may see them, and what tells open pages that a file
//! has changed. The doors serve what is found here.

pub mod capabilities;
pub mod page;
pub mod watch;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::capabilities::Capabilities;
use self::watch::Watch;
use crate::store::atomic;

/// Where pages, the A2UI renderer and the reload socket stand on the gateway's port.
pub const CANVAS_PATH: &str = "/__openclaw__/canvas";
pub const A2UI_PATH: &str = "/__openclaw__/a2ui";
pub const SOCKET_PATH: &str = "/__openclaw__/ws";
/// The same, for whoever has a capability: `/__openclaw__/cap/<capability>/__openclaw__/canvas/…`.
pub const CAPABILITY_PATH: &str = "/__openclaw__/cap";
/// The capability as a parameter of a query.
pub const CAPABILITY_PARAMETER: &str = "oc_cap";

/// One life's canvas host.
pub struct Canvas {
    pub root: PathBuf,
    /// Files of the A2UI renderer, when somebody has put them there.
    pub a2ui_root: PathBuf,
    pub capabilities: Capabilities,
    /// None: pages are not reloaded.
    pub watch: Option<Arc<Watch>>,
    /// A further port that serves nothing else.
    pub port: Option<u16>,
}

impl Canvas {
    /// Creates the directory, and a page to begin with where there is none. Err says why nothing can be served from
    /// there.
    pub fn open(root: PathBuf, state_dir: &Path, live_reload: bool, port: Option<u16>) -> Result<Canvas, String> {
        if encloses(&root, state_dir) {
            return Err("canvasHost.root contains the state directory, whose files are secret".into());
        }
        if let Err(e) = seed(&root) {
            // What stands there already can be served all the same.
            log::warn!(target: "canvas", "no starter page in {}: {e}", root.display());
        }
        Ok(Canvas {
            a2ui_root: state_dir.join("a2ui"),
            capabilities: Capabilities::default(),
            watch: live_reload.then(|| Watch::new(root.clone())),
            root,
            port,
        })
    }

    /// Ends what runs.
    pub fn close(&self) {
        self.watch.iter().for_each(|watch| watch.close());
    }
}

/// `dir`, or something below it, is the other directory.
pub fn encloses(dir: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(other).starts_with(real(dir))
}

fn seed(root: &Path) -> io::Result<()> {
    atomic::create_dirs(root)?;
    match atomic::new_private(&root.join("index.html")) {
        Ok(mut file) => file.write_all(page::STARTER.as_bytes()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sys::testing::TempDir;

    #[test]
    fn a_root_is_made_once_and_never_over_the_state() {
        let dir = TempDir::new("canvas");
        let state = dir.0.join("state");
        fs::create_dir_all(&state).unwrap();
        let root = state.join("canvas");
        let open = |root: &Path| Canvas::open(root.to_owned(), &state, true, None);
        assert!(open(&root).is_ok());
        assert_eq!(fs::read_to_string(root.join("index.html")).unwrap(), page::STARTER);
        fs::write(root.join("index.html"), "mine").unwrap();
        assert!(open(&root).is_ok());
        assert_eq!(fs::read_to_string(root.join("index.html")).unwrap(), "mine");
        for bad in [&state, &dir.0, Path::new("/"), &state.join("canvas/..")] {
            assert!(open(bad).is_err_and(|e| e.contains("state directory")), "{}", bad.display());
        }
        assert!(!state.join("index.html").exists());
    }
}
