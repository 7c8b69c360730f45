//! The cache of a cluster that is one process.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Acquired, CACHE_LEASE, CacheError, CacheListener, CacheOptions, CacheStore, CachedFunction, ComputeLease, Entry,
    LAPSED_KEPT, Packed, Scope, Stored, UNUSED_TTL, ValueKey, WAIT_KEPT, WAIT_STEPS,
};

/// The cache of a cluster that is one process.
pub struct MemoryCache {
    options: CacheOptions,
    listener: Arc<dyn CacheListener>,
    /// The listener is told while it is locked, so that it hears things in their order.
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    values: Values,
    leases: HashMap<ValueKey, Lease>,
    waits: HashMap<String, Wait>,
    /// How many leases and waits there may be before those are looked for that nobody needs.
    sweep_at: usize,
}

/// All values, each of them in every map.
#[derive(Default)]
struct Values {
    by_key: HashMap<ValueKey, Value>,
    /// By the number of their last use.
    used: BTreeMap<u64, ValueKey>,
    /// Those that expire, by the number of the use that stored them.
    expiring: BTreeMap<(Instant, u64), ValueKey>,
    functions: HashMap<Arc<str>, Function>,
    /// Packed.
    bytes: u64,
    uses: u64,
}

struct Value {
    entry: Entry,
    stored: u64,
    used: u64,
    used_at: Instant,
}

/// The values of a function.
#[derive(Default)]
struct Function {
    /// Calls by the number of their last use.
    used: BTreeMap<u64, Arc<str>>,
    /// Not packed.
    bytes: u64,
}

struct Lease {
    token: Arc<str>,
    owner: String,
    ends: Instant,
}

struct Wait {
    key: ValueKey,
    since: Instant,
}

impl MemoryCache {
    /// A cache with nothing in it. The listener is told of what happens in this very process.
    pub fn new(options: CacheOptions, listener: Arc<dyn CacheListener>) -> Self {
        Self { options, listener, table: Mutex::default() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Only a listener could panic halfway, and by then all is done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Values {
    fn get(&mut self, key: &ValueKey) -> Option<Entry> {
        let now = Instant::now();
        let value = self.by_key.get(key)?;
        let expired = value.entry.expires_at.is_some_and(|expires| expires <= now);
        if expired || now.duration_since(value.used_at) >= UNUSED_TTL {
            self.remove(key);
            return None;
        }
        self.uses += 1;
        let value = self.by_key.get_mut(key)?;
        let before = std::mem::replace(&mut value.used, self.uses);
        value.used_at = now;
        let entry = value.entry.clone();
        self.used.remove(&before);
        self.used.insert(self.uses, key.clone());
        if let Some(function) = self.functions.get_mut(&key.function) {
            function.used.remove(&before);
            function.used.insert(self.uses, Arc::clone(&key.call));
        }
        Some(entry)
    }

    /// Whether there was one.
    fn remove(&mut self, key: &ValueKey) -> bool {
        let Some(value) = self.by_key.remove(key) else { return false };
        self.bytes -= value.entry.value.packed_bytes();
        self.used.remove(&value.used);
        if let Some(expires) = value.entry.expires_at {
            self.expiring.remove(&(expires, value.stored));
        }
        if let Some(function) = self.functions.get_mut(&key.function) {
            function.used.remove(&value.used);
            function.bytes -= value.entry.value.size();
            if function.used.is_empty() {
                self.functions.remove(&key.function);
            }
        }
        true
    }

    fn insert(&mut self, key: &ValueKey, entry: Entry) {
        self.uses += 1;
        self.bytes += entry.value.packed_bytes();
        self.used.insert(self.uses, key.clone());
        if let Some(expires) = entry.expires_at {
            self.expiring.insert((expires, self.uses), key.clone());
        }
        let function = self.functions.entry(Arc::clone(&key.function)).or_default();
        function.used.insert(self.uses, Arc::clone(&key.call));
        function.bytes += entry.value.size();
        let value = Value { entry, stored: self.uses, used: self.uses, used_at: Instant::now() };
        self.by_key.insert(key.clone(), value);
    }

    /// Removes what nobody can have any more.
    fn sweep(&mut self) {
        let now = Instant::now();
        while let Some(((expires, _), key)) = self.expiring.first_key_value()
            && *expires <= now
        {
            let key = key.clone();
            self.remove(&key);
        }
        while let Some((_, key)) = self.used.first_key_value()
            && self.by_key.get(key).is_some_and(|value| now.duration_since(value.used_at) >= UNUSED_TTL)
        {
            let key = key.clone();
            self.remove(&key);
        }
    }

    /// Removes what is more than a function's limits, and says what that was.
    fn trim_function(&mut self, limits: &CachedFunction) -> Vec<ValueKey> {
        let mut evicted = Vec::new();
        while let Some(function) = self.functions.get(&limits.id)
            // What was just stored stays.
            && function.used.len() > 1
            && (limits.max_entries.is_some_and(|most| function.used.len() as u64 > most)
                || limits.max_bytes.is_some_and(|most| function.bytes > most))
            && let Some((_, call)) = function.used.first_key_value()
        {
            let key = ValueKey { function: Arc::clone(&limits.id), call: Arc::clone(call) };
            self.remove(&key);
            evicted.push(key);
        }
        evicted
    }

    /// Removes what is more than may be kept in all.
    fn trim(&mut self, max_bytes: u64) {
        while self.bytes > max_bytes
            && let Some((_, key)) = self.used.first_key_value()
        {
            let key = key.clone();
            self.remove(&key);
        }
    }

    fn of(&self, scope: &Scope) -> Vec<ValueKey> {
        match scope {
            Scope::Everything => self.by_key.keys().cloned().collect(),
            Scope::Function(id) => {
                let calls = self.functions.get(id).into_iter().flat_map(|function| function.used.values());
                calls.map(|call| ValueKey { function: Arc::clone(id), call: Arc::clone(call) }).collect()
            }
            Scope::Value(key) => vec![key.clone()],
        }
    }
}

impl Table {
    fn lease(&mut self, key: &ValueKey, owner: &str) -> Acquired {
        let now = Instant::now();
        if let Some(lease) = self.leases.get(key)
            && now < lease.ends
        {
            return Acquired::Held { ends_in: lease.ends - now };
        }
        self.sweep(now);
        let token: Arc<str> = Uuid::new_v4().to_string().into();
        let lease = Lease { token: Arc::clone(&token), owner: owner.to_owned(), ends: now + CACHE_LEASE };
        self.leases.insert(key.clone(), lease);
        Acquired::Lease(ComputeLease { key: key.clone(), token })
    }

    fn sweep(&mut self, now: Instant) {
        if self.leases.len() + self.waits.len() >= self.sweep_at {
            self.leases.retain(|_, lease| now < lease.ends + LAPSED_KEPT);
            self.waits.retain(|_, wait| now < wait.since + WAIT_KEPT);
            self.sweep_at = 64 + 2 * (self.leases.len() + self.waits.len());
        }
    }

    fn held(&mut self, lease: &ComputeLease) -> Option<&mut Lease> {
        self.leases.get_mut(&lease.key).filter(|held| held.token == lease.token)
    }

    /// Whether the one who computes this waits for an owner, or is it.
    fn depends_on(&self, key: &ValueKey, owner: &str) -> bool {
        let now = Instant::now();
        let mut key = key;
        for _ in 0..WAIT_STEPS {
            let Some(lease) = self.leases.get(key).filter(|lease| now < lease.ends) else { return false };
            if lease.owner == owner {
                return true;
            }
            let Some(wait) = self.waits.get(&lease.owner) else { return false };
            key = &wait.key;
        }
        false
    }
}

#[async_trait]
impl CacheStore for MemoryCache {
    async fn get(&self, key: &ValueKey) -> Result<Option<Entry>, CacheError> {
        Ok(self.table().values.get(key))
    }

    async fn acquire(&self, key: &ValueKey, owner: &str, fresh: Option<Duration>) -> Result<Acquired, CacheError> {
        let mut table = self.table();
        let outlasts = |fresh| table.values.by_key.get(key).is_some_and(|value| value.entry.outlasts(fresh));
        let present = if fresh.is_none_or(outlasts) { table.values.get(key) } else { None };
        Ok(present.map_or_else(|| table.lease(key, owner), Acquired::Present))
    }

    async fn renew(&self, lease: &ComputeLease) -> Result<bool, CacheError> {
        let mut table = self.table();
        let held = table.held(lease);
        Ok(held.map(|held| held.ends = Instant::now() + CACHE_LEASE).is_some())
    }

    async fn release(&self, lease: &ComputeLease) -> Result<(), CacheError> {
        let mut table = self.table();
        if table.held(lease).is_some() {
            table.leases.remove(&lease.key);
            self.listener.settled(&lease.key);
        }
        Ok(())
    }

    async fn put(&self, lease: &ComputeLease, function: &CachedFunction, value: &Packed) -> Result<Stored, CacheError> {
        let key = &lease.key;
        let mut table = self.table();
        if table.held(lease).is_none() {
            return Ok(Stored::NotAnyMore);
        }
        table.leases.remove(key);
        let stored = if function.has_room_for(value, &self.options) {
            let values = &mut table.values;
            let replaced = values.remove(key).then(|| key.clone());
            let expires_at = function.ttl.and_then(|ttl| Instant::now().checked_add(ttl));
            values.insert(key, Entry { value: value.clone(), expires_at });
            values.sweep();
            let evicted = values.trim_function(function);
            values.trim(self.options.max_bytes);
            replaced.into_iter().chain(evicted).for_each(|key| self.listener.cleared(&Scope::Value(key)));
            Stored::Yes
        } else {
            Stored::TooLarge
        };
        self.listener.settled(key);
        Ok(stored)
    }

    async fn clear(&self, scope: &Scope) -> Result<(), CacheError> {
        let mut table = self.table();
        for key in table.values.of(scope) {
            table.values.remove(&key);
        }
        let leases: Vec<_> = table.leases.keys().filter(|key| scope.includes(key)).cloned().collect();
        for key in &leases {
            table.leases.remove(key);
        }
        self.listener.cleared(scope);
        for key in &leases {
            self.listener.settled(key);
        }
        Ok(())
    }

    async fn touch(&self, used: &[ValueKey]) -> Result<(), CacheError> {
        let mut table = self.table();
        for key in used {
            table.values.get(key);
        }
        Ok(())
    }

    async fn waits(&self, owner: &str, key: &ValueKey) -> Result<bool, CacheError> {
        let mut table = self.table();
        let now = Instant::now();
        table.sweep(now);
        let in_a_circle = table.depends_on(key, owner);
        if in_a_circle {
            table.waits.remove(owner);
        } else {
            table.waits.insert(owner.to_owned(), Wait { key: key.clone(), since: now });
        }
        Ok(in_a_circle)
    }

    async fn waits_no_more(&self, owner: &str) -> Result<(), CacheError> {
        self.table().waits.remove(owner);
        Ok(())
    }
}
