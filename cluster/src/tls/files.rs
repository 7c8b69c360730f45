//! Files of certificates and keys, and word of when they change.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tracing::{info, warn};

use super::TlsError;

/// The cryptography that all of it uses.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A file as it was read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Content {
    path: PathBuf,
    pem: Vec<u8>,
}

impl Content {
    pub(super) fn read(path: &Path) -> Result<Self, TlsError> {
        match std::fs::read(path) {
            Ok(pem) => Ok(Self { path: path.to_owned(), pem }),
            Err(source) => Err(TlsError::Read { path: path.to_owned(), source }),
        }
    }

    /// The certificates in it: first the one that is meant, then those that lead to its authority.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.pem).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(self.missing("certificate")),
            Err(error) => Err(self.unusable(&error)),
        }
    }

    /// The authorities in it.
    pub(super) fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| self.unusable(&error))?;
        }
        Ok(roots)
    }

    /// The private key in it.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.pem).map_err(|_| self.missing("private key"))
    }

    pub(super) fn unusable(&self, reason: &impl ToString) -> TlsError {
        TlsError::Unusable { path: self.path.clone(), reason: reason.to_string() }
    }

    fn missing(&self, wanted: &'static str) -> TlsError {
        TlsError::Missing { path: self.path.clone(), wanted }
    }
}

/// What came of looking at files again.
pub(super) struct Watched<const N: usize> {
    paths: [PathBuf; N],
    /// As they were when last looked at, and whether that could be used.
    last: Mutex<(Vec<Content>, bool)>,
}

impl<const N: usize> Watched<N> {
    /// Reads files for the first time.
    pub(super) fn read(paths: [PathBuf; N]) -> Result<(Self, [Content; N]), TlsError> {
        let contents = read_all(&paths)?;
        let last = Mutex::new((contents.to_vec(), true));
        Ok((Self { paths, last }, contents))
    }

    /// Reads the files again, and has them be used if they have changed. What can't be used is told once, and what was before stays.
    pub(super) fn reread(&self, what: &str, apply: impl FnOnce(&[Content; N]) -> Result<(), TlsError>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let applied = match read_all(&self.paths) {
            Ok(contents) if last.0 == contents => return,
            Ok(contents) => {
                let applied = apply(&contents);
                last.0 = contents.to_vec();
                applied
            }
            Err(error) => Err(error),
        };
        match &applied {
            Ok(()) => info!("{what} has been renewed"),
            // It may be half written.
            Err(error) if last.1 => warn!("{what} stays as it is: {error}"),
            Err(_) => {}
        }
        last.1 = applied.is_ok();
    }
}

fn read_all<const N: usize>(paths: &[PathBuf; N]) -> Result<[Content; N], TlsError> {
    let contents: Result<Vec<_>, _> = paths.iter().map(|path| Content::read(path)).collect();
    // There are as many as there were paths.
    contents?.try_into().map_err(|_| unreachable!("one content for each path"))
}
