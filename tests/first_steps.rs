//! First and last steps: completion in real shells, onboarding, the dashboard's address, reset, uninstall (cli 6).

use std::fs;

use crate::common::{Home, finish, stderr, stdout};

/// What bash, zsh or fish offers for a line; the word at its end is completed.
const BASH: &str = r#"source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
[[ $(complete -p openclaw) == 'complete -F _openclaw openclaw' ]] || exit 9
_openclaw "$1" "${!#}" "${COMP_WORDS[COMP_CWORD-1]}"; printf '%s\n' "${COMPREPLY[@]}""#;
/// zsh's own functions need an editor around them; these say what they are given.
const ZSH: &str = r#"compdef() { [[ $1 == _openclaw ]] || exit 9 }
_describe() { printf '%s\n' ${${(P)2}%%:*} | grep -e "^$PREFIX" }
compadd() { printf '%s\n' ${(P)@[-1]} | grep -e "^$PREFIX" }
_files() { print -l *(N) }
source "$1"; shift; words=("$@"); CURRENT=$#; PREFIX=$words[-1]; _openclaw"#;
const FISH: &str =
    r#"source $argv[1]; complete -C (string join -- ' ' openclaw $argv[3..-1]) | string replace -r '\t.*' ''"#;

fn offered(home: &Home, shell: &str, line: &[&str]) -> Vec<String> {
    let script = home.path().join(format!("script.{shell}"));
    if !script.exists() {
        let made = home.run(&["completion", "--shell", shell]);
        assert!(made.status.success() && stderr(&made).is_empty(), "{}", stderr(&made));
        fs::write(&script, &made.stdout).expect("a file");
    }
    let text = match shell {
        "bash" => BASH,
        "zsh" => ZSH,
        _ => FISH,
    };
    let program = env!("CARGO_BIN_EXE_openclaw");
    let mut args = vec!["-c", text];
    if shell != "fish" {
        args.push("test");
    }
    args.extend([script.to_str().expect("text"), program]);
    args.extend(line);
    let mut command = home.program(shell, &args);
    // fish calls the program by its name.
    let directory = std::path::Path::new(program).parent().expect("a directory").display().to_string();
    command.env("PATH", format!("{directory}:{}", std::env::var("PATH").unwrap_or_default())).current_dir(home.path());
    let output = finish(command);
    assert_eq!(stderr(&output), "", "{shell} {line:?}");
    let mut words: Vec<String> = stdout(&output).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    words.sort();
    words.dedup();
    words
}

fn completes(shell: &str) {
    let home = Home::new();
    for (line, wanted) in [
        (&["gatew"][..], &["gateway"][..]),
        (&["gateway", "sta"], &["status"]),
        (&["gateway", "--token", "run", "sta"], &["status"]),
        (&["--profile", "devices", "gateway", "status", "--require"], &["--require-rpc"]),
        (&["gateway", "status", "--for"], &["--force"]),
        (&["--log-level", "de"], &["debug"]),
        (&["devices", "rev"], &["revoke"]),
        (&["completion", "--shell", "fi"], &["fish"]),
        (&["completion", "po"], &["powershell"]),
        (&["gateway", "call", "system-p"], &["system-presence"]),
        (&["config", "get", "gateway.r"], &["gateway.reload.", "gateway.remote."]),
        (&["config", "set", "gateway.po"], &["gateway.port"]),
        (&["gateway", "--port", "x"], &[]),
    ] {
        assert_eq!(offered(&home, shell, line), wanted, "{shell} {line:?}");
    }
    fs::create_dir(home.path().join("here")).expect("a directory");
    fs::write(home.path().join("here/pass word"), "").expect("a file");
    let files = offered(&home, shell, &["gateway", "--password-file", "he"]);
    assert!(files.iter().any(|file| file.trim_end_matches('/') == "here"), "{files:?}");
}

fn installed(shell: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(shell).is_file())
}

#[test]
fn completion_in_bash() {
    completes("bash");
}

#[test]
fn completion_in_zsh_where_it_is_installed() {
    if installed("zsh") {
        completes("zsh");
    }
}

#[test]
fn completion_in_fish_where_it_is_installed() {
    if installed("fish") {
        completes("fish");
    }
}

#[test]
fn completion_names_its_shells() {
    let home = Home::new();
    let wrong = home.run(&["completion", "--shell", "tcsh"]);
    assert_eq!(wrong.status.code(), Some(1));
    let wanted = "error: option '-s, --shell <shell>' argument 'tcsh' is invalid. Allowed choices are zsh, bash, \
                  powershell, fish.\n";
    assert_eq!(stderr(&wrong), wanted);
    assert_eq!(home.run(&["completion", "tcsh"]).status.code(), Some(1));
    assert!(stdout(&home.run(&["completion"])).starts_with("#compdef openclaw\n"));
    let power = stdout(&home.run(&["completion", "powershell"]));
    assert!(
        power.contains("Register-ArgumentCompleter") && power.contains("' gateway' = @('run', 'status'"),
        "{power}"
    );
}

#[test]
fn completion_is_installed_once_and_stays_fresh() {
    let home = Home::new();
    let start_up = home.path().join(".bashrc");
    fs::write(&start_up, "alias l=ls").expect("a file");
    let nobody = home.run(&["completion", "--install", "-s", "bash"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(stderr(&nobody).contains("openclaw completion --install --yes"), "{}", stderr(&nobody));
    assert_eq!(fs::read_to_string(&start_up).expect("a file"), "alias l=ls");
    let first = home.run(&["completion", "--install", "-s", "bash", "-y"]);
    assert_eq!(stdout(&first), "Added completion to ~/.bashrc. New bash shells complete openclaw.\n");
    let text = fs::read_to_string(&start_up).expect("a file");
    let script = home.state().join("completions/openclaw.bash");
    let line = format!("[ -f '{0}' ] && . '{0}'", script.display());
    assert_eq!(text, format!("alias l=ls\n\n# OpenClaw completion\n{line}\n"));
    fs::write(&script, "old").expect("a file");
    let second = home.run(&["completion", "--install", "-s", "bash", "-y"]);
    assert!(stdout(&second).starts_with("Completion is installed already in ~/.bashrc"), "{}", stdout(&second));
    assert_eq!(fs::read_to_string(&start_up).expect("a file"), text);
    assert_eq!(fs::read(&script).expect("a script"), home.run(&["completion", "bash"]).stdout);
    let loaded = home.program("bash", &["-c", ". ~/.bashrc; complete -p openclaw"]);
    assert_eq!(stdout(&finish(loaded)), "complete -F _openclaw openclaw\n");
    // The shell of the person.
    let mut fish = home.command(&["completion", "--install", "--yes"]);
    fish.env("SHELL", "/usr/bin/fish");
    assert!(finish(fish).status.success());
    assert!(home.path().join(".config/fish/completions/openclaw.fish").is_file());
}

#[test]
fn completion_scripts_of_all_shells_in_the_state_directory() {
    let home = Home::new();
    let output = home.run(&["completion", "--write-state"]);
    assert_eq!(stdout(&output).lines().count(), 4);
    for name in ["zsh", "bash", "fish", "ps1"] {
        let path = home.state().join(format!("completions/openclaw.{name}"));
        assert!(fs::metadata(&path).expect(name).len() > 1000, "{name}");
    }
}
