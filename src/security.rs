//! Settings of who is let in, and what is believed of them.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use serde::Deserialize;
use streamfleet_cluster::{PeerFiles, Peers, PublicFiles, PublicTls};
use streamfleet_gateway::TrustedProxies;

/// Believed when nothing is set: what is on the same machine.
const LOOPBACK: &str = "127.0.0.0/8, ::1";

/// Certificates, and proxies that are believed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SecuritySettings {
    /// PEM file of this process's certificate for the cluster's inside.
    peer_cert_file: Option<PathBuf>,
    /// Its private key.
    peer_key_file: Option<PathBuf>,
    /// The authorities whose certificates the others may show.
    peer_ca_file: Option<PathBuf>,
    /// PEM file of the certificate that browsers are shown.
    tls_cert_file: Option<PathBuf>,
    /// Its private key.
    tls_key_file: Option<PathBuf>,
    /// Where browsers are sent on to HTTPS.
    pub(crate) redirect_listen: Option<String>,
    /// Networks of proxies that are believed, separated by commas.
    trusted_proxies: Option<String>,
}

/// The names of these settings.
pub(crate) const NAMES: [&str; 7] = [
    "peer_cert_file",
    "peer_key_file",
    "peer_ca_file",
    "tls_cert_file",
    "tls_key_file",
    "redirect_listen",
    "trusted_proxies",
];

impl SecuritySettings {
    /// Finds what can't be meant.
    pub(crate) fn check(&self) -> Result<()> {
        self.peer_files()?;
        let public = self.public_files()?;
        self.networks()?;
        if self.redirect_listen.is_some() && public.is_none() {
            bail!(
                "redirect_listen is set, and there is no HTTPS to send browsers to: set tls_cert_file and tls_key_file"
            );
        }
        Ok(())
    }

    /// What this process shows to the others of the cluster, and whom it believes; `None` if nothing is to be encrypted.
    pub(crate) fn peers(&self) -> Result<Option<Arc<Peers>>> {
        Ok(self.peer_files()?.map(Peers::load).transpose()?)
    }

    /// What browsers are shown, if they are to come by HTTPS.
    pub(crate) fn public_tls(&self) -> Result<Option<Arc<PublicTls>>> {
        Ok(self.public_files()?.map(PublicTls::load).transpose()?)
    }

    /// The proxies whose word is believed.
    pub(crate) fn proxies(&self) -> Result<Arc<TrustedProxies>> {
        Ok(Arc::new(TrustedProxies::new(self.networks()?)))
    }

    /// The same for a runner that serves gateways here; unencrypted only where nobody else can listen in, unless that is allowed.
    pub(crate) fn peers_of_listener(&self, listen: SocketAddr, allow_plaintext: bool) -> Result<Option<Arc<Peers>>> {
        let peers = self.peers()?;
        if peers.is_none() && !allow_plaintext && !listen.ip().is_loopback() {
            bail!(
                "sessions would travel unencrypted, and anybody who reaches {listen} could have them: set peer_cert_file, \
                 peer_key_file and peer_ca_file (see docs/security.md), listen on 127.0.0.1, or say --allow-plaintext"
            );
        }
        Ok(peers)
    }

    fn peer_files(&self) -> Result<Option<PeerFiles>> {
        match (&self.peer_cert_file, &self.peer_key_file, &self.peer_ca_file) {
            (None, None, None) => Ok(None),
            (Some(certificate), Some(key), Some(authority)) => {
                Ok(Some(PeerFiles { certificate: certificate.clone(), key: key.clone(), authority: authority.clone() }))
            }
            _ => bail!("set all of peer_cert_file, peer_key_file and peer_ca_file, or none"),
        }
    }

    fn public_files(&self) -> Result<Option<PublicFiles>> {
        match (&self.tls_cert_file, &self.tls_key_file) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => {
                Ok(Some(PublicFiles { certificate: certificate.clone(), key: key.clone() }))
            }
            _ => bail!("set both tls_cert_file and tls_key_file, or neither"),
        }
    }

    fn networks(&self) -> Result<Vec<IpNet>> {
        let text = self.trusted_proxies.as_deref().unwrap_or(LOOPBACK);
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let network = |entry: &str| entry.parse().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
        entries
            .map(|entry| {
                network(entry)
                    .with_context(|| format!("trusted_proxies: {entry:?} is no address or network like 10.0.0.0/16"))
            })
            .collect()
    }
}
