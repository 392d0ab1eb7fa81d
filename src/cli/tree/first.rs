//! The part of the tree for the first and the last steps of an installation.

use argh::{ArgsInfo, FromArgs};

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Print a script that completes commands, options and configuration keys in a shell, or install it.
#[argh(
    subcommand,
    name = "completion",
    help_triggers("-h", "--help"),
    example = "source <(openclaw completion bash)      this shell only",
    example = "openclaw completion --install           for good, for the shell in SHELL",
    example = "openclaw completion fish > ~/.config/fish/completions/openclaw.fish"
)]
pub struct Completion {
    /// zsh, bash, powershell or fish (default: zsh; with --install the one in SHELL)
    #[argh(option, short = 's', arg_name = "shell")]
    pub shell: Option<String>,
    /// make the shell load the script whenever it starts
    #[argh(switch, short = 'i')]
    pub install: bool,
    /// write the scripts of all shells to completions/ in the state directory
    #[argh(switch)]
    pub write_state: bool,
    /// install without asking
    #[argh(switch, short = 'y')]
    pub yes: bool,
    /// the shell, as with --shell
    #[argh(positional, arg_name = "shell")]
    pub name: Option<String>,
}
