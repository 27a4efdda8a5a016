//! TLS between nodes: this node's certificate and the CAs it trusts. Both are read again when their files change.
//!
//! - Both sides present a certificate, and both are always verified. No setting weakens this.
//! - A certificate that other nodes would refuse is refused here first. At the start this is an error that says how to
//!   fix it. Later it is a warning, and the previous certificate stays in use.
//! - The files are checked before each connection. A change does not affect existing connections.
//! - TLS 1.2 and 1.3 only, without resumption, renegotiation or early data: each connection does a full handshake.
//!
//! Deliberately absent: revocation lists. To retire a certificate, use short lifetimes or a new CA.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use node::Covers;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Connection, Error, InvalidMessage,
    RootCertStore, ServerConfig, ServerConnection, SupportedCipherSuite,
    client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier, verify_server_name},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier},
};

/// Longest file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// PEM files, and the settings that name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    /// This node's certificate, and the intermediate certificates up to the CA.
    pub(crate) cert: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
    /// Certificates of the CAs that sign for nodes.
    pub(crate) ca: PathBuf,
}

/// Names of the settings.
pub(crate) const CERT: &str = "dist-tls-cert";
pub(crate) const KEY: &str = "dist-tls-key";
pub(crate) const CA: &str = "dist-tls-ca";

/// What is wrong with one of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// The setting that names it.
    pub(crate) setting: &'static str,
    pub(crate) problem: String,
    pub(crate) mend: String,
}

impl Unusable {
    fn new(setting: &'static str, problem: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            setting,
            problem: problem.into(),
            mend: mend.into(),
        }
    }
}

/// The identity of this node. It is read again when its files change.
pub(crate) struct Keeper {
    files: Files,
    /// The host of this node's name.
    host: String,
    held: Mutex<Held>,
}

struct Held {
    identity: Arc<Identity>,
    /// The files when they were last read, successfully or not.
    seen: Stamp,
}

/// When each file was last changed, and its length. `None`: unknown.
type Stamp = [Option<(SystemTime, u64)>; 3];

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Keeper {
    /// Reads the files, and checks that other nodes will accept them from a node on `host`.
    pub(crate) fn new(files: Files, host: &str) -> Result<Self, Unusable> {
        // Before the files: a change in between is then read again.
        let seen = stamp(&files);
        let identity = Arc::new(Identity::read(&files, host)?);
        Ok(Self {
            files,
            host: host.into(),
            held: Mutex::new(Held { identity, seen }),
        })
    }

    /// The identity for a new connection.
    pub(crate) async fn current(self: &Arc<Self>) -> Arc<Identity> {
        let keeper = self.clone();
        let looked = tokio::task::spawn_blocking(move || keeper.look()).await;
        // The runtime ends, and this connection with it.
        looked.unwrap_or_else(|_| self.lock().identity.clone())
    }

    fn look(&self) -> Arc<Identity> {
        let mut held = self.lock();
        let seen = stamp(&self.files);
        if seen != held.seen {
            held.seen = seen;
            match Identity::read(&self.files, &self.host) {
                Ok(identity) => {
                    held.identity = Arc::new(identity);
                    tracing::info!("certificates read again; new connections use them");
                }
                Err(Unusable { setting, problem, mend }) => {
                    let problem = format!("--{setting}: {problem}");
                    tracing::warn!(
                        problem,
                        mend,
                        "changed certificates cannot be used; the old ones stay in use"
                    );
                }
            }
        }
        held.identity.clone()
    }

    /// The identity is complete between calls, so a panic while it is locked does no harm.
    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(files: &Files) -> Stamp {
    [&files.cert, &files.key, &files.ca].map(|path| {
        let facts = fs::metadata(path).ok()?;
        Some((facts.modified().ok()?, facts.len()))
    })
}

/// Certificate, key and CAs, ready for connections of either direction.
pub(crate) struct Identity {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Identity {
    /// The session of the side that dials a node on `host`.
    pub(crate) fn dialling(&self, host: &str) -> Result<Connection, Error> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::General("it is not a host name".into()))?;
        Ok(ClientConnection::new(self.client.clone(), name)?.into())
    }

    /// The session of the side that was dialled.
    pub(crate) fn accepting(&self) -> Result<Connection, Error> {
        Ok(ServerConnection::new(self.server.clone())?.into())
    }

    fn read(files: &Files, host: &str) -> Result<Self, Unusable> {
        let chain = certificates(CERT, &files.cert)?;
        let key = private_key(&files.key)?;
        let mut roots = RootCertStore::empty();
        for root in certificates(CA, &files.ca)? {
            roots
                .add(root)
                .map_err(|error| Unusable::new(CA, error.to_string(), "name a file with certificates of CAs"))?;
        }

        let provider = Arc::new(provider());
        let roots = Arc::new(roots);
        let no_roots = |error: &dyn fmt::Display| Unusable::new(CA, error.to_string(), "name certificates of CAs");
        let servers = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| no_roots(&error))?;
        let clients = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| no_roots(&error))?;
        check(&chain, host, &*servers, &*clients)?;

        let no_match = |error: Error| {
            let problem = match error {
                Error::InconsistentKeys(_) => "is not the key of the certificate".into(),
                error => error.to_string(),
            };
            Unusable::new(KEY, problem, format!("name the key that belongs to --{CERT}"))
        };
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(no_match)?
            .with_webpki_verifier(servers)
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(no_match)?;
        client.resumption = Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(no_match)?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .map_err(no_match)?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.ignore_client_order = true;
        Ok(Self {
            client: Arc::new(client),
            server: Arc::new(server),
        })
    }
}

/// AES-GCM may encrypt only a limited number of records under one key. TLS 1.3 changes keys during a connection. TLS
/// 1.2 cannot, so a connection that lives for months would end. There ChaCha20 comes first, which has no such limit.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| match suite {
        SupportedCipherSuite::Tls13(_) => 0,
        SupportedCipherSuite::Tls12(suite) if suite.common.confidentiality_limit == u64::MAX => 1,
        SupportedCipherSuite::Tls12(_) => 2,
    });
    provider
}

/// Checks that other nodes will accept this certificate, whichever side dials.
fn check(
    chain: &[CertificateDer<'static>],
    host: &str,
    servers: &dyn ServerCertVerifier,
    clients: &dyn ClientCertVerifier,
) -> Result<(), Unusable> {
    let unusable = |problem: String, mend: &str| Unusable::new(CERT, problem, mend);
    let name = ServerName::try_from(host).map_err(|_| {
        unusable(
            format!("{host} is not a host name"),
            "name the node after a DNS name or an address",
        )
    })?;
    let (own, between) = chain.split_first().expect("a file without certificates is refused");
    let now = UnixTime::now();
    let verified = servers
        .verify_server_cert(own, between, &name, &[], now)
        .map(drop)
        .and_then(|()| clients.verify_client_cert(own, between, now).map(drop));
    let Err(error) = verified else { return Ok(()) };
    let Error::InvalidCertificate(fault) = error else {
        return Err(unusable(error.to_string(), "name another certificate"));
    };
    let (problem, mend) = describe(&fault);
    Err(match fault {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            unusable(format!("is not for {host}, the host of --name"), mend)
        }
        _ => unusable(problem, mend),
    })
}

/// What is wrong with a certificate, and how to fix it.
fn describe(fault: &CertificateError) -> (String, &'static str) {
    use CertificateError as Fault;
    const ANOTHER: &str = "use another certificate";
    let (problem, mend) = match fault {
        Fault::NotValidForName | Fault::NotValidForNameContext { .. } => (
            "is not for the host in the node's name",
            "use one with that host among its subject alternative names",
        ),
        Fault::Expired | Fault::ExpiredContext { .. } => ("has expired", "renew it"),
        Fault::NotValidYet | Fault::NotValidYetContext { .. } => ("is not valid yet", "correct the clock, or wait"),
        Fault::UnknownIssuer => {
            let problem = format!("is not signed by a CA of --{CA}");
            return (
                problem,
                "add the CA to that file, or the intermediate certificates to this one",
            );
        }
        Fault::InvalidPurpose | Fault::InvalidPurposeContext { .. } => (
            "is not for both servers and clients",
            "a node is both: use a certificate without extended key usages, or with both",
        ),
        Fault::BadEncoding => ("is not well formed", ANOTHER),
        Fault::Revoked => ("was revoked", ANOTHER),
        Fault::BadSignature => ("has a wrong signature", ANOTHER),
        Fault::UnhandledCriticalExtension => ("has an unknown critical extension", ANOTHER),
        Fault::UnsupportedSignatureAlgorithmContext { .. }
        | Fault::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => (
            "is signed by an unknown algorithm",
            "use ECDSA, Ed25519 or RSA with SHA-256",
        ),
        Fault::Other(other) => return (format!("was refused: {other}"), ANOTHER),
        other => return (format!("was refused: {other}"), ANOTHER),
    };
    (problem.into(), mend)
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let bytes = read(setting, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => {
            let problem = format!("{} has no certificates", path.display());
            Err(Unusable::new(setting, problem, "name a PEM file"))
        }
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Unusable> {
    PrivateKeyDer::from_pem_slice(&read(KEY, path)?).map_err(|_| {
        let problem = format!("{} has no private key", path.display());
        Unusable::new(KEY, problem, "name a PEM file with a key that has no password")
    })
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, Unusable> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => {
            let problem = format!("{}: {error}", path.display());
            Err(Unusable::new(setting, problem, "name a file that can be read"))
        }
    }
}

/// The certificate that a peer presented. The node compares it with the peer's name.
#[derive(Debug)]
pub(crate) struct Shown(CertificateDer<'static>);

impl Shown {
    /// The certificate of a connection whose handshake is over.
    pub(crate) fn of(connection: &Connection) -> Option<Self> {
        Some(Self(connection.peer_certificates()?.first()?.clone().into_owned()))
    }
}

impl Covers for Shown {
    fn covers(&self, host: &str) -> bool {
        let (Ok(name), Ok(certificate)) = (ServerName::try_from(host), ParsedCertificate::try_from(&self.0)) else {
            return false;
        };
        verify_server_name(&certificate, &name).is_ok()
    }
}

/// A TLS error, in words for operators.
pub(crate) fn explain(error: &Error) -> io::Error {
    let text = match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => "it does not speak TLS, and this node does".into(),
        Error::InvalidCertificate(fault) => format!("its certificate {}", describe(fault).0),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA => "it does not know the CA of this node's certificate".into(),
            AlertDescription::CertificateExpired => {
                "it finds this node's certificate expired; check both clocks".into()
            }
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked => "it refuses this node's certificate".into(),
            AlertDescription::CertificateRequired => "it asks for a certificate, and this node presented none".into(),
            _ => error.to_string(),
        },
        Error::NoCertificatesPresented => "it presents no certificate".into(),
        error => error.to_string(),
    };
    io::Error::new(io::ErrorKind::InvalidData, text)
}
