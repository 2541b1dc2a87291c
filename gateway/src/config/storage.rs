//! `[storage]` and `[tls]`: what is kept how long, and by what listeners prove who they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::retention::Keep;

use super::Span;
use crate::thread::house;

/// How long each kind of file is kept; without a key for ever.
#[derive(Deserialize, Serialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Segments of the journal that no start and no sink needs any more.
    pub keep_journal: Option<Span>,
    /// Recordings of calls.
    pub keep_recordings: Option<Span>,
    /// Files that came with messages.
    pub keep_files: Option<Span>,
    /// With less room than this an alarm is raised.
    pub low_water_mb: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Storage { keep_journal: None, keep_recordings: None, keep_files: None, low_water_mb: 2048 }
    }
}

impl Storage {
    /// A day is the least that anything is kept.
    pub fn is_sane(&self) -> bool {
        let all = [self.keep_journal, self.keep_recordings, self.keep_files];
        all.into_iter().flatten().all(|keep| keep.0 >= Duration::from_secs(24 * 3600))
    }

    pub fn rules(&self) -> house::Rules {
        let of = |span: Option<Span>| span.map(|s| s.0);
        let keep =
            Keep { journal: of(self.keep_journal), recordings: of(self.keep_recordings), files: of(self.keep_files) };
        house::Rules { keep, low_water: self.low_water_mb * 1024 * 1024 }
    }
}

/// Certificate and key, as PEM: API and hooks are then spoken to over TLS only.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The chain, as PEM.
    pub certificate: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
}

impl Tls {
    /// With both paths below `base`.
    pub fn below(&self, base: &Path) -> Tls {
        Tls { certificate: base.join(&self.certificate), key: base.join(&self.key) }
    }

    /// # Errors
    /// The file that cannot be read, or does not hold what it should.
    pub fn acceptor(&self) -> anyhow::Result<tokio_rustls::TlsAcceptor> {
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| self.certificate.display().to_string())?;
        anyhow::ensure!(!chain.is_empty(), "{}: no certificate", self.certificate.display());
        let key = PrivateKeyDer::from_pem_file(&self.key).with_context(|| self.key.display().to_string())?;
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .context("certificate and key do not belong together")?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(tokio_rustls::TlsAcceptor::from(Arc::new(config)))
    }
}
