//! The command line: arguments to a command, a command to its exit code.
//!
//! Runs on the main thread. One file per command; `tree` has them all, `argv` reads the words, `help` explains,
//! `output` writes, `target` and `client` reach the gateway, `context` is what each command starts from.

use std::ffi::OsString;

use crate::config::{Source as _, paths};
use crate::error::{Error, Result};
use crate::store::source::FsSource;
use crate::{err, gateway, out};

pub mod agent;
pub mod agents;
pub mod argv;
pub mod audit;
pub mod backup;
pub mod call;
pub mod channels;
pub mod client;
pub mod completion;
pub mod config;
pub mod config_schema;
pub mod context;
pub mod dashboard;
pub mod devices;
pub mod discover;
pub mod doctor;
pub mod gateway_status;
pub mod health;
pub mod help;
pub mod hooks;
pub mod logs;
pub mod manual;
pub mod mdoc;
pub mod models;
pub mod onboard;
pub mod output;
pub mod probe;
pub mod progress;
pub mod prompt;
pub mod qr;
pub mod reset;
pub mod security;
pub mod service;
pub mod service_commands;
pub mod sessions;
pub mod setup;
pub mod ssh_tunnel;
pub mod state_tree;
pub mod status;
mod status_page;
pub mod stop;
pub mod system;
pub mod target;
pub mod tree;
pub mod uninstall;
pub mod update;
pub mod usage_cost;
pub mod wss;

#[cfg(test)]
mod client_tests;

pub use context::Context;

use argv::Action;
use context::Globals;
use tree::{Command, DaemonCommand, GatewayCommand, Top};

/// Runs the command line without the program's name; the exit code of the process.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let program = FsSource.program();
    let help = |path: &[String]| paths::named(&help::help(path), program);
    let outcome = match argv::parse(args) {
        Ok(Action::Version) => {
            out!("{}", help::version_line());
            Ok(0)
        }
        Ok(Action::Help { path, asked: true }) => {
            output::write_out(&help(&path));
            Ok(0)
        }
        Ok(Action::Help { path, asked: false }) => {
            output::write_err(&help(&path));
            Ok(1)
        }
        Ok(Action::Page(page, path)) => {
            output::write_out(&help::topic(&path, page));
            Ok(0)
        }
        Ok(Action::Run(top)) => command(*top),
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(|error| {
        err!("{}", paths::named(&error.to_string(), program));
        error.code
    })
}

fn command(top: Top) -> Result<u8> {
    let globals = Globals::of(&top);
    let command = top.command.ok_or_else(|| Error::new("error: no command"))?;
    let cx = || context(&globals);
    match command {
        Command::Gateway(group) => gateway_command(&globals, group),
        Command::Daemon(daemon) => gateway_command(&globals, by_old_name(daemon)),
        Command::Status(args) => status::run(cx()?, &args),
        Command::Health(args) => health::run(cx()?, &args),
        Command::Logs(args) => logs::run(cx()?, &args),
        Command::Agent(args) => agent::run(cx()?, &args),
        Command::Channels(args) => channels::run(cx()?, &args),
        Command::Sessions(args) => sessions::run(cx()?, &args),
        Command::Agents(args) => agents::run(cx()?, &args),
        Command::Models(args) => models::run(cx()?, &args),
        Command::Devices(args) => devices::run(cx()?, &args),
        Command::System(args) => system::run(cx()?, &args),
        Command::Hooks(args) => hooks::run(cx()?, &args),
        Command::Webhooks(args) => hooks::gmail(cx()?, &args),
        Command::Config(args) => config::run(cx()?, &args),
        Command::Setup(args) => setup::run(cx()?, &args),
        Command::Doctor(args) => doctor::run(&globals, &args),
        Command::Security(args) => security::run(cx()?, &args),
        Command::Completion(args) => completion::run(cx()?, &args),
        Command::Backup(args) => backup::run(cx()?, &args),
        Command::Onboard(args) => onboard::run(cx()?, &args),
        Command::Configure(args) => onboard::configure(cx()?, &args),
        Command::Dashboard(args) => dashboard::run(cx()?, &args),
        Command::Qr(args) => qr::run(cx()?, &args),
        Command::Reset(args) => reset::run(cx()?, &args),
        Command::Uninstall(args) => uninstall::run(cx()?, &args),
        Command::Update(args) => update::run(cx()?, &args),
    }
}

/// The process ends with its command: nobody has to take a large configuration apart again.
fn context(globals: &Globals) -> Result<&'static Context> {
    Ok(Box::leak(Box::new(Context::new(globals)?)))
}

fn gateway_command(globals: &Globals, mut group: tree::Gateway) -> Result<u8> {
    let cx = || context(globals);
    match group.command.take() {
        // The gateway looks its own paths up, in the order of its start.
        None => gateway::run(run_options(globals, group)),
        Some(GatewayCommand::Run(run)) => gateway::run(run_options(globals, merged(group, run))),
        Some(GatewayCommand::Status(args)) => gateway_status::run(cx()?, &group, &args),
        Some(GatewayCommand::Install(args)) => service_commands::install(cx()?, &group, &args),
        Some(GatewayCommand::Uninstall(args)) => service_commands::uninstall(cx()?, args.json),
        Some(GatewayCommand::Start(args)) => service_commands::start(cx()?, args.json),
        Some(GatewayCommand::Stop(args)) => stop::stop(cx()?, &group, args.json),
        Some(GatewayCommand::Restart(args)) => stop::restart(cx()?, &group, args.json),
        Some(GatewayCommand::Call(args)) => call::run(cx()?, &group, &args),
        Some(GatewayCommand::Health(args)) => health::run_gateway(cx()?, &group, &args),
        Some(GatewayCommand::Probe(args)) => probe::run(cx()?, &group, &args),
        Some(GatewayCommand::Discover(args)) => discover::run(cx()?, &args),
        Some(GatewayCommand::UsageCost(args)) => usage_cost::run(cx()?, &group, &args),
    }
}

/// `daemon start` is `gateway start`.
fn by_old_name(daemon: tree::Daemon) -> tree::Gateway {
    let command = match daemon.command {
        DaemonCommand::Status(args) => GatewayCommand::Status(args),
        DaemonCommand::Install(args) => GatewayCommand::Install(args),
        DaemonCommand::Uninstall(args) => GatewayCommand::Uninstall(args),
        DaemonCommand::Start(args) => GatewayCommand::Start(args),
        DaemonCommand::Stop(args) => GatewayCommand::Stop(args),
        DaemonCommand::Restart(args) => GatewayCommand::Restart(args),
    };
    tree::Gateway { command: Some(command), ..tree::Gateway::default() }
}

/// `gateway --x run --y`: both count, what stands behind `run` wins.
fn merged(group: tree::Gateway, run: tree::GatewayRun) -> tree::Gateway {
    tree::Gateway {
        port: run.port.or(group.port),
        bind: run.bind.or(group.bind),
        token: run.token.or(group.token),
        auth: run.auth.or(group.auth),
        password: run.password.or(group.password),
        password_file: run.password_file.or(group.password_file),
        tailscale: run.tailscale.or(group.tailscale),
        tailscale_reset_on_exit: run.tailscale_reset_on_exit || group.tailscale_reset_on_exit,
        allow_unconfigured: run.allow_unconfigured || group.allow_unconfigured,
        dev: run.dev || group.dev,
        reset: run.reset || group.reset,
        force: run.force || group.force,
        verbose: run.verbose || group.verbose,
        claude_cli_logs: run.claude_cli_logs || group.claude_cli_logs,
        ws_log: run.ws_log.or(group.ws_log),
        compact: run.compact || group.compact,
        raw_stream: run.raw_stream || group.raw_stream,
        raw_stream_path: run.raw_stream_path.or(group.raw_stream_path),
        command: None,
    }
}

fn run_options(globals: &Globals, args: tree::Gateway) -> gateway::RunOptions {
    gateway::RunOptions {
        profile: globals.profile.clone(),
        dev_profile: globals.dev,
        log_level: globals.log_level.clone(),
        no_color: globals.no_color,
        port: args.port,
        bind: args.bind,
        token: args.token.map(crate::secret::Secret::new),
        auth: args.auth,
        password: args.password.map(crate::secret::Secret::new),
        password_file: args.password_file,
        tailscale: args.tailscale,
        tailscale_reset_on_exit: args.tailscale_reset_on_exit,
        allow_unconfigured: args.allow_unconfigured,
        dev: args.dev,
        reset: args.reset,
        force: args.force,
        verbose: args.verbose,
        claude_cli_logs: args.claude_cli_logs,
        ws_log: args.ws_log,
        compact: args.compact,
        raw_stream: args.raw_stream,
        raw_stream_path: args.raw_stream_path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> gateway::RunOptions {
        let Ok(Action::Run(top)) = argv::parse(line.split(' ').map(OsString::from)) else { panic!("{line}") };
        let globals = Globals::of(&top);
        let Some(Command::Gateway(mut group)) = top.command else { panic!("{line}") };
        match group.command.take() {
            Some(GatewayCommand::Run(run)) => run_options(&globals, merged(group, run)),
            _ => run_options(&globals, group),
        }
    }

    #[test]
    fn the_run_options_of_both_spellings() {
        let plain = options("--dev gateway --port 1 --bind lan --dev --reset --ws-log full");
        assert!(plain.dev_profile && plain.dev && plain.reset && !plain.force);
        assert_eq!((plain.port.as_deref(), plain.ws_log.as_deref()), (Some("1"), Some("full")));
        let run = options("--profile p gateway --port 1 --force run --port 2 --verbose");
        assert_eq!((run.port.as_deref(), run.profile.as_deref()), (Some("2"), Some("p")));
        assert!(run.force && run.verbose && !run.dev && !run.dev_profile);
    }
}
