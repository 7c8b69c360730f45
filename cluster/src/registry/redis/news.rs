//! What the scripts publish about members and pins.

use tokio::sync::broadcast;
use tracing::debug;

use crate::{
    redis::Follower,
    registry::{Event, Pin},
};

/// Passes on what is published. Nobody may be listening.
pub(super) struct News {
    pub(super) events: broadcast::Sender<Event>,
}

impl Follower for News {
    async fn subscribed(&mut self) {
        let _ = self.events.send(Event::Gap);
    }

    fn heard(&mut self, _channel: &str, message: &str) {
        if let Some(event) = parse(message) {
            let _ = self.events.send(event);
        } else {
            debug!("an unknown event: {message}");
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
