//! Certificate authorities made for one test, and the certificates that they sign.

use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// A certificate authority.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// When a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// As long as any test runs.
    Now,
    /// It has expired.
    Past,
    /// Not for years.
    Future,
}

impl Authority {
    /// Makes a new authority.
    pub fn generate() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "Streamfleet test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate, for servers and clients, for these names and addresses.
    pub fn issue(&self, names: &[&str], validity: Validity) -> Result<Certificates> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut leaf = CertificateParams::new(names.clone())?;
        // OpenSSL takes a certificate that bears its issuer's name for a self-signed one.
        leaf.distinguished_name.push(DnType::CommonName, names.first().context("a certificate for nobody")?.as_str());
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        leaf.use_authority_key_identifier_extension = true;
        let years = match validity {
            Validity::Now => None,
            Validity::Past => Some((2000, 2001)),
            Validity::Future => Some((2190, 2191)),
        };
        if let Some((from, to)) = years {
            (leaf.not_before, leaf.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        }
        let key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&key, &self.issuer)?.pem();
        Ok(Certificates { authority: self.pem.clone(), certificate, key: key.serialize_pem() })
    }
}

/// An authority's certificate, and one that it signed, all as PEM.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The certificate that the other side has to trust.
    pub authority: String,
    /// The certificate for servers and clients.
    pub certificate: String,
    /// The private key of `certificate`.
    pub key: String,
}

impl Certificates {
    /// Makes a new authority, and a certificate for `localhost` and 127.0.0.1.
    pub fn generate() -> Result<Self> {
        Authority::generate()?.issue(&["localhost", "127.0.0.1"], Validity::Now)
    }

    /// Writes `ca.pem`, `cert.pem` and `key.pem` into a folder, which is made if it isn't there.
    pub fn write_to(&self, folder: &Path) -> Result<()> {
        let files = [("ca.pem", &self.authority), ("cert.pem", &self.certificate), ("key.pem", &self.key)];
        std::fs::create_dir_all(folder)
            .and_then(|()| files.iter().try_for_each(|(name, text)| std::fs::write(folder.join(name), text)))
            .with_context(|| format!("writing certificates to {}", folder.display()))
    }
}
