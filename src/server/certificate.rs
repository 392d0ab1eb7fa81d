//! What the gateway shows its clients when it speaks TLS (http 2.6): certificate and key from files, or a pair of its
//! own that it makes once. Runs on `main` while the gateway starts; the command line reads fingerprints here.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::ring as provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::x509::{Validity, subject_public_key};
use crate::config::Tls;
use crate::error::{Error, Result};
use crate::protocol::compat_version_ms;
use crate::store::atomic::{self, Staged};
use crate::sys::host;
use crate::{ids, limits};

/// Subject of a certificate that we make, and the years that it lasts.
const SUBJECT: &str = "openclaw-gateway";
const YEARS: i16 = 10;

/// The files of `gateway.tls`, named or our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub ca: Option<PathBuf>,
    /// A missing pair may be made: nobody named a file.
    may_generate: bool,
}

impl Files {
    pub fn of(tls: &Tls, state_dir: &Path) -> Files {
        let [cert, key] = tls.pair(state_dir);
        let may_generate = tls.auto_generate && tls.cert_path.is_none() && tls.key_path.is_none();
        Files { cert, key, ca: tls.ca_path.as_ref().map(PathBuf::from), may_generate }
    }

    /// There is no pair, and the next start makes one.
    pub fn to_be_made(&self) -> bool {
        // A link that leads nowhere is somebody's, too.
        let free = |path: &PathBuf| std::fs::symlink_metadata(path).is_err();
        self.may_generate && free(&self.cert) && free(&self.key)
    }

    /// Reads and checks the files; makes a pair first where there is none and that is wanted. `now_ms` is the clock.
    pub fn load(&self, now_ms: u64) -> Result<Loaded> {
        let made = self.to_be_made();
        if made {
            self.generate(now_ms).map_err(|why| failed(format!("failed to generate cert ({why})")))?;
        }
        let mut loaded = self.read(now_ms)?;
        if made {
            let line = format!("gateway tls: made a certificate of its own: {}", self.cert.display());
            loaded.notes.insert(0, (false, line));
        }
        Ok(loaded)
    }

    /// The same without making anything.
    pub fn read(&self, now_ms: u64) -> Result<Loaded> {
        let missing = |path: &&PathBuf| !path.exists();
        if let Some(path) = [&self.cert, &self.key].into_iter().find(missing) {
            return Err(failed("cert/key missing".into()).hint(format!(
                "Fix: there is no {}. Put it there, set gateway.tls.certPath and gateway.tls.keyPath, or remove both \
                 files and both keys and let the gateway make a pair.",
                path.display()
            )));
        }
        let unusable = |why: String| {
            failed(format!("failed to load cert ({why})"))
                .hint("Fix: gateway.tls.certPath and gateway.tls.keyPath are PEM files that belong together.")
        };
        let key = self.certified_key().map_err(unusable)?;
        let leaf = key.cert.first().ok_or_else(|| failed("unable to compute certificate fingerprint".into()))?;
        let (fingerprint, validity) = (fingerprint(leaf), Validity::of(leaf));
        let trouble = validity.and_then(|validity| validity.trouble(now_ms));
        let dates = trouble.map(|it| format!("gateway tls: the certificate {} {}", self.cert.display(), it.what));
        let notes = others_can_read(&self.key).into_iter().chain(dates).map(|line| (true, line)).collect();
        Ok(Loaded { config: Arc::new(server_config(key)), fingerprint, validity, notes })
    }

    fn certified_key(&self) -> Result<CertifiedKey, String> {
        let mut chain = certificates(&self.cert)?;
        for further in self.ca.iter().map(|path| certificates(path)).collect::<Result<Vec<_>, _>>()?.concat() {
            if !chain.contains(&further) {
                chain.push(further);
            }
        }
        let shown = self.key.display();
        let pem = read(&self.key)?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| match is_encrypted(&pem) {
            true => format!("{shown}: the key has a passphrase; take it off: openssl pkey -in {shown} -out plain.pem"),
            false => format!("{shown}: no private key in PEM"),
        })?;
        let signing = provider::sign::any_supported_type(&key).map_err(|_| {
            format!("{shown}: no RSA key of 2048 bits or more, ECDSA key on P-256 or P-384, or Ed25519 key")
        })?;
        let own = signing.public_key();
        let belongs = |it: &CertificateDer<'_>| own.as_ref().is_some_and(|own| subject_public_key(it) == Some(own));
        match chain.iter().position(belongs) {
            Some(0) => Ok(CertifiedKey::new(chain, signing)),
            Some(_) => Err(format!(
                "{}: the certificate of the key has to be the first, those that signed it behind it",
                self.cert.display()
            )),
            None => Err(format!("the key {shown} is not that of the certificate")),
        }
    }

    fn generate(&self, now_ms: u64) -> Result<(), String> {
        let (cert, key) = self_signed(&host::hostname(), now_ms)?;
        let staged = |path: &Path, der: &[u8], kind: &str| -> std::io::Result<Staged> {
            let staged = Staged::create(path)?;
            staged.file().write_all(pem(kind, der).as_bytes())?;
            Ok(staged)
        };
        let write = || -> std::io::Result<bool> {
            let (cert, key) = (staged(&self.cert, &cert, "CERTIFICATE")?, staged(&self.key, &key, "PRIVATE KEY")?);
            Ok(key.commit_new()? && cert.commit_new()?)
        };
        match write() {
            Ok(true) => Ok(()),
            Ok(false) => Err("somebody else is making one".into()),
            Err(e) => Err(format!("{}: {e}", atomic::parent(&self.cert).display())),
        }
    }
}

/// Certificate and key as connections use them.
pub struct Loaded {
    config: Arc<ServerConfig>,
    /// SHA-256 of the certificate in lower-case hexadecimal digits.
    pub fingerprint: String,
    /// None: its dates cannot be read.
    pub validity: Option<Validity>,
    /// For the log; true: a warning.
    pub notes: Vec<(bool, String)>,
}

impl Loaded {
    pub fn log_notes(&self) {
        for (warn, line) in &self.notes {
            match warn {
                true => log::warn!(target: "gateway", "{line}"),
                false => log::info!(target: "gateway", "{line}"),
            }
        }
    }
}

/// The certificate in force: what new connections are greeted with. Shared by all of them.
pub struct InForce(RwLock<Shown>);

struct Shown {
    config: Arc<ServerConfig>,
    fingerprint: String,
    validity: Option<Validity>,
}

impl Shown {
    fn of(loaded: &Loaded) -> Shown {
        let Loaded { config, fingerprint, validity, .. } = loaded;
        Shown { config: config.clone(), fingerprint: fingerprint.clone(), validity: *validity }
    }
}

impl InForce {
    pub fn new(loaded: &Loaded) -> InForce {
        InForce(RwLock::new(Shown::of(loaded)))
    }

    /// For connections from now on. True: it is another certificate.
    pub fn replace(&self, loaded: &Loaded) -> bool {
        let before = std::mem::replace(&mut *self.0.write(), Shown::of(loaded));
        before.fingerprint != loaded.fingerprint
    }

    pub fn config(&self) -> Arc<ServerConfig> {
        self.0.read().config.clone()
    }

    pub fn validity(&self) -> Option<Validity> {
        self.0.read().validity
    }
}

/// Fingerprint of the first certificate in a file, as [`Loaded::fingerprint`].
pub fn fingerprint_of(path: &Path) -> Result<String, String> {
    Ok(fingerprint(&certificates(path)?[0]))
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    ids::sha256_hex(certificate)
}

/// TLS 1.3 and nothing else, on the cryptography that is in the program anyway.
fn server_config(key: CertifiedKey) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites for TLS 1.3")
        .with_client_cert_verifier(WebPkiClientVerifier::no_client_auth())
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.session_storage = ServerSessionMemoryCache::new(limits::TLS_SESSIONS);
    config.send_tls13_tickets = 1;
    // Who wants to speak something else hears so before it begins (RFC 9325 section 3.8).
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    config
}

/// DER of a certificate for this machine and of its key.
fn self_signed(host: &str, now_ms: u64) -> Result<(Vec<u8>, Vec<u8>), String> {
    use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
    // A clock that has not been set yet must not make a certificate that is over when it is.
    let now_ms = i64::try_from(now_ms.max(compat_version_ms())).map_err(|e| e.to_string())?;
    let today = jiff::Timestamp::from_millisecond(now_ms).map_err(|e| e.to_string())?;
    let today = today.to_zoned(jiff::tz::TimeZone::UTC).date();
    let date = |date: jiff::civil::Date| rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8);
    let days = jiff::Span::new().days(i64::from(YEARS) * 365);
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".into(), "::1".into()];
    let is_name = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let label = host.split('.').next().filter(is_name).map(str::to_ascii_lowercase);
    names.extend(label.into_iter().filter(|label| label != "localhost").flat_map(|l| [format!("{l}.local"), l]));
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|e| e.to_string())?;
    let mut params = CertificateParams::new(names).map_err(|e| e.to_string())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, SUBJECT);
    params.not_before = date(today.saturating_sub(jiff::Span::new().days(1)));
    params.not_after = date(today.saturating_add(days));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key).map_err(|e| e.to_string())?;
    Ok((certificate.der().to_vec(), key.serialize_der()))
}

fn pem(kind: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|l| str::from_utf8(l).expect("base64 is ASCII")).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

/// At least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ if pem.first() == Some(&0x30) => {
            let shown = path.display();
            Err(format!("{shown}: DER in place of PEM; convert it: openssl x509 -inform DER -in {shown} -out cert.pem"))
        }
        _ => Err(format!("{}: no certificate in PEM", path.display())),
    }
}

/// PKCS#8 says so in its first line, older forms below it.
fn is_encrypted(pem: &[u8]) -> bool {
    pem.windows(9).any(|word| word == b"ENCRYPTED")
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    // A pipe would be waited for, by `main`.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(format!("{shown}: no regular file"));
    }
    let bytes = atomic::read_limited(path, limits::TLS_FILE_BYTES).map_err(|e| format!("{shown}: {e}"))?;
    // Editors of Windows begin files with a mark.
    Ok(bytes.strip_prefix(b"\xef\xbb\xbf").map(<[u8]>::to_vec).unwrap_or(bytes))
}

#[cfg(unix)]
fn others_can_read(key: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(key).ok()?.permissions().mode() & 0o777;
    (mode & 0o007 != 0).then(|| {
        let path = key.display();
        format!(
            "gateway tls: everybody on this machine can read the key {path} ({mode:03o}); close it: chmod 600 {path}"
        )
    })
}

#[cfg(not(unix))]
fn others_can_read(_: &Path) -> Option<String> {
    None
}

const FAILED: &str = "Gateway failed to start: Error: gateway tls: ";

fn failed(what: String) -> Error {
    Error::new(format!("{FAILED}{what}"))
}

/// What a start ends with, for those who do not start: without its first words.
pub fn reason(error: &Error) -> &str {
    error.message.strip_prefix(FAILED).unwrap_or(&error.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000_000;

    fn files(dir: &Path, tls: Tls) -> Files {
        Files::of(&tls, dir)
    }

    fn message(loaded: Result<Loaded>) -> String {
        loaded.err().map(|e| e.message).unwrap_or_default()
    }

    #[test]
    fn a_pair_is_made_once_and_found_again() {
        let dir = crate::sys::testing::TempDir::new("tls");
        let files = files(&dir.0, Tls::default());
        let first = files.load(NOW).unwrap();
        assert_eq!(first.notes.len(), 1);
        let again = files.load(NOW).unwrap();
        assert_eq!((again.fingerprint.as_str(), again.notes.len()), (first.fingerprint.as_str(), 0));
        assert_eq!(fingerprint_of(&files.cert).unwrap(), first.fingerprint);
        // One of the two is never made for the other.
        std::fs::remove_file(&files.key).unwrap();
        assert_eq!(message(files.load(NOW)), "Gateway failed to start: Error: gateway tls: cert/key missing");
        std::fs::remove_file(&files.cert).unwrap();
        let never = Files { may_generate: false, ..files.clone() };
        assert!(message(never.load(NOW)).ends_with("gateway tls: cert/key missing"));
        assert!(!files.cert.exists());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(dir.0.join("nowhere"), &files.cert).unwrap();
            assert!(message(files.load(NOW)).ends_with("gateway tls: cert/key missing"));
            assert!(!files.key.exists());
        }
    }

    #[test]
    fn files_that_somebody_named_are_never_made() {
        let dir = crate::sys::testing::TempDir::new("tls");
        let named = dir.0.join("there.pem").display().to_string();
        let files = files(&dir.0, Tls { cert_path: Some(named.clone()), ..Tls::default() });
        let error = files.load(NOW).err().unwrap();
        assert!(error.message.ends_with("cert/key missing") && error.hints[0].contains(&named), "{error}");
        assert!(!files.cert.exists() && !files.key.exists());
    }

    #[test]
    fn what_is_no_pair_is_refused_with_its_name() {
        let dir = crate::sys::testing::TempDir::new("tls");
        let (one, other) = (files(&dir.0.join("a"), Tls::default()), files(&dir.0.join("b"), Tls::default()));
        one.load(NOW).unwrap();
        other.load(NOW).unwrap();
        let text = dir.0.join("text.pem");
        let at = |name: &str, bytes: &[u8]| {
            std::fs::write(dir.0.join(name), bytes).unwrap();
            dir.0.join(name)
        };
        at("text.pem", b"hello");
        let locked =
            at("locked.pem", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
        let old_lock = at(
            "old.pem",
            b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA \
              PRIVATE KEY-----\n",
        );
        let read = |path: &Path| std::fs::read(path).unwrap();
        let behind = at("behind.pem", &[read(&other.cert), read(&one.cert)].concat());
        let der = at("der.pem", &certificates(&one.cert).unwrap()[0]);
        for (cert, key, why) in [
            (&one.cert, &other.key, "is not that of the certificate"),
            (&text, &one.key, "text.pem: no certificate in PEM"),
            (&one.cert, &text, "text.pem: no private key in PEM"),
            (&one.cert, &one.cert, "no private key in PEM"),
            (&one.cert, &locked, "locked.pem: the key has a passphrase; take it off: openssl pkey -in "),
            (&one.cert, &old_lock, "the key has a passphrase"),
            (&behind, &one.key, "the certificate of the key has to be the first"),
            (&PathBuf::from("/dev/zero"), &one.key, "/dev/zero: no regular file"),
            (&der, &one.key, "der.pem: DER in place of PEM; convert it: openssl x509 -inform DER"),
        ] {
            let files = Files { cert: cert.clone(), key: key.clone(), ..one.clone() };
            let said = message(files.load(NOW));
            assert!(said.contains("gateway tls: failed to load cert (") && said.contains(why), "{said}");
        }
        let chained = Files { ca: Some(other.cert.clone()), ..one.clone() };
        assert_eq!(chained.certified_key().unwrap().cert.len(), 2);
        let twice = Files { ca: Some(one.cert.clone()), ..one.clone() };
        assert_eq!(twice.certified_key().unwrap().cert.len(), 1);
        // As other systems write it: all in one file, a mark in front, text between, lines that end in two characters.
        let all =
            [&b"\xef\xbb\xbfBag Attributes\n"[..], &read(&one.key), b"subject=CN = x\n\n", &read(&one.cert)].concat();
        let all = at("all.pem", String::from_utf8(all).unwrap().replace('\n', "\r\n").as_bytes());
        let single = Files { cert: all.clone(), key: all, ..one };
        assert_eq!(single.certified_key().unwrap().cert.len(), 1);
    }

    #[test]
    fn a_certificate_of_a_clock_that_is_not_set_outlasts_it() {
        let (early, _) = self_signed("pi.lan", 0).unwrap();
        let (late, _) = self_signed("a strange name", compat_version_ms()).unwrap();
        let text = |der: &[u8]| String::from_utf8_lossy(der).into_owned();
        assert!(text(&early).contains("360310") && text(&late).contains("360310"), "{}", text(&early));
        assert!(text(&early).contains("pi.local") && text(&early).contains("localhost"));
        assert!(!text(&late).contains("strange"));
    }
}
