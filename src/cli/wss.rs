//! The command line's way to a gateway: plain TCP, or TLS with a certificate that is trusted by its fingerprint, by the
//! file on this machine or by the public authorities.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};

use super::client::Deadline;
use super::target::Trust;
use crate::ids;
use crate::server::certificate::fingerprint_of;
use crate::server::x509::subject_public_key;

const MISMATCH: &str = "gateway tls fingerprint mismatch";

/// A stream whose every read and write ends at one moment, however slowly the other side drips.
pub struct Timed {
    pub stream: TcpStream,
    pub deadline: Deadline,
}

impl Read for Timed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.deadline.left()?))?;
        self.stream.read(buf)
    }
}

impl Write for Timed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.deadline.left()?))?;
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// What a WebSocket of the command line runs over.
pub enum Stream {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

/// Why a connection is not trusted, or no TLS at all: what happened, and what to do.
#[derive(Debug)]
pub enum Fault {
    Late,
    Said { what: String, fix: String },
}

impl Stream {
    pub fn deadline(&self) -> Deadline {
        match self {
            Stream::Plain(timed) => timed.deadline,
            Stream::Tls(tls) => tls.sock.deadline,
        }
    }

    pub fn set_deadline(&mut self, deadline: Deadline) {
        match self {
            Stream::Plain(timed) => timed.deadline = deadline,
            Stream::Tls(tls) => tls.sock.deadline = deadline,
        }
    }

    /// Shakes hands with the host that was dialled.
    pub fn secure(mut timed: Timed, host: &str, trust: &Trust) -> Result<Stream, Fault> {
        let said = |what: String, fix: &str| Fault::Said { what, fix: fix.to_owned() };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| said(format!("\"{host}\" is no host name"), "Check the address of the gateway."))?;
        let mut conn = ClientConnection::new(Arc::new(config(trust)?), name)
            .map_err(|e| said(format!("tls: {e}"), "Check the address of the gateway."))?;
        while conn.is_handshaking() {
            if let Err(error) = conn.complete_io(&mut timed) {
                return Err(fault(&error, trust));
            }
        }
        Ok(Stream::Tls(Box::new(StreamOwned::new(conn, timed))))
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(timed) => timed.read(buf),
            Stream::Tls(tls) => tls.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(timed) => timed.write(buf),
            Stream::Tls(tls) => tls.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(timed) => timed.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}

fn config(trust: &Trust) -> Result<ClientConfig, Fault> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for TLS 1.2 and 1.3");
    let pin = match trust {
        Trust::Authorities => {
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            return Ok(builder.with_root_certificates(roots).with_no_client_auth());
        }
        Trust::Fingerprint(pin) => pin.clone(),
        Trust::Certificate(path) => fingerprint_of(path).map_err(|why| Fault::Said {
            what: format!("the gateway's certificate cannot be read: {why}"),
            fix: "Fix: run this as the user that runs the gateway; it makes the file when it first starts.".into(),
        })?,
    };
    let pinned = Arc::new(Pinned { pin, provider });
    Ok(builder.dangerous().with_custom_certificate_verifier(pinned).with_no_client_auth())
}

fn fault(error: &io::Error, trust: &Trust) -> Fault {
    if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) {
        return Fault::Late;
    }
    let said = |what: &str, fix: &str| Fault::Said { what: what.to_owned(), fix: fix.to_owned() };
    let pin = "or set gateway.remote.tlsFingerprint to the fingerprint that the gateway logs when it starts.";
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::General(text)) if text == MISMATCH => match trust {
            Trust::Certificate(path) => said(
                MISMATCH,
                &format!(
                    "Fix: another program has the port, or the gateway could not use {} since it changed: see its log",
                    path.display()
                ),
            ),
            _ => said(
                MISMATCH,
                "Fix: if its certificate was renewed, set gateway.remote.tlsFingerprint to the fingerprint that the \
                 gateway logs when it starts; if not, somebody else answers there.",
            ),
        },
        Some(rustls::Error::InvalidCertificate(why)) => {
            let what = match why {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "it is not valid yet; is the clock of this machine right?"
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    "it is for another name"
                }
                _ => "no public authority has signed it",
            };
            said(
                &format!("the certificate of the gateway is not trusted: {what}"),
                &format!("Fix: give the gateway one from a public authority, {pin}"),
            )
        }
        Some(rustls::Error::InvalidMessage(_)) => said(
            "the gateway does not speak TLS there",
            "Fix: use ws:// on the same machine, or set gateway.tls.enabled=true on the gateway.",
        ),
        Some(other) => said(&format!("tls: {other}"), "Fix: see the log of the gateway."),
        None => said(
            &format!("the connection ended during the TLS handshake ({error})"),
            "Fix: see whether a gateway with TLS listens there: openclaw gateway status",
        ),
    }
}

/// Trusts one certificate, whoever signed it, whatever its names and dates.
#[derive(Debug)]
struct Pinned {
    /// SHA-256, lower-case hexadecimal digits.
    pin: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match ids::sha256_hex(end_entity) == self.pin {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::Error::General(MISMATCH.into())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // The key alone: a certificate of version 1 is as good as any when it is known.
        let key = subject_public_key(cert).ok_or(CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(key);
        crypto::verify_tls13_signature_with_raw_key(
            message,
            &key,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
