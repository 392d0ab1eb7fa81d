//! TLS clients for the real binary, on the rustls that it is built with.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use openclaw::ids;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};
use tungstenite::client::IntoClientRequest as _;

use super::client::{Client, Hello};
use super::patience;
use super::raw::Raw;

pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A connection after its handshake; whatever certificate there is, it is believed.
pub fn open(port: u16) -> TlsStream {
    let mut stream = begin(port, &[&rustls::version::TLS13]);
    stream.conn.complete_io(&mut stream.sock).expect("the handshake");
    stream
}

/// A connection before its handshake.
pub fn begin(port: u16, versions: &[&'static SupportedProtocolVersion]) -> TlsStream {
    on(TcpStream::connect(("127.0.0.1", port)).expect("the gateway accepts"), versions)
}

fn on(sock: TcpStream, versions: &[&'static SupportedProtocolVersion]) -> TlsStream {
    sock.set_nodelay(true).expect("a socket");
    sock.set_read_timeout(Some(patience())).expect("a socket");
    sock.set_write_timeout(Some(patience())).expect("a socket");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("a version")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).expect("a client"), sock)
}

pub fn raw(port: u16) -> Raw<TlsStream> {
    Raw::over(open(port))
}

/// A WebSocket client that has its hello.
pub fn client(port: u16) -> Client<TlsStream> {
    client_on(open(port))
}

/// The same; its kernel takes little in advance: it stops the sender soon.
pub fn narrow_client(port: u16) -> Client<TlsStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(32 * 1024).expect("a small buffer");
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("the gateway accepts");
    client_on(on(socket.into(), &[&rustls::version::TLS13]))
}

fn client_on(stream: TlsStream) -> Client<TlsStream> {
    let request = "ws://127.0.0.1/".into_client_request().expect("a url");
    let mut client = Client::upgrade(request, stream);
    let answer = client.hello(&Hello::default(), None);
    assert_eq!(answer["ok"], true, "connect was refused: {answer}");
    client
}

/// SHA-256 of the certificate that the port shows.
pub fn fingerprint(port: u16) -> String {
    ids::sha256_hex(&open(port).conn.peer_certificates().expect("a certificate")[0])
}

/// Certificate and key for localhost as PEM, for so many days from today on; negative: over since then.
pub fn pair(days: i64) -> [String; 2] {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("names");
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let date = |day: jiff::civil::Date| rcgen::date_time_ymd(day.year().into(), day.month() as u8, day.day() as u8);
    let end = today.saturating_add(jiff::Span::new().days(days));
    params.not_before = date(end.min(today).saturating_sub(jiff::Span::new().days(365)));
    params.not_after = date(end);
    let certificate = params.self_signed(&key).expect("a certificate");
    let pem = |kind: &str, der: &[u8]| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).expect("ASCII")).collect();
        format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
    };
    [pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", &key.serialize_der())]
}

/// [`fingerprint`] of a file's text.
pub fn fingerprint_of(pem: &str) -> String {
    use rustls::pki_types::pem::PemObject as _;
    ids::sha256_hex(&CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate"))
}

/// What the gateway says by itself to these bytes, to the end of the connection.
pub fn says_to(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the gateway accepts");
    stream.set_read_timeout(Some(patience())).expect("a socket");
    let _ = stream.write_all(bytes);
    let mut heard = Vec::new();
    if let Err(e) = stream.read_to_end(&mut heard) {
        assert_ne!(e.kind(), std::io::ErrorKind::WouldBlock, "neither answered nor closed: {heard:?}");
    }
    heard
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
