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

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
/// Save configuration and state in one file, check it, put it back.
#[argh(
    subcommand,
    name = "backup",
    help_triggers("-h", "--help"),
    example = "openclaw backup create --output /mnt/usb",
    example = "openclaw backup verify /mnt/usb/*-openclaw-backup.tar"
)]
pub struct Backup {
    #[argh(subcommand)]
    pub command: Option<BackupCommand>,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum BackupCommand {
    Create(BackupCreate),
    Verify(BackupVerify),
    Restore(BackupRestore),
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Write configuration and state to one tar file that only its owner can read. It holds secrets.
#[argh(
    subcommand,
    name = "create",
    help_triggers("-h", "--help"),
    example = "openclaw backup create --verify",
    note = "Left out: logs, locks, temporary files, sockets, links."
)]
pub struct BackupCreate {
    /// file to write, or the directory for it (default: DATE-openclaw-backup.tar here)
    #[argh(option, arg_name = "path")]
    pub output: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// only say what would be saved
    #[argh(switch)]
    pub dry_run: bool,
    /// read the backup again and compare
    #[argh(switch)]
    pub verify: bool,
    /// only the configuration file
    #[argh(switch)]
    pub only_config: bool,
    /// without the agents' workspaces
    #[argh(switch)]
    pub no_include_workspace: bool,
    /// with the logs in the state directory
    #[argh(switch)]
    pub include_logs: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Read a backup and compare each file with its sum.
#[argh(
    subcommand,
    name = "verify",
    help_triggers("-h", "--help"),
    example = "openclaw backup verify openclaw-backup.tar"
)]
pub struct BackupVerify {
    /// the backup
    #[argh(positional)]
    pub archive: String,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Put a backup in the place of configuration and state; what was there is kept aside.
#[argh(
    subcommand,
    name = "restore",
    help_triggers("-h", "--help"),
    example = "openclaw backup restore openclaw-backup.tar",
    example = "openclaw gateway stop && openclaw backup restore --force openclaw-backup.tar"
)]
pub struct BackupRestore {
    /// the backup
    #[argh(positional)]
    pub archive: String,
    /// replace the state that is there
    #[argh(switch)]
    pub force: bool,
    /// also while a gateway runs on that state
    #[argh(switch)]
    pub allow_running: bool,
    /// place of a workspace that was saved from outside the state directory
    #[argh(option, arg_name = "dir")]
    pub workspace: Option<String>,
    /// only verify and say what would be replaced
    #[argh(switch)]
    pub dry_run: bool,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}
