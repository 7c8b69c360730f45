//! A certificate authority made for one test, and one certificate for servers and clients on this machine.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

/// The authority's certificate, and one that it signed for `localhost` and 127.0.0.1, all as PEM.
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
    /// Makes a new authority and a certificate.
    pub fn generate() -> Result<Self> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.distinguished_name.push(DnType::CommonName, "Streamfleet test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate()?;
        let authority_pem = authority.self_signed(&authority_key)?.pem();
        let issuer = Issuer::new(authority, authority_key);

        let mut leaf = CertificateParams::new(vec!["localhost".to_owned()])?;
        // OpenSSL takes a certificate that bears its issuer's name for a self-signed one.
        leaf.distinguished_name.push(DnType::CommonName, "localhost");
        leaf.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        leaf.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&key, &issuer)?.pem();
        Ok(Self { authority: authority_pem, certificate, key: key.serialize_pem() })
    }

    /// Writes `ca.pem`, `cert.pem` and `key.pem` into a folder, which is made if it isn't there.
    pub fn write_to(&self, folder: &Path) -> Result<()> {
        let files = [("ca.pem", &self.authority), ("cert.pem", &self.certificate), ("key.pem", &self.key)];
        std::fs::create_dir_all(folder)
            .and_then(|()| files.iter().try_for_each(|(name, text)| std::fs::write(folder.join(name), text)))
            .with_context(|| format!("writing certificates to {}", folder.display()))
    }
}
