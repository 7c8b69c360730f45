//! Follows what other processes publish.

use std::time::Duration;

use futures_util::StreamExt as _;
use redis::{RedisResult, aio::PubSub};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::Connector;

/// How long connecting and subscribing may take.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(3);
/// Pause after a subscription ended or could not be made.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How often a quiet subscription is checked, and how long the answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PING_LIMIT: Duration = Duration::from_secs(2);

/// Who is told what is published.
pub(crate) trait Follower: Send {
    /// There is a subscription. What was published before is lost; what is published from now on is heard when this is done.
    fn subscribed(&mut self) -> impl Future<Output = ()> + Send;

    /// A message on a channel.
    fn heard(&mut self, channel: &str, message: &str);

    /// The subscription has ended.
    fn lost(&mut self) {}
}

/// Passes on what is published, for ever.
pub(crate) async fn follow(connector: &Connector, channels: &[String], follower: &mut impl Follower) {
    loop {
        match timeout(SUBSCRIBE_LIMIT, subscribe(connector, channels)).await {
            Ok(Ok(subscription)) => {
                follower.subscribed().await;
                pass_on(subscription, follower).await;
                follower.lost();
                debug!("the subscription to Redis ended");
            }
            Ok(Err(error)) => debug!("cannot subscribe to Redis: {error}"),
            Err(_) => debug!("cannot subscribe to Redis: it does not answer"),
        }
        sleep(RETRY_PAUSE).await;
    }
}

async fn subscribe(connector: &Connector, channels: &[String]) -> RedisResult<PubSub> {
    let mut subscription = connector.follow().await?;
    subscription.subscribe(channels).await?;
    Ok(subscription)
}

async fn pass_on(subscription: PubSub, follower: &mut impl Follower) {
    let (mut sink, mut messages) = subscription.split();
    loop {
        match timeout(PING_INTERVAL, messages.next()).await {
            Ok(Some(message)) => {
                follower.heard(message.get_channel_name(), &String::from_utf8_lossy(message.get_payload_bytes()));
            }
            Ok(None) => return,
            // A connection that was cut off without a word looks just like a quiet one.
            Err(_) => match timeout(PING_LIMIT, sink.ping::<redis::Value>()).await {
                Ok(Ok(_)) => {}
                _ => return,
            },
        }
    }
}
