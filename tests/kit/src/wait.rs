//! Waiting for something that nobody announces: ask again and again, up to a generous limit.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// Time between two questions; small beside anything that is waited for.
pub(crate) const POLL: Duration = Duration::from_millis(15);

/// Asks `probe` until it succeeds. What it said last is the reason given when `limit` has passed.
pub async fn until<T>(awaited: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let reason = match probe().await {
            Ok(value) => return Ok(value),
            Err(reason) => reason,
        };
        if Instant::now() >= deadline {
            return Err(reason.context(anyhow!("waited {limit:?} for {awaited}")));
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;

    #[tokio::test]
    async fn asks_until_it_is_so() {
        let mut asked = 0;
        let probe = async || {
            asked += 1;
            ensure!(asked == 3, "asked {asked} times");
            Ok("yes")
        };
        assert_eq!(until("an answer", Duration::from_mins(1), probe).await.unwrap(), "yes");
    }

    #[tokio::test]
    async fn says_why_it_gave_up() {
        let error = until("rain", Duration::ZERO, async || Err::<(), _>(anyhow!("the sun shines"))).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "waited 0ns for rain: the sun shines");
    }
}
