//! Follows what other processes publish about members and pins.

use std::time::Duration;

use futures_util::StreamExt as _;
use redis::{RedisResult, aio::PubSub};
use tokio::{
    sync::broadcast,
    time::{sleep, timeout},
};
use tracing::debug;

use crate::{
    redis::Connector,
    registry::{Event, Pin},
};

/// How long connecting and subscribing may take.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(3);
/// Pause after a subscription ended or could not be made.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How often a quiet subscription is checked, and how long the answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PING_LIMIT: Duration = Duration::from_secs(2);

/// Passes on what is published, for ever.
pub(super) async fn follow(connector: &Connector, channel: &str, events: &broadcast::Sender<Event>) {
    loop {
        match timeout(SUBSCRIBE_LIMIT, subscribe(connector, channel)).await {
            Ok(Ok(subscription)) => {
                // What was published before is lost on us.
                let _ = events.send(Event::Gap);
                pass_on(subscription, events).await;
                debug!("the subscription to Redis ended");
            }
            Ok(Err(error)) => debug!("cannot subscribe to Redis: {error}"),
            Err(_) => debug!("cannot subscribe to Redis: it does not answer"),
        }
        sleep(RETRY_PAUSE).await;
    }
}

async fn subscribe(connector: &Connector, channel: &str) -> RedisResult<PubSub> {
    let mut subscription = connector.follow().await?;
    subscription.subscribe(channel).await?;
    Ok(subscription)
}

async fn pass_on(subscription: PubSub, events: &broadcast::Sender<Event>) {
    let (mut sink, mut messages) = subscription.split();
    loop {
        match timeout(PING_INTERVAL, messages.next()).await {
            Ok(Some(message)) => {
                let text = String::from_utf8_lossy(message.get_payload_bytes()).into_owned();
                if let Some(event) = parse(&text) {
                    // Nobody may be listening.
                    let _ = events.send(event);
                } else {
                    debug!("an unknown event: {text}");
                }
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

/// Reads what the scripts publish: `members`, `pin SESSION EPOCH RUNNER`, `unpin SESSION`.
fn parse(text: &str) -> Option<Event> {
    let mut words = text.split(' ');
    let event = match words.next()? {
        "members" => Event::Members,
        "pin" => {
            let session = words.next()?.parse().ok()?;
            let epoch = words.next()?.parse().ok()?;
            let runner = words.next()?.parse().ok()?;
            Event::Pin { session, pin: Some(Pin { runner, epoch }) }
        }
        "unpin" => Event::Pin { session: words.next()?.parse().ok()?, pin: None },
        _ => return None,
    };
    words.next().is_none().then_some(event)
}

#[cfg(test)]
mod tests {
    use streamfleet_proto::SessionId;

    use super::*;

    #[test]
    fn events_are_read() {
        let session = SessionId::random();
        assert_eq!(parse("members"), Some(Event::Members));
        assert_eq!(parse(&format!("unpin {session}")), Some(Event::Pin { session, pin: None }));
        let pin = Pin { runner: "a".parse().unwrap(), epoch: 1_700_000_000_000_000 };
        let event = Event::Pin { session, pin: Some(pin) };
        assert_eq!(parse(&format!("pin {session} 1700000000000000 a")), Some(event));
        for bad in ["", "pin", "pin x 1 a", "unpin", "members of nothing"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
