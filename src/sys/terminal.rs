//! The terminal behind standard output and input.

#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(unix)]
use std::sync::{Once, OnceLock};

/// Its width in columns; None when there is no terminal or it does not say.
#[cfg(unix)]
pub fn columns() -> Option<usize> {
    // SAFETY: TIOCGWINSZ fills a winsize, which lives on this stack; a failed call is seen in the result.
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        (libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ as _, &mut size) == 0).then_some(size)
    };
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

#[cfg(not(unix))]
pub fn columns() -> Option<usize> {
    None
}

/// What is typed is not shown until this is dropped, or until a signal ends or stops the process. None where standard
/// input is no terminal.
#[cfg(unix)]
pub fn hide_input() -> Option<HiddenInput> {
    // SAFETY: the call gets a termios that lives on this stack; its failure is seen in the result.
    let before = unsafe {
        let mut before: libc::termios = std::mem::zeroed();
        (libc::tcgetattr(libc::STDIN_FILENO, &mut before) == 0).then_some(before)
    }?;
    watch_signals();
    BEFORE.get_or_init(|| before);
    HIDDEN.store(true, Ordering::SeqCst);
    set(&silent(before)).then_some(HiddenInput { before })
}

#[cfg(unix)]
pub struct HiddenInput {
    before: libc::termios,
}

#[cfg(unix)]
impl Drop for HiddenInput {
    fn drop(&mut self) {
        set(&self.before);
        HIDDEN.store(false, Ordering::SeqCst);
    }
}

/// The terminal as it was before the first question, for the handlers.
#[cfg(unix)]
static BEFORE: OnceLock<libc::termios> = OnceLock::new();
#[cfg(unix)]
static HIDDEN: AtomicBool = AtomicBool::new(false);

#[cfg(unix)]
fn silent(mut shown: libc::termios) -> libc::termios {
    shown.c_lflag &= !libc::ECHO;
    shown
}

#[cfg(unix)]
fn set(to: &libc::termios) -> bool {
    // SAFETY: a whole termios, as tcgetattr gave it; a failed call is seen in the result.
    unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, to) == 0 }
}

/// Ctrl-C, Ctrl-\, Ctrl-Z and SIGTERM do what they always do, but not before the terminal shows again what is typed.
/// The handlers stay: without a hidden question they do only the former.
#[cfg(unix)]
fn watch_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGQUIT, libc::SIGTSTP] {
            // SAFETY: the handler calls only what POSIX allows in one: tcsetattr, write, and raising the signal.
            let _ = unsafe { signal_hook::low_level::register(signal, move || interrupted(signal)) };
        }
    });
}

#[cfg(unix)]
fn interrupted(signal: i32) {
    let before = BEFORE.get().filter(|_| HIDDEN.load(Ordering::SeqCst));
    if let Some(before) = before {
        set(before);
        // SAFETY: one byte of a constant.
        unsafe { libc::write(libc::STDERR_FILENO, b"\n".as_ptr().cast(), 1) };
    }
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    // Still here: it was stopped, and goes on.
    if let Some(before) = before {
        set(&silent(*before));
    }
}

#[cfg(not(unix))]
pub struct HiddenInput;

#[cfg(not(unix))]
pub fn hide_input() -> Option<HiddenInput> {
    None
}
