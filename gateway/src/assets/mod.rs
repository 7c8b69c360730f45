//! Streamlit's front end, which every browser loads before anything else: several MB of scripts and styles, that its server
//! sends as they are. Gateways keep them, compressed, and serve them without a worker.
//!
//! **The key is the path alone**, for GET and HEAD alike. Only what the worker declares to be `public` and `immutable` is kept, which are
//! files that have a hash of their content in their name: during a roll two revisions of the app, and two versions of Streamlit, have
//! different files by different names, or the same file. Who asks and by what host doesn't matter, else the answer would have a `Vary`,
//! and isn't kept. Streamlit looks at no query and its page asks with none, so requests that have one go to a worker: they would only be
//! other names for the same. For the same reason the path must be in its one plain spelling. So what can be kept is bounded by the
//! files that there are, and nobody can push them out, or have anything compressed twice, by making up addresses.
//!
//! **Nobody waits for compression.** It begins when a file has been fetched, on a thread of its own, and until it is done the file goes
//! out as it came, as it does from Streamlit. That concerns who comes in the first moment after a gateway's start; on a fast network, such
//! as to a browser on the same machine, waiting would take longer than what it saves.

mod asset;
mod compress;
mod flights;
mod negotiation;

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{HeaderName, Method, Response, header, request};
use http_body::Body as _;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter, sync::Cache, sync::DefaultLifecycle};
use tokio::{sync::Semaphore, task};
use tracing::{debug, warn};

use self::{
    asset::{Asset, length_to_keep},
    flights::Flights,
};
use crate::{error::GatewayError, observe::Observer};

/// Memory for all that is kept. The whole of Streamlit's front end takes 40 MB with what is made of it, and a page a tenth of that.
const MAX_KEPT_BYTES: u64 = 64 * 1024 * 1024;
/// About as many files as there are. Decides nothing but how much is set aside for the table.
const USUAL_FILES: usize = 512;
/// Conditions on bytes that only workers look at.
const FOR_WORKERS: [HeaderName; 3] = [header::RANGE, header::IF_MATCH, header::IF_UNMODIFIED_SINCE];
/// What a worker isn't told of a request whose answer is to be kept: what it answers is the whole file, as it is.
const OWN_AFFAIRS: [HeaderName; 4] =
    [header::ACCEPT_ENCODING, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_RANGE];

/// The front end's files, as far as they have been asked for.
pub(crate) struct Assets {
    kept: Cache<String, Arc<Asset>, Memory>,
    flights: Flights,
    /// Files are compressed one at a time: a page asks for fifty of them at once, and clicks want the processors as well.
    compressor: Semaphore,
    observer: Arc<Observer>,
}

/// Weighs files by the memory they take.
#[derive(Clone)]
struct Memory;

impl Weighter<String, Arc<Asset>> for Memory {
    fn weight(&self, path: &String, asset: &Arc<Asset>) -> u64 {
        (path.len() + asset.bytes()) as u64
    }
}

/// Whether this asks for something that may be kept.
pub(crate) fn may_be_kept(request: &request::Parts, body: &Body) -> bool {
    let path = request.uri.path();
    let is_plain = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !matches!(part, "" | "." | "..") && part.bytes().all(is_plain)
    };
    matches!(request.method, Method::GET | Method::HEAD)
        && body.is_end_stream()
        && request.uri.query().is_none()
        && !FOR_WORKERS.iter().any(|name| request.headers.contains_key(name))
        && path.split_once("/static/").is_some_and(|(base, file)| {
            // Where the app is mounted, only a runner knows.
            !base.contains("//") && !base.ends_with('/') && file.split('/').all(is_plain)
        })
}

impl Assets {
    /// Keeps nothing yet.
    pub(crate) fn new(observer: Arc<Observer>) -> Arc<Self> {
        let mut options = OptionsBuilder::new();
        // Undivided, as a large file is a large part of it.
        options.shards(1).estimated_items_capacity(USUAL_FILES).weight_capacity(MAX_KEPT_BYTES);
        let kept = match options.build() {
            Ok(options) => {
                Cache::with_options(options, Memory, DefaultHashBuilder::default(), DefaultLifecycle::default())
            }
            // Nothing that is set is missing.
            Err(_) => Cache::with_weighter(USUAL_FILES, MAX_KEPT_BYTES, Memory),
        };
        Arc::new(Self { kept, flights: Flights::default(), compressor: Semaphore::new(1), observer })
    }

    /// The answer to what [may be kept](may_be_kept), if it is.
    pub(crate) fn find(&self, request: &request::Parts) -> Option<Response<Body>> {
        let asset = self.kept.get(request.uri.path())?;
        self.observer.metrics.asset_hit();
        Some(asset.answer(request))
    }

    /// Has a worker answer what [may be kept](may_be_kept) and isn't, and keeps what can be. `ask` may be called more than once.
    pub(crate) async fn fetch<F>(
        self: &Arc<Self>,
        request: request::Parts,
        ask: impl Fn(request::Parts) -> F,
    ) -> Result<Response<Body>, GatewayError>
    where
        F: Future<Output = Result<Response<Body>, GatewayError>>,
    {
        if request.method == Method::HEAD {
            self.observer.metrics.asset_missed();
            return ask(request).await;
        }
        let path = request.uri.path();
        let flight = self.flights.join(path);
        // An answer that isn't for everybody is for who asked.
        let (mut asked, mut own) = (false, None);
        let fetch = async {
            asked = true;
            self.observer.metrics.asset_missed();
            let mut whole = request.clone();
            for name in OWN_AFFAIRS {
                whole.headers.remove(name);
            }
            match ask(whole).await {
                Ok(answer) => match self.keep(path, answer).await {
                    Ok(asset) => return Some(asset),
                    Err(answer) => own = Some(answer),
                },
                Err(error) => own = Some(Err(error)),
            }
            None
        };
        let found = flight.outcome.get_or_init(|| fetch).await.clone();
        drop(flight);
        match (found, own) {
            (Some(asset), _) => {
                if !asked {
                    self.observer.metrics.asset_hit();
                }
                Ok(asset.answer(&request))
            }
            (None, Some(answer)) => answer,
            (None, None) => {
                self.observer.metrics.asset_missed();
                ask(request).await
            }
        }
    }

    /// Keeps an answer, or gives it back.
    async fn keep(
        self: &Arc<Self>,
        path: &str,
        answer: Response<Body>,
    ) -> Result<Arc<Asset>, Result<Response<Body>, GatewayError>> {
        let (head, body) = answer.into_parts();
        let Some(length) = length_to_keep(&head) else { return Err(Ok(Response::from_parts(head, body))) };
        let body = to_bytes(body, length).await.map_err(|error| {
            debug!(path, "an asset broke off: {error}");
            Err(GatewayError::BrokenOff)
        })?;
        if body.len() != length {
            return Err(Err(GatewayError::BrokenOff));
        }
        // What has come is a part of the buffer that it came in.
        let asset = Arc::new(Asset::new(head.headers, Bytes::copy_from_slice(&body)));
        self.kept.insert(path.to_owned(), Arc::clone(&asset));
        self.observer.metrics.asset_memory(self.kept.weight());
        if asset.is_compressible() {
            task::spawn(Arc::clone(self).compress(path.to_owned(), Arc::clone(&asset)));
        }
        Ok(asset)
    }

    /// Replaces a file by itself with its compressed bodies. Cancelled, or failed, it goes on being sent as it is.
    async fn compress(self: Arc<Self>, path: String, asset: Arc<Asset>) {
        let Ok(_turn) = self.compressor.acquire().await else { return };
        match task::spawn_blocking(move || asset.compress()).await {
            // It may have been pushed out meanwhile.
            Ok(asset) => drop(self.kept.replace(path, Arc::new(asset), false)),
            Err(error) => warn!(path, "cannot compress: {error}"),
        }
        self.observer.metrics.asset_memory(self.kept.weight());
    }
}

#[cfg(test)]
mod tests;
