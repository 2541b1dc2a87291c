//! The HTTP client of channels and sinks, and files that come with messages: fetched while their platform keeps them,
//! stored under their hash.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

const TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of an API's answer that are read.
const ANSWER_MAX: usize = 64 * 1024;
/// The largest file taken (platforms allow 10 to 20 MB).
const FILE_MAX: usize = 32 * 1024 * 1024;

/// http and https, certificates checked against the well-known roots.
#[derive(Clone)]
pub struct Client(hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Client {
    pub fn open() -> Client {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::aws_lc_rs::default_provider())
            .expect("the provider has the usual cipher suites")
            .https_or_http()
            .enable_http1()
            .build();
        Client(hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector))
    }

    /// One that believes these certificates and no other.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn that_believes(certificates: &std::path::Path) -> Result<Client, String> {
        let config = believing(Some(certificates))?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
        Ok(Client(hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector)))
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<hyper::body::Incoming>, String> {
        match tokio::time::timeout(TIMEOUT, self.0.request(request)).await {
            Err(_) => Err("no answer within 15 s".into()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// Status and body of an API's answer.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
        let response = self.send(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect();
        let body = tokio::time::timeout(TIMEOUT, body).await.map_err(|_| "the answer does not end".to_owned())?;
        Ok((status, body.map_err(|e| e.to_string())?.to_bytes()))
    }

    pub async fn post_json(&self, url: &str, body: String) -> Result<(StatusCode, serde_json::Value), String> {
        let request = Request::post(url).header(CONTENT_TYPE, "application/json").body(Full::from(body));
        let (status, bytes) = self.ask(request.map_err(|e| e.to_string())?).await?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    pub async fn get_json(&self, url: &str) -> Result<serde_json::Value, String> {
        let request = Request::get(url).body(Full::default()).map_err(|e| e.to_string())?;
        let (_, bytes) = self.ask(request).await?;
        serde_json::from_slice(&bytes).map_err(|e| e.to_string())
    }

    /// A file and its type.
    pub async fn get_file(&self, url: &str) -> Result<(Bytes, String), String> {
        let request = Request::get(url).body(Full::default()).map_err(|e| e.to_string())?;
        let response = self.send(request).await?;
        if !response.status().is_success() {
            return Err(format!("HTTP {}", response.status().as_u16()));
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let body = Limited::new(response.into_body(), FILE_MAX).collect();
        let body = tokio::time::timeout(TIMEOUT * 4, body).await.map_err(|_| "the file does not end".to_owned())?;
        Ok((body.map_err(|e| e.to_string())?.to_bytes(), kind))
    }
}

/// TLS that believes these certificates, PEM; none: the public authorities.
///
/// # Errors
/// When they cannot be read.
pub fn believing(certificates: Option<&std::path::Path>) -> Result<rustls::ClientConfig, String> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let mut roots = rustls::RootCertStore::empty();
    match certificates {
        Some(path) => {
            let place = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| place(&e))? {
                roots.add(certificate.map_err(|e| place(&e))?).map_err(|e| place(&e))?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(versions.map_err(|e| e.to_string())?.with_root_certificates(roots).with_no_client_auth())
}
