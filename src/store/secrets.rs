//! Secrets that stand elsewhere: variables, files and programs are asked once, when a configuration is to come into
//! force (config A2). What they answer stays in memory; the configuration keeps the reference.
//!
//! Runs on the thread that loads the configuration. Whatever may hang (a named pipe, a dead network disk, a program)
//! runs on a helper thread with a time limit, so that the start hangs no longer than that.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use serde_json::{Value, json};

use super::atomic;
use crate::config::secret_ref::{self, Batch, ExecProvider, FileProvider, Provider, Resolved, SecretRef, Wanted};
use crate::config::{Loaded, Paths, Source};
use crate::error::Error;
use crate::secret::Secret;
use crate::sys::ask::{Errors, NoAnswer, Question};

/// What a program gets that was promised no PATH.
const PLAIN_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A helper may need this much longer than its own limit to say so.
const GRACE: Duration = Duration::from_millis(500);
/// Texts of a provider are cut here.
const MESSAGE_CHARS: usize = 200;

type Answers = BTreeMap<SecretRef, Result<Secret, String>>;
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What became of the references of a configuration.
#[derive(Debug, Default)]
pub struct Outcome {
    pub resolved: Resolved,
    /// In use and not to be had: path and reason.
    pub failed: Vec<Failure>,
    /// Not in use and not asked for: path and why.
    pub inactive: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub path: String,
    /// `env`, `file` or `exec` with the provider's name; None when the reference itself is wrong.
    pub provider: Option<String>,
    pub why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.provider {
            // A colon right behind `apiKey` would make the log black out what follows.
            Some(provider) => write!(f, "{} ({provider}): {}", self.path, self.why),
            None => write!(f, "{} (wrong form): {}", self.path, self.why),
        }
    }
}

/// Resolves what the configuration uses and makes it part of `loaded`, once; nothing changes when something fails.
pub fn activate(loaded: &mut Loaded, paths: &Paths, source: &dyn Source) -> Result<(), Error> {
    if loaded.unused_secrets.is_some() {
        return Ok(());
    }
    let outcome = resolve(&loaded.effective, paths, &|name| loaded.var(source, name));
    let warnings = outcome.warnings();
    let resolved = outcome.complete()?;
    loaded.use_secrets(resolved, warnings, paths);
    Ok(())
}

/// Asks for every secret that is in use.
pub fn resolve(effective: &Value, paths: &Paths, env: Env<'_>) -> Outcome {
    resolve_where(effective, paths, env, &|wanted| wanted.inactive.is_none())
}

/// Asks for the secrets that `wants` picks.
pub fn resolve_where(effective: &Value, paths: &Paths, env: Env<'_>, wants: &dyn Fn(&Wanted) -> bool) -> Outcome {
    let (picked, rest): (Vec<Wanted>, Vec<Wanted>) = secret_ref::wanted(effective).into_iter().partition(wants);
    let answers = ask(effective, paths, env, &picked);
    let mut outcome = Outcome::default();
    for wanted in picked {
        let path = wanted.path;
        match wanted.reference {
            Err(why) => outcome.failed.push(Failure { path, provider: None, why }),
            Ok(reference) => match answers.get(&reference) {
                Some(Ok(secret)) => drop(outcome.resolved.insert(reference, secret.clone())),
                answer => {
                    let provider = Some(format!("{} provider \"{}\"", reference.origin.name(), reference.provider));
                    let why = answer.and_then(|a| a.as_ref().err()).cloned();
                    let why = why.unwrap_or_else(|| "gave no answer".into());
                    outcome.failed.push(Failure { path, provider, why });
                }
            },
        }
    }
    outcome.inactive = rest.into_iter().filter_map(|w| Some((w.path, w.inactive?))).collect();
    outcome
}

impl Outcome {
    pub fn warnings(&self) -> Vec<String> {
        let line = |(path, why): &(String, String)| format!("SecretRef at {path} is not resolved: {why}");
        self.inactive.iter().map(line).collect()
    }

    /// All or nothing.
    pub fn complete(self) -> Result<Resolved, Error> {
        if self.failed.is_empty() {
            return Ok(self.resolved);
        }
        let list: Vec<String> = self.failed.iter().map(Failure::to_string).collect();
        Err(Error::new(format!("SecretRef cannot be resolved: {}", list.join("; ")))
            .hint("Mend the provider below secrets.providers or the reference; `openclaw doctor` tries each of them."))
    }
}

/// Every provider in use, some at a time.
fn ask(effective: &Value, paths: &Paths, env: Env<'_>, picked: &[Wanted]) -> Answers {
    let references = picked.iter().filter_map(|wanted| wanted.reference.as_ref().ok());
    let questions = secret_ref::questions(effective, paths, references);
    let mut answers: Answers = questions.refused.into_iter().map(|(reference, why)| (reference, Err(why))).collect();
    let (to_us, finished) = unbounded();
    let mut running: BTreeMap<usize, (Instant, Vec<SecretRef>)> = BTreeMap::new();
    let mut waiting = questions.batches.into_iter().enumerate();
    loop {
        while running.len() < questions.concurrency
            && let Some((n, batch)) = waiting.next()
        {
            let references = batch.references.clone();
            let fail = |why: String| references.iter().map(|r| (r.clone(), Err(why.clone()))).collect::<Answers>();
            let limit = match &batch.provider {
                Provider::Env { allowed } => {
                    let value = |r: SecretRef| {
                        let answer = secret_ref::from_env(&r, allowed.as_deref(), env);
                        (r, answer)
                    };
                    answers.extend(batch.references.into_iter().map(value));
                    continue;
                }
                Provider::File(file) => file.timeout,
                Provider::Exec(exec) => exec.timeout,
            };
            let (variables, done) = (variables(&batch.provider, env), to_us.clone());
            let max = questions.max_batch_bytes;
            let work = move || drop(done.send((n, answer(&batch, variables, max))));
            match thread::Builder::new().name(format!("secret-{n}")).spawn(work) {
                Ok(_) => drop(running.insert(n, (Instant::now() + limit + GRACE, references))),
                Err(e) => answers.extend(fail(format!("no thread to ask it: {e}"))),
            }
        }
        let Some((&next, &(deadline, _))) = running.iter().min_by_key(|(_, (deadline, _))| *deadline) else {
            return answers;
        };
        match finished.recv_deadline(deadline) {
            // One that was given up may still speak: too late.
            Ok((n, given)) => answers.extend(running.remove(&n).map(|_| given).unwrap_or_default()),
            Err(_) => {
                let (_, references) = running.remove(&next).unwrap_or((deadline, Vec::new()));
                answers.extend(references.into_iter().map(|r| (r, Err("did not answer in time".to_owned()))));
            }
        }
    }
}

/// The environment of a provider's program: what the configuration gives and names, and a plain PATH.
fn variables(provider: &Provider, env: Env<'_>) -> Vec<(String, std::ffi::OsString)> {
    let Provider::Exec(exec) = provider else { return Vec::new() };
    let passed = exec.pass_env.iter().filter_map(|name| Some((name.clone(), env(name)?)));
    let mut all: BTreeMap<String, String> = [("PATH".to_owned(), PLAIN_PATH.to_owned())].into();
    all.extend(passed);
    all.extend(exec.env.iter().cloned());
    all.into_iter().map(|(name, value)| (name, value.into())).collect()
}

/// Runs on a helper thread.
fn answer(batch: &Batch, variables: Vec<(String, std::ffi::OsString)>, max_batch_bytes: usize) -> Answers {
    let values = match &batch.provider {
        Provider::File(file) => from_file(file, &batch.references),
        Provider::Exec(exec) => from_program(exec, batch, variables, max_batch_bytes),
        Provider::Env { .. } => Ok(Vec::new()),
    };
    match values {
        Ok(values) => batch.references.iter().cloned().zip(values).collect(),
        Err(why) => batch.references.iter().map(|reference| (reference.clone(), Err(why.clone()))).collect(),
    }
}

// ── Files ──────────────────────────────────────────────────────────────────────────────────────────────

fn from_file(file: &FileProvider, references: &[SecretRef]) -> Result<Vec<Result<Secret, String>>, String> {
    let shown = file.path.display();
    let text = read_file(file).map_err(|why| format!("{shown} {why}"))?;
    if file.single_value {
        return Ok(references
            .iter()
            .map(|reference| match reference.id.as_str() {
                "value" => filled(&text),
                _ => Err("has mode \"singleValue\": its only id is \"value\"".into()),
            })
            .collect());
    }
    let tree: Value = serde_json::from_str(&text)
        .map_err(|e| format!("{shown} is not JSON (line {}, column {})", e.line(), e.column()))?;
    let value = |reference: &SecretRef| match tree.pointer(&reference.id) {
        _ if !reference.id.starts_with('/') => Err("has mode \"json\": the id must be a pointer like /a/b".into()),
        Some(Value::String(text)) => filled(text),
        Some(_) => Err(format!("{} in {shown} is not a text", reference.id)),
        None => Err(format!("{shown} has nothing at {}", reference.id)),
    };
    Ok(references.iter().map(value).collect())
}

fn read_file(provider: &FileProvider) -> Result<String, String> {
    let path = &provider.path;
    let meta = std::fs::symlink_metadata(path).map_err(|e| plain_error(&e))?;
    if meta.is_symlink() {
        return Err("is a symbolic link; name the file itself".into());
    }
    if !meta.is_file() {
        return Err("is not a regular file".into());
    }
    let file = atomic::open_plain(path).map_err(|e| plain_error(&e))?;
    let meta = file.metadata().map_err(|e| plain_error(&e))?;
    if !provider.allow_insecure {
        private(&meta, 0o077, "600", path)?;
    }
    let mut bytes = Vec::new();
    let limit = provider.max_bytes;
    io::Read::read_to_end(&mut io::Read::take(file, limit + 1), &mut bytes).map_err(|e| plain_error(&e))?;
    if bytes.len() as u64 > limit {
        return Err(format!("is larger than {limit} bytes (maxBytes)"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".into())
}

// ── Programs ───────────────────────────────────────────────────────────────────────────────────────────

fn from_program(
    exec: &ExecProvider,
    batch: &Batch,
    env: Vec<(String, std::ffi::OsString)>,
    max_batch_bytes: usize,
) -> Result<Vec<Result<Secret, String>>, String> {
    let shown = exec.command.display();
    let program = check_command(exec).map_err(|why| format!("{shown} {why}"))?;
    let ids: Vec<&str> = batch.references.iter().map(|reference| reference.id.as_str()).collect();
    let request = json!({"protocolVersion": 1, "provider": batch.name, "ids": ids}).to_string();
    if request.len() > max_batch_bytes {
        return Err(format!(
            "the question has {} bytes, at most {max_batch_bytes} (secrets.resolution.maxBatchBytes)",
            request.len()
        ));
    }
    let question = Question {
        program: &program,
        args: &exec.args,
        env,
        dir: None,
        input: request.into_bytes(),
        timeout: exec.timeout,
        silence: exec.no_output_timeout,
        max_output: exec.max_bytes,
        errors: Errors::Dropped,
        give_up: None,
    };
    let output = question.ask().map_err(|failure| format!("{shown} {}", no_answer(exec, &failure)))?;
    let output = String::from_utf8(output).map_err(|_| format!("{shown} printed no UTF-8 text"))?;
    read_answer(exec, &ids, &output).map_err(|why| format!("{shown} {why}"))
}

/// The program to run, after everything that forbids it.
fn check_command(exec: &ExecProvider) -> Result<PathBuf, String> {
    let command = &exec.command;
    if !command.is_absolute() {
        return Err("is not an absolute path".into());
    }
    let named = std::fs::symlink_metadata(command).map_err(|e| plain_error(&e))?;
    if named.is_symlink() && !exec.allow_symlink {
        return Err("is a symbolic link; name its target, or set allowSymlinkCommand".into());
    }
    let real = std::fs::canonicalize(command).map_err(|e| plain_error(&e))?;
    let meta = std::fs::metadata(&real).map_err(|e| plain_error(&e))?;
    if !meta.is_file() {
        return Err("is not a regular file".into());
    }
    if !exec.allow_insecure {
        private(&meta, 0o022, "755", &real)?;
    }
    let dirs = exec.trusted_dirs.iter().map(|dir| std::fs::canonicalize(dir).unwrap_or_else(|_| dir.clone()));
    if !exec.trusted_dirs.is_empty() && !dirs.into_iter().any(|dir| real.starts_with(dir)) {
        return Err("is outside trustedDirs".into());
    }
    Ok(real)
}

fn no_answer(exec: &ExecProvider, failure: &NoAnswer) -> String {
    match failure {
        NoAnswer::NotStarted(e) => format!("cannot be started: {}", plain_error(e)),
        NoAnswer::TimedOut => format!("did not end within {} ms (timeoutMs) and was killed", exec.timeout.as_millis()),
        NoAnswer::Silent => {
            let ms = exec.no_output_timeout.as_millis();
            format!("printed nothing for {ms} ms (noOutputTimeoutMs) and was killed")
        }
        NoAnswer::TooLong => format!("printed more than {} bytes (maxOutputBytes) and was killed", exec.max_bytes),
        NoAnswer::GivenUp => "was given up".into(),
        NoAnswer::Failed(status, _) => match status.code() {
            Some(code) => format!("ended with exit code {code}; run it by hand to see why"),
            None => "was killed by a signal".into(),
        },
    }
}

/// `{"protocolVersion":1,"values":{id: text},"errors":{id:{"message":…}}}`, or the secret itself where that is allowed.
fn read_answer(exec: &ExecProvider, ids: &[&str], output: &str) -> Result<Vec<Result<Secret, String>>, String> {
    let parsed: Option<Value> = serde_json::from_str(output.trim()).ok().filter(Value::is_object);
    let spoken = parsed.as_ref().is_some_and(|tree| tree.get("protocolVersion") == Some(&json!(1)));
    let tree = match parsed {
        Some(tree) if spoken => tree,
        _ if !exec.json_only && ids.len() == 1 => return Ok(vec![filled(output)]),
        Some(_) => return Err("did not answer with protocolVersion 1".into()),
        None => return Err("did not print a JSON object".into()),
    };
    let one = |id: &&str| {
        if let Some(error) = tree.get("errors").and_then(|errors| errors.get(*id)) {
            let said = error.get("message").and_then(Value::as_str).unwrap_or("no message");
            return Err(format!("says about {id}: {}", readable(said)));
        }
        match tree.get("values").and_then(|values| values.get(*id)) {
            Some(Value::String(text)) => filled(text),
            Some(_) => Err(format!("gave no text for {id}")),
            None => Err(format!("has no value for {id}")),
        }
    };
    Ok(ids.iter().map(one).collect())
}

// ── Both ───────────────────────────────────────────────────────────────────────────────────────────────

fn filled(text: &str) -> Result<Secret, String> {
    let text = text.trim();
    if text.is_empty() { Err("the value is empty".into()) } else { Ok(Secret::new(text)) }
}

/// One line of what a program says, without what could play tricks on a terminal.
fn readable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_CHARS).collect()
}

fn plain_error(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::NotFound => "does not exist".into(),
        io::ErrorKind::PermissionDenied => "may not be read by this user".into(),
        _ => e.to_string(),
    }
}

/// Ours or root's, and closed to others.
#[cfg(unix)]
fn private(meta: &std::fs::Metadata, forbidden: u32, wanted: &str, path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;
    let (mode, owner, us) = (meta.mode() & 0o7777, meta.uid(), crate::sys::process::effective_uid());
    if owner != us && owner != 0 {
        return Err(format!("belongs to user {owner}, not to user {us} or root"));
    }
    if mode & forbidden != 0 {
        let who = if forbidden & 0o044 != 0 { "is open to others" } else { "can be changed by others" };
        return Err(format!("{who} (mode {mode:03o}); run: chmod {wanted} {}", path.display()));
    }
    Ok(())
}

/// Without modes there is nothing to check by: only `allowInsecurePath` lets such a path in.
#[cfg(not(unix))]
fn private(_: &std::fs::Metadata, _: u32, _: &str, _: &Path) -> Result<(), String> {
    Err("cannot be checked on this system; set allowInsecurePath if the path is safe".into())
}
