//! How much one address may take at a time.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many things of one kind an address has, and may have.
#[derive(Debug, Clone)]
pub(crate) struct PerAddress(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// 0 for any number.
    limit: u32,
    counts: Mutex<HashMap<IpAddr, u32>>,
}

impl PerAddress {
    /// So many, or any number if that is 0.
    pub(crate) fn new(limit: u32) -> Self {
        Self(Arc::new(Shared { limit, counts: Mutex::default() }))
    }

    /// One more of an address, until the share is dropped; `None` if it has as many as it may.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Share> {
        // Nothing is counted that nobody asks for.
        if self.0.limit == 0 {
            return Some(Share::of_nobody());
        }
        let holder = holder(address);
        let mut counts = self.counts();
        let count = counts.entry(holder).or_default();
        if *count >= self.0.limit {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Share(Some((self.clone(), holder))))
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thing that an address has.
#[derive(Debug)]
pub(crate) struct Share(Option<(PerAddress, IpAddr)>);

impl Share {
    /// What counts for no address.
    pub(crate) fn of_nobody() -> Self {
        Self(None)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some((owner, holder)) = self.0.take() else { return };
        let mut counts = owner.counts();
        if let Some(count) = counts.get_mut(&holder) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&holder);
            }
        }
    }
}

/// Whom an address stands for: with IPv6, whoever has the network of 64 bits that it is in.
fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let limit = PerAddress::new(2);
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let first = limit.take(one).unwrap();
        let _second = limit.take(one).unwrap();
        assert!(limit.take(one).is_none());
        assert!(limit.take(other).is_some());
        drop(first);
        assert!(limit.take(one).is_some());
        // Nothing is remembered of those who have nothing.
        assert_eq!(limit.counts().len(), 1);
    }

    #[test]
    fn a_network_of_ipv6_is_one_holder() {
        let limit = PerAddress::new(1);
        let take = |text: &str| limit.take(text.parse().unwrap());
        let _share = take("2001:db8::1").unwrap();
        assert!(take("2001:db8::2:3").is_none());
        assert!(take("2001:db8:0:1::1").is_some());
        let _share = take("::ffff:192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none());
    }

    #[test]
    fn without_a_limit_nobody_is_counted() {
        let limit = PerAddress::new(0);
        let shares: Vec<_> = (0..10).map(|_| limit.take("192.0.2.1".parse().unwrap())).collect();
        assert!(shares.iter().all(Option::is_some));
        assert!(limit.counts().is_empty());
    }
}
