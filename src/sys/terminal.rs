//! The terminal behind standard output and input.

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

/// What is typed is not shown until this is dropped. None where standard input is no terminal.
#[cfg(unix)]
pub fn hide_input() -> Option<HiddenInput> {
    // SAFETY: both calls get a termios that lives on this stack; failures are seen in their results.
    unsafe {
        let mut before: libc::termios = std::mem::zeroed();
        if libc::tcgetattr(libc::STDIN_FILENO, &mut before) != 0 {
            return None;
        }
        let mut silent = before;
        silent.c_lflag &= !libc::ECHO;
        (libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &silent) == 0).then_some(HiddenInput { before })
    }
}

#[cfg(unix)]
pub struct HiddenInput {
    before: libc::termios,
}

#[cfg(unix)]
impl Drop for HiddenInput {
    fn drop(&mut self) {
        // SAFETY: puts back what tcgetattr gave.
        unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &self.before) };
    }
}

#[cfg(not(unix))]
pub struct HiddenInput;

#[cfg(not(unix))]
pub fn hide_input() -> Option<HiddenInput> {
    None
}
