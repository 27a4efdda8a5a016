//! One request to the API server of Kubernetes: a connection, a GET, and the answer or an error.
//!
//! - A connection serves one request. Requests are seconds apart, so the token and the certificates are always fresh.
//! - An answer has at most [`BODY_BYTES_MAX`], and takes at most [`QUESTION_TIME_MAX`], connecting included.

use std::{fmt, fs, io, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{Trouble, kubernetes::Address};

/// How long one request may take.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest answer.
const BODY_BYTES_MAX: usize = 16 << 20;
/// Largest token or certificate file.
const FILE_BYTES_MAX: u64 = 1 << 20;

pub(crate) struct Api {
    address: Address,
}

impl Api {
    pub(super) fn new(address: Address) -> Self {
        Self { address }
    }

    /// The body that the server returns for this path and query.
    ///
    /// # Errors
    /// The server could not be asked, or its status is not 200.
    pub(super) async fn get(&self, target: &str) -> Result<Bytes, Trouble> {
        let asked = timeout(QUESTION_TIME_MAX, self.ask(target)).await;
        asked.unwrap_or_else(|_| Err(Trouble::silent(self)))
    }

    async fn ask(&self, target: &str) -> Result<Bytes, Trouble> {
        let Address { host, port, tls, .. } = &self.address;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(|error| Trouble::io(self, error))?;
        let authority = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        let mut request = Request::get(target)
            .header(header::HOST, authority)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("salp/", env!("CARGO_PKG_VERSION")));
        if !tls {
            return self.exchange(stream, request).await;
        }
        let token = read(&self.address.token)?;
        let token = String::from_utf8_lossy(&token);
        let mut proof = header::HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| Trouble::refused(self.address.token.display(), "is not a token"))?;
        proof.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, proof);
        let name = ServerName::try_from(host.clone()).map_err(|_| Trouble::refused(self, "has no proper host"))?;
        let connector = TlsConnector::from(Arc::new(self.client_config()?));
        let stream = connector.connect(name, stream).await;
        self.exchange(stream.map_err(|error| Trouble::io(self, error))?, request)
            .await
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: hyper::http::request::Builder,
    ) -> Result<Bytes, Trouble> {
        let broken = |error: &hyper::Error| Trouble::refused(self, error.to_string());
        let request = request.body(Empty::<Bytes>::new());
        let request = request.map_err(|error| Trouble::refused(self, error.to_string()))?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| broken(&error))?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
            let status = response.status();
            if status != StatusCode::OK {
                return Err(Trouble::refused(self, explain(status)));
            }
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
            let body = body.map_err(|error| Trouble::refused(self, error.to_string()))?;
            Ok(body.to_bytes())
        };
        tokio::pin!(answered);
        // The connection is driven only while its answer is awaited.
        tokio::select! {
            answer = &mut answered => answer,
            ended = connection => {
                if let Err(error) = ended {
                    return Err(broken(&error));
                }
                answered.await
            }
        }
    }

    fn client_config(&self) -> Result<ClientConfig, Trouble> {
        let path = &self.address.authority;
        let wrong = || Trouble::refused(path.display(), "is not a CA certificate");
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&read(path)?) {
            roots.add(certificate.map_err(|_| wrong())?).map_err(|_| wrong())?;
        }
        if roots.is_empty() {
            return Err(wrong());
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| Trouble::refused(self, error.to_string()))?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kubernetes API on {}:{}", self.address.host, self.address.port)
    }
}

/// What a refusal means, for the operator of the cluster.
fn explain(status: StatusCode) -> String {
    let mend = match status {
        StatusCode::UNAUTHORIZED => "; the token is not accepted: see discovery.token_file",
        StatusCode::FORBIDDEN => "; allow the service account to list pods or endpointslices in the namespace",
        StatusCode::NOT_FOUND => "; see discovery.api and discovery.namespace",
        _ => "",
    };
    format!("answers {}{mend}", status.as_u16())
}

fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    let trouble = |error| Trouble::io(path.display(), error);
    if fs::metadata(path).map_err(trouble)?.len() > FILE_BYTES_MAX {
        return Err(trouble(io::ErrorKind::FileTooLarge.into()));
    }
    fs::read(path).map_err(trouble)
}

/// A text as part of a query (RFC 3986, 2.1).
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_one_value_of_a_query() {
        assert_eq!(
            encoded("app=salp,tier in (a,ä)"),
            "app%3Dsalp%2Ctier%20in%20%28a%2C%C3%A4%29"
        );
    }
}
