//! The terminal behind standard output.

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
