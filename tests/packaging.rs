//! What contrib/ installs: scripts that run, units and configurations that this program understands, a package that
//! unpacks into a working machine. Tools that a machine may lack are named when they are missed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use openclaw::cli::argv::{self, Action};
use openclaw::cli::manual;
use openclaw::service::{self, Manager, Origin, Spec, Step, plan};

use crate::common::{Gateway, Home, TOKEN, binary, finish, free_port, stderr, stdout};

/// `None` with a word when this machine has no such program.
fn tool(name: &str) -> Option<Command> {
    let found = std::env::split_paths(&std::env::var_os("PATH")?).any(|dir| dir.join(name).is_file());
    if !found {
        eprintln!("skipped: no {name} on this machine");
    }
    found.then(|| Command::new(name))
}

fn contrib(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(contrib(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs it; its standard output, or a failure with everything that it said.
fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    said(command, &output)
}

fn said(command: &Command, output: &Output) -> String {
    assert!(output.status.success(), "{command:?}: {}\n{}{}", output.status, stdout(output), stderr(output));
    stdout(output)
}

fn scripts() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![contrib("")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if fs::read(&path)
                .is_ok_and(|bytes| bytes.starts_with(b"#!/bin/sh") || bytes.starts_with(b"#!/sbin"))
            {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn scripts_are_plain_shell() {
    let scripts = scripts();
    assert!(scripts.len() >= 8, "{scripts:?}");
    for script in &scripts {
        succeed(Command::new("sh").arg("-n").arg(script));
        let mode = fs::metadata(script).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{}: not executable", script.display());
    }
    if let Some(mut shellcheck) = tool("shellcheck") {
        succeed(shellcheck.args(&scripts));
    }
}

#[test]
fn example_configurations_are_valid() {
    for example in ["examples/openclaw.json", "openwrt/files/openclaw.json", "container/openclaw.json"] {
        let home = Home::new();
        home.write_config(&read(example));
        let output = home.run(&["config", "validate"]);
        assert!(output.status.success(), "{example}: {}{}", stdout(&output), stderr(&output));
        let mut gateway = Gateway::start(&home, &[]);
        assert_eq!(gateway.get("/health").0, 200, "{example}");
        assert_eq!(gateway.stop(), Some(0));
    }
}

/// A container's first start: the configuration that its volume begins with, its variables, its health check.
#[test]
fn a_container_starts_and_is_healthy() {
    let home = Home::new();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::copy(contrib("container/openclaw.json"), data.join("openclaw.json")).unwrap();
    let containerfile = read("container/Containerfile");
    let variables = containerfile.lines().find_map(|line| line.strip_prefix("ENV ")).unwrap();
    let port = free_port().to_string();
    let command = |args: &[&str]| {
        let mut command = home.command(args);
        for (name, value) in variables.split(' ').map(|pair| pair.split_once('=').unwrap()) {
            command.env(name, value.replace("/data", &data.display().to_string()));
        }
        // The port and the directory of locks are those of the whole machine here.
        command.env("OPENCLAW_GATEWAY_PORT", &port).env("TMPDIR", home.path().join("tmp"));
        command
    };
    let mut gateway = Gateway::spawn_command(command(&["gateway"]), port.parse().unwrap());
    gateway.wait_line("listening on ws://0.0.0.0:");
    assert!(fs::read_to_string(data.join("openclaw.json")).unwrap().contains("token: \""), "no token was saved");
    let health = finish(command(&["health", "--timeout", "8000"]));
    assert!(health.status.success(), "{}", stderr(&health));
    assert_eq!(gateway.stop(), Some(0));
    let health = finish(command(&["health", "--timeout", "8000"]));
    assert_eq!(health.status.code(), Some(1));
}

/// The script that runs once on a new router makes a token that the init script takes.
#[test]
fn openwrt_makes_a_token_once() {
    if tool("hexdump").is_none() {
        return;
    }
    let home = Home::new();
    let token = home.path().join("token");
    let script = read("openwrt/files/openclaw.defaults").replace("/etc/openclaw/token", &token.display().to_string());
    let run = || {
        let stub = "uci() { shift; case \"$1\" in get) return 1 ;; *) echo \"uci $*\" ;; esac; }";
        succeed(home.program("sh", &["-c", &format!("{stub}\n{script}")]).stdin(Stdio::null()))
    };
    assert_eq!(run(), format!("uci set openclaw.main.token_file={0}\nuci commit openclaw\n", token.display()));
    let made = fs::read_to_string(&token).unwrap();
    assert!(made.len() == 48 && made.bytes().all(|b| b.is_ascii_hexdigit()), "{made}");
    assert_eq!(fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
    run();
    assert_eq!(fs::read_to_string(&token).unwrap(), made);
}

/// Every command line that a supervisor, a health check or a script of ours gives to the program is one it takes.
#[test]
fn command_lines_are_understood() {
    let quoted = |line: &str| -> String {
        line.split('"').skip(1).step_by(2).collect::<Vec<_>>().join(" ").replace("/openclaw ", "")
    };
    let line_of = |file: &str, start: &str| -> String {
        let text = read(file);
        let line = text.lines().find(|line| line.trim_start().starts_with(start));
        line.unwrap_or_else(|| panic!("{file}: no line {start}")).trim_start()[start.len()..].to_owned()
    };
    let plist = read("launchd/ai.openclaw.gateway.plist");
    let arguments = plist.split("<key>ProgramArguments</key>").nth(1).unwrap().split("</array>").next().unwrap();
    let arguments: Vec<&str> =
        arguments.split("<string>").skip(2).map(|piece| piece.split('<').next().unwrap()).collect();
    for (from, line) in [
        ("system unit", line_of("systemd/openclaw-gateway.service", "ExecStart=/usr/bin/openclaw ")),
        ("user unit", line_of("systemd/user/openclaw-gateway.service", "ExecStart=/usr/bin/openclaw ")),
        ("system template", instance(&line_of("systemd/openclaw-gateway@.service", "ExecStart=/usr/bin/openclaw "))),
        ("user template", instance(&line_of("systemd/user/openclaw-gateway@.service", "ExecStart=/usr/bin/openclaw "))),
        ("container", quoted(&line_of("container/Containerfile", "CMD "))),
        ("health check", quoted(line_of("container/Containerfile", "HEALTHCHECK ").split("CMD").nth(1).unwrap())),
        ("OpenRC", line_of("openrc/openclaw", "command_args=\"").replace("${openclaw_args:-}\"", "").trim().to_owned()),
        ("launchd", arguments.join(" ")),
    ] {
        let parsed = argv::parse(line.split_whitespace().map(OsString::from));
        assert!(matches!(parsed, Ok(Action::Run(_))), "{from}: {line}: {parsed:?}");
    }
}

/// A variable that a file here sets and the program does not know is a mistake in spelling.
#[test]
fn variables_are_known() {
    let pages = ["openclaw.1", "openclaw-gateway.8"]
        .map(|page| fs::read_to_string(contrib("../man").join(page)).unwrap())
        .join("\n");
    // What other programs read: `gateway status` of OpenClaw on Node finds its services by them.
    let of_others = ["OPENCLAW_SYSTEMD_UNIT", "OPENCLAW_LAUNCHD_LABEL"];
    let mut seen = BTreeSet::new();
    for file in [
        "systemd/openclaw-gateway.service",
        "systemd/user/openclaw-gateway.service",
        "systemd/openclaw-gateway@.service",
        "systemd/user/openclaw-gateway@.service",
        "container/Containerfile",
        "launchd/ai.openclaw.gateway.plist",
        "openrc/openclaw",
        "openrc/openclaw.confd",
        "openwrt/files/openclaw.init",
        "debian/postinst",
    ] {
        for word in read(file).split(|c: char| !(c.is_ascii_uppercase() || c == '_')) {
            if word.starts_with("OPENCLAW_") && !of_others.contains(&word) {
                assert!(
                    pages.contains(&format!("Ev {word}\n")) || pages.contains(&format!("Ev {word} ")),
                    "{file}: {word}"
                );
                seen.insert(word.to_owned());
            }
        }
    }
    assert!(seen.len() >= 5, "{seen:?}");
}

/// The units of contrib/systemd: path, name of the unit that it makes.
const UNITS: [(&str, &str); 4] = [
    ("systemd/openclaw-gateway.service", "openclaw-gateway.service"),
    ("systemd/openclaw-gateway@.service", "openclaw-gateway@rescue.service"),
    ("systemd/user/openclaw-gateway.service", "openclaw-gateway.service"),
    ("systemd/user/openclaw-gateway@.service", "openclaw-gateway@rescue.service"),
];

/// As systemd fills the template for the profile "rescue".
fn instance(line: &str) -> String {
    line.replace("%i", "rescue")
}

#[test]
fn the_system_units_are_hardened() {
    let home = Home::new();
    for (path, name) in &UNITS[..2] {
        let unit = home.path().join(name);
        fs::write(&unit, read(path)).unwrap();
        let Some(mut analyze) = tool("systemd-analyze") else { return };
        let said = succeed(analyze.args(["security", "--offline=true", "--no-pager"]).arg(&unit));
        let lead = format!("exposure level for {name}: ");
        let level = said.lines().find_map(|line| line.split(&lead).nth(1));
        let score: f64 = level.expect(&said).split_whitespace().next().unwrap().parse().unwrap();
        assert!(score <= 2.0, "{said}");
    }
}

/// What "gateway install" writes stands in contrib, too: a service behaves the same wherever its unit came from.
#[test]
fn packaged_and_written_units_say_the_same() {
    let spec = Spec { program: "/usr/bin/openclaw".into(), port: 18789, user: "openclaw".into(), ..Spec::default() };
    let mut compared = 0;
    for (path, _) in UNITS {
        let manager = if path.contains("user") { Manager::SystemdUser } else { Manager::SystemdSystem };
        let steps = plan(manager, &spec, service::Action::Install, Origin::Own).unwrap();
        let written = steps.iter().find_map(|step| if let Step::Write(file) = step { Some(&file.text) } else { None });
        let packaged = read(path);
        let lines: BTreeSet<&str> = packaged.lines().collect();
        for line in written.expect("a unit").lines().filter(|line| !line.is_empty()) {
            let key = line.split_once('=').map_or(line, |(key, _)| key);
            // Its own in every unit: the program's line, its environment, and what it is called.
            if !["ExecStart", "Environment", "Description"].contains(&key) {
                assert!(lines.contains(line), "{path}: {line}");
                compared += 1;
            }
        }
        for line in ["Type=notify", "NotifyAccess=main", "WatchdogSec=60", "ExecReload=/bin/kill -HUP $MAINPID"] {
            assert!(lines.contains(line), "{path}: {line}");
        }
        for variable in ["OPENCLAW_SERVICE_MARKER=openclaw", "OPENCLAW_SERVICE_KIND=gateway", "OPENCLAW_SYSTEMD_UNIT="]
        {
            let set = |line: &&str| line.starts_with("Environment=") && line.contains(variable);
            assert!(packaged.lines().any(|line| set(&line)), "{path}: {variable}");
        }
    }
    assert!(compared > 40, "{compared}");
}

/// With the drop-in for tools, the units are such that systemd reads without a complaint.
#[test]
fn units_are_read_without_a_complaint() {
    let home = Home::new();
    for (path, name) in UNITS {
        let dir = home.path().join(path.replace('/', "-"));
        let file = name.replace("rescue", "");
        fs::create_dir_all(dir.join(format!("{file}.d"))).unwrap();
        let program = format!("ExecStart={} ", binary());
        fs::write(dir.join(&file), read(path).replace("ExecStart=/usr/bin/openclaw ", &program)).unwrap();
        if !path.contains("user") {
            fs::write(dir.join(format!("{file}.d/tools.conf")), read("systemd/tools.conf")).unwrap();
        }
        let Some(mut analyze) = tool("systemd-analyze") else { return };
        let output = analyze.args(["verify", "--man=no"]).arg(dir.join(&file)).output().unwrap();
        let said = stderr(&output);
        let about_us: Vec<&str> = said.lines().filter(|line| line.contains("openclaw")).collect();
        assert!(about_us.is_empty(), "{path}: {about_us:#?}");
    }
}

#[test]
fn the_apparmor_profile_is_one() {
    let profile = contrib("apparmor/openclaw-gateway");
    for (path, _) in &UNITS[..2] {
        assert!(read(path).contains("\nAppArmorProfile=-openclaw-gateway\n"), "{path}");
    }
    let places = ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"];
    let Some(parser) = places.iter().find(|place| Path::new(place).is_file()) else {
        eprintln!("skipped: no apparmor_parser on this machine");
        return;
    };
    // Neither loaded nor cached: only read and compiled.
    succeed(Command::new(parser).args(["-Q", "-K"]).arg(profile));
}

/// The functions of procd and UCI that the init script calls, as recorders; options come from the real UCI file.
const PROCD: &str = r#"
procd_open_instance() { echo "instance $*"; }
procd_set_param() { echo "set $*"; }
procd_append_param() { echo "append $*"; }
procd_close_instance() { echo "close"; }
procd_add_reload_trigger() { echo "trigger $*"; }
procd_add_validation() { echo "validation $*"; }
chown() { echo "chown $*"; }
logger() { :; }
config_load() { [ "$1" = openclaw ]; }
config_foreach() { "$1" main "$3"; }
uci_load_validate() {
	local name="$3" function="$4"
	shift 4
	for option in "$@"; do
		key="${option%%:*}"; rest="${option#*:}"
		case "$rest" in *:*) value="${rest##*:}" ;; *) value= ;; esac
		given="$(sed -n "s/^[[:space:]]*option $key '\(.*\)'\$/\1/p" "$UCI")"
		eval "$key=\${given:-\$value}"
	done
	"$function" "$name" 0
}
"#;

struct Router {
    home: Home,
    uci: PathBuf,
}

impl Router {
    /// A router on which these changes were made to the packaged UCI file.
    fn new(changes: &[(&str, &str)]) -> Router {
        let home = Home::new();
        home.write_config(&read("openwrt/files/openclaw.json"));
        let mut text = read("openwrt/files/openclaw.config");
        let (state, config) = (home.path().join("flash"), home.config_path());
        let paths = [("state_dir", state.display().to_string()), ("config_file", config.display().to_string())];
        let changes = changes.iter().map(|(key, value)| (*key, (*value).to_owned()));
        for (key, value) in paths.into_iter().chain(changes) {
            let is_option = |line: &str| line.trim_start_matches(['\t', '#']).starts_with(&format!("option {key} "));
            assert!(text.lines().any(is_option), "no option {key}");
            let change =
                |line: &str| if is_option(line) { format!("\toption {key} '{value}'\n") } else { format!("{line}\n") };
            text = text.lines().map(change).collect();
        }
        let uci = home.path().join("uci");
        fs::write(&uci, text).unwrap();
        Router { home, uci }
    }

    /// Calls a function of the init script; what it told procd, one call a line, and what it complained of.
    fn call(&self, function: &str) -> (Vec<String>, String) {
        // The script names /var/run, which is not ours here.
        let run = format!("{}/run/", self.home.path().display());
        let init = read("openwrt/files/openclaw.init").replace("/var/run/", &run);
        let script = format!("{PROCD}\n{init}\n{function}");
        let mut shell = self.home.program("sh", &["-c", &script]);
        shell.env("UCI", &self.uci);
        let output = finish(shell);
        (stdout(&output).lines().map(str::to_owned).collect(), stderr(&output))
    }
}

#[test]
fn openwrt_starts_what_uci_says() {
    let secret = |home: &Home, name: &str, text: &str, mode: u32| {
        let path = home.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let keep = Home::new();
    let token = secret(&keep, "token", &format!("{TOKEN}\n"), 0o600);
    let odd = "# keys\nANTHROPIC_API_KEY=a b\n\nnonsense\na b=c\n1A=2\n  export Y=$HOME `id` 'q' \"\nX=1";
    let environment = secret(&keep, "env", odd, 0o600);
    let router = Router::new(&[
        ("enabled", "1"),
        ("port", "18123"),
        ("bind", "lan"),
        ("verbose", "1"),
        ("token_file", &token),
        ("env_file", &environment),
    ]);
    let (calls, complaints) = router.call("start_service");
    assert_eq!(complaints, "");
    let home = router.home.path().display().to_string();
    let config = router.home.config_path().display().to_string();
    let expected = format!(
        "chown openclaw:openclaw {home}/flash {home}/run/openclaw/main\n\
         chown root:openclaw {config}\n\
         instance main\n\
         set command /usr/bin/openclaw gateway --port 18123 --bind lan\n\
         append command --verbose\n\
         set env HOME={home}/flash TMPDIR={home}/run/openclaw/main LOGS_DIRECTORY={home}/run/openclaw/main \
         OPENCLAW_STATE_DIR={home}/flash OPENCLAW_CONFIG_PATH={config} OPENCLAW_LOG_LEVEL=warn \
         OPENCLAW_SERVICE_MARKER=openclaw\n\
         append env OPENCLAW_GATEWAY_TOKEN={TOKEN}\n\
         append env ANTHROPIC_API_KEY=a b\n\
         append env Y=$HOME `id` 'q' \"\n\
         append env X=1\n\
         set file {config}\n\
         set reload_signal HUP\n\
         set respawn 3600 5 5\n\
         set limits core=0 nofile=1024 4096\n\
         set stdout 1\n\
         set stderr 1\n\
         set user openclaw\n\
         set group openclaw\n\
         set no_new_privs 1\n\
         set term_timeout 10\n\
         close"
    );
    assert_eq!(calls.join("\n"), expected);
    let command = "gateway --port 18123 --bind lan --verbose";
    assert!(matches!(argv::parse(command.split(' ').map(OsString::from)), Ok(Action::Run(_))));
    for dir in ["flash", "run/openclaw/main"] {
        assert_eq!(fs::metadata(router.home.path().join(dir)).unwrap().permissions().mode() & 0o777, 0o700, "{dir}");
    }
    let (calls, _) = router.call("service_triggers");
    assert_eq!(calls, ["trigger openclaw", "validation validate_gateway"]);
}

/// Places on a stick have the names that people give: nothing of them is taken for shell.
#[test]
fn openwrt_keeps_odd_names_together() {
    let keep = Home::new();
    let odd = keep.path().join("my stick $HOME `id` \"x\"; it is");
    fs::create_dir(&odd).unwrap();
    let config = odd.join("open claw.json");
    fs::write(&config, "{}").unwrap();
    let (state, config) = (odd.join("st ate").display().to_string(), config.display().to_string());
    let router = Router::new(&[("enabled", "1"), ("state_dir", &state), ("config_file", &config)]);
    let (calls, complaints) = router.call("start_service");
    assert_eq!(complaints, "");
    let env = calls.iter().find(|call| call.starts_with("set env ")).unwrap();
    assert!(env.contains(&format!("OPENCLAW_STATE_DIR={state} OPENCLAW_CONFIG_PATH={config} ")), "{env}");
    assert!(Path::new(&state).is_dir() && calls.contains(&format!("set file {config}")), "{calls:?}");
}

#[test]
fn openwrt_refuses_what_cannot_work() {
    let keep = Home::new();
    let open = keep.path().join("open");
    fs::write(&open, "secret").unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let open = open.display().to_string();
    let none = keep.path().join("none").display().to_string();
    for (changes, complaint) in [
        (vec![], String::new()),
        (vec![("enabled", "1"), ("token_file", open.as_str())], format!("others can read {open}: chmod 600 {open}")),
        (vec![("enabled", "1"), ("token_file", none.as_str())], format!("{none} is missing, see /etc/config/openclaw")),
        (vec![("enabled", "1"), ("config_file", none.as_str())], format!("{none} is missing")),
    ] {
        let (calls, complaints) = Router::new(&changes).call("start_service");
        assert_eq!(calls, [""; 0], "{changes:?}");
        let expected = if complaint.is_empty() { String::new() } else { format!("openclaw: {complaint}\n") };
        assert_eq!(complaints, expected, "{changes:?}");
    }
}

/// What the UCI file shows as defaults is what the init script takes when an option is missing.
#[test]
fn openwrt_defaults_are_written_once_and_the_same() {
    let init = read("openwrt/files/openclaw.init");
    let mut defaults = BTreeSet::new();
    for piece in init.split('\'').skip(1).step_by(2).filter(|piece| piece.contains(':')) {
        let (name, rest) = piece.split_once(':').unwrap();
        if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            defaults.insert((name.to_owned(), rest.rsplit_once(':').map_or("", |(_, default)| default).to_owned()));
        }
    }
    let shown: BTreeSet<(String, String)> = read("openwrt/files/openclaw.config")
        .lines()
        .filter_map(|line| {
            let commented = line.trim_start().starts_with('#');
            let (name, value) = line.trim_start_matches(['\t', '#']).strip_prefix("option ")?.split_once(' ')?;
            Some((name.to_owned(), if commented { String::new() } else { value.trim_matches('\'').to_owned() }))
        })
        .collect();
    assert!(shown.len() > 12, "{shown:?}");
    assert_eq!(shown, defaults);
}

/// /proc as ProtectProc=invisible and ProcSubset=pid show it, and no zones: the gateway starts, logs, knows its memory,
/// finds who has the port, and stops.
#[test]
fn a_machine_that_hides_most_of_itself() {
    let hide = "mount -t proc -o subset=pid,hidepid=invisible proc /proc && \
                if [ -d /usr/share/zoneinfo ]; then mount -t tmpfs none /usr/share/zoneinfo; fi";
    let probe = Command::new("unshare").args(["-m", "sh", "-c", hide]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no mount namespaces here");
        return;
    }
    let home = Home::new();
    home.configure(serde_json::json!({}));
    let hidden = |args: &[&str]| {
        let script = format!("{hide} && exec \"$0\" \"$@\"");
        let program = binary();
        let mut command = home.program("unshare", &["-m", "sh", "-c", &script, &program]);
        command.args(args).env("TZ", "Europe/Berlin");
        command
    };
    let port = free_port();
    let port_text = port.to_string();
    let mut first = Gateway::spawn_command(hidden(&["gateway", "--port", &port_text]), port);
    first.wait_line("listening on ws://");
    assert_eq!(first.get("/health").0, 200);
    assert!(home.log_text().contains("listening on ws://"), "{}", home.log_text());
    let status = finish(hidden(&["status", "--json"]));
    assert!(status.status.success(), "{}", stderr(&status));
    // The second one takes the port over, although it sees nothing of /proc but processes.
    let mut second = Gateway::spawn_command(hidden(&["gateway", "--port", &port_text, "--force"]), port);
    assert_eq!(first.wait_exit().code(), Some(0));
    second.wait_line("listening on ws://");
    assert!(second.output().contains("force: killed pid"), "{}", second.output());
    assert_eq!(second.stop(), Some(0));
}

#[test]
fn a_debian_package_that_installs_and_runs() {
    if tool("dpkg-deb").is_none() || tool("dpkg").is_none() {
        return;
    }
    let home = Home::new();
    let build = |to: &str| {
        let mut build = Command::new(contrib("debian/build.sh"));
        build.arg(binary()).arg(home.path().join(to)).env("SOURCE_DATE_EPOCH", "1763700000");
        build.env("DEB_COMPRESSION", "none");
        let said = succeed(&mut build);
        PathBuf::from(said.lines().last().unwrap())
    };
    let package = build("one");
    let show = |args: &[&str]| succeed(Command::new("dpkg-deb").args(args).arg(&package));
    let field = |name: &str| succeed(Command::new("dpkg-deb").arg("-f").arg(&package).arg(name)).trim().to_owned();
    assert_eq!((field("Package").as_str(), field("Version").as_str()), ("openclaw", env!("CARGO_PKG_VERSION")));
    assert!(field("Description").lines().next().unwrap().len() < 80);
    let listed = show(&["-c"]);
    for line in listed.lines() {
        assert!(line.contains(" root/root "), "{line}");
        assert!(line.starts_with('l') || (&line[5..6] != "w" && &line[8..9] != "w"), "others may write: {line}");
    }
    for file in [
        "./usr/bin/openclaw",
        "./usr/lib/systemd/system/openclaw-gateway.service",
        "./usr/lib/systemd/system/openclaw-gateway@.service",
        "./usr/lib/systemd/user/openclaw-gateway.service",
        "./usr/lib/systemd/user/openclaw-gateway@.service",
        "./etc/apparmor.d/openclaw-gateway",
        "./usr/lib/sysusers.d/openclaw.conf",
        "./etc/openclaw/openclaw.json",
        "./usr/share/doc/openclaw/copyright",
        "./usr/share/doc/openclaw/changelog.gz",
    ] {
        assert!(listed.lines().any(|line| line.ends_with(file)), "{file} is missing from\n{listed}");
    }
    for page in manual::PAGES {
        let file = format!("./usr/share/man/man{0}/{1}.{0}.gz", page.section, page.name);
        assert!(listed.lines().any(|line| line.ends_with(&file)), "{file} is missing from\n{listed}");
    }
    let conffiles = succeed(Command::new("dpkg-deb").arg("--info").arg(&package).arg("conffiles"));
    assert_eq!(conffiles, "/etc/apparmor.d/openclaw-gateway\n/etc/logrotate.d/openclaw\n/etc/openclaw/openclaw.json\n");
    assert_eq!(fs::read(&package).unwrap(), fs::read(build("two")).unwrap(), "two builds differ");

    // Installed under another root, the scripts run as well, and must leave this machine alone.
    let root = home.path().join("root");
    for dir in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "tmp"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    fs::write(root.join("var/lib/dpkg/available"), "").unwrap();
    let dpkg = |args: &[&str]| {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(format!("--root={}", root.display())).arg("--force-script-chrootless,not-root,depends,bad-path");
        dpkg.arg("--log=/dev/null").args(args);
        succeed(&mut dpkg)
    };
    dpkg(&["-i", package.to_str().unwrap()]);
    let status = fs::read_to_string(root.join("var/lib/dpkg/status")).unwrap();
    assert!(status.contains("Status: install ok installed"), "{status}");
    let secrets = root.join("etc/default/openclaw");
    assert_eq!(fs::metadata(&secrets).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&secrets).unwrap();
    let token = text.lines().find_map(|line| line.strip_prefix("OPENCLAW_GATEWAY_TOKEN=")).unwrap().to_owned();
    assert_eq!(token.len(), 48, "{text}");

    // As the unit starts it: its variables, moved below the other root.
    let program = root.join("usr/bin/openclaw").display().to_string();
    let version = finish(home.program(&program, &["--version"]));
    assert!(stdout(&version).contains(&format!("+rs.{}", env!("CARGO_PKG_VERSION"))));
    let config = root.join("etc/openclaw/openclaw.json");
    let before = fs::read(&config).unwrap();
    let port = free_port();
    let mut command = home.program(&program, &["gateway", "--port", &port.to_string()]);
    command.env("OPENCLAW_CONFIG_PATH", &config).env("OPENCLAW_STATE_DIR", home.path().join("state"));
    command.env("OPENCLAW_GATEWAY_TOKEN", &token);
    let mut gateway = Gateway::spawn_command(command, port);
    gateway.wait_line("listening on ws://");
    assert_eq!(gateway.get("/health").0, 200);
    assert_eq!(gateway.stop(), Some(0));
    assert_eq!(fs::read(&config).unwrap(), before, "the packaged configuration was changed");

    dpkg(&["-i", package.to_str().unwrap()]);
    assert!(fs::read_to_string(&secrets).unwrap().contains(&token), "an upgrade made a new token");
    // A setting that an administrator changed stays at an upgrade; its copies go with everything else.
    let mut set = home.program(&program, &["config", "set", "gateway.port", "18999"]);
    set.env("OPENCLAW_CONFIG_PATH", &config).env("OPENCLAW_STATE_DIR", home.path().join("state"));
    assert!(finish(set).status.success());
    dpkg(&["--force-confdef", "--force-confold", "-i", package.to_str().unwrap()]);
    assert!(fs::read_to_string(&config).unwrap().contains("18999") && config.with_extension("json.bak").exists());
    dpkg(&["--remove", "openclaw"]);
    assert!(config.exists() && secrets.exists() && !root.join("usr/bin/openclaw").exists());
    dpkg(&["--purge", "openclaw"]);
    assert!(!secrets.exists() && !root.join("etc/openclaw").exists());
}
