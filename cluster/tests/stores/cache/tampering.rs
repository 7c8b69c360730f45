//! Somebody else who can write the Redis.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, ToRedisArgs};
use streamfleet_cluster::{
    Acquired, CacheOptions, CacheSigner, CacheStore, CachedFunction, Packed, RedisCache, ValueKey,
};
use streamfleet_testkit::redis::{Redis, RedisLaunch, Version};

use super::stores::{Ear, KEY, PLENTY, compute, connect, connect_plainly, function, get, key, noise, signer};

const INDEX: &str = "streamfleet:cache:cache:{r1}:";

struct Tampering {
    redis: Redis,
    raw: MultiplexedConnection,
    store: RedisCache,
    value: Vec<u8>,
    copies: usize,
}

/// What is in the index.
#[derive(Clone, PartialEq)]
struct Stored {
    head: Vec<u8>,
    content: Vec<u8>,
}

fn id(key: &ValueKey) -> String {
    format!("{}:{}{}", key.function.len(), key.function, key.call)
}

impl Tampering {
    /// With values of this length, which are not all the same.
    async fn begin(length: usize) -> Self {
        let redis = RedisLaunch::new(Version::V7).start().await.unwrap();
        let ((store, _), raw) = (connect_plainly(&redis.url()).await, redis.connection().await.unwrap());
        let value = noise(length);
        compute(&store, &function("f"), "call", &value).await;
        compute(&store, &function("f"), "other", &value[1..]).await;
        compute(&store, &function("g"), "call", &value[2..]).await;
        Self { redis, raw, store, value, copies: 0 }
    }

    async fn command<T: FromRedisValue>(&mut self, name: &str, key: &str, arguments: &[&dyn Argument]) -> T {
        let mut command = redis::cmd(name);
        command.arg(key);
        for argument in arguments {
            argument.add_to(&mut command);
        }
        command.query_async(&mut self.raw).await.unwrap()
    }

    async fn stored(&mut self, key: &ValueKey) -> Stored {
        let (values, content) = (format!("{INDEX}values"), format!("{INDEX}content"));
        Stored {
            head: self.command("HGET", &values, &[&id(key)]).await,
            content: self.command("HGET", &content, &[&id(key)]).await,
        }
    }

    /// Puts something into the index as if it had been used a moment ago.
    async fn store(&mut self, key: &ValueKey, stored: &Stored) {
        let now: (u64, u64) = redis::cmd("TIME").query_async(&mut self.raw).await.unwrap();
        let now = (now.0 * 1_000_000 + now.1).to_string();
        for (name, data) in [("values", &stored.head), ("content", &stored.content)] {
            self.command::<i64>("HSET", &format!("{INDEX}{name}"), &[&id(key), data]).await;
        }
        self.command::<i64>("ZADD", &format!("{INDEX}used"), &[&now, &id(key)]).await;
        let of_function = format!("{INDEX}used:{}", key.function);
        self.command::<i64>("ZADD", &of_function, &[&now, &key.call.to_string()]).await;
    }

    /// The value's blob.
    async fn blob(&mut self, key: &ValueKey) -> String {
        let head = String::from_utf8(self.stored(key).await.head).unwrap();
        format!("streamfleet:cache:cache-value:{{{}}}", head.rsplit(' ').next().unwrap())
    }

    /// Copies the value's blob, and says how the index names the copy, and where it is.
    async fn move_blob(&mut self, stored: &Stored, blob: &str) -> (Stored, String) {
        self.copies += 1;
        let head = String::from_utf8(stored.head.clone()).unwrap();
        let name = format!("abc-{}", self.copies);
        let to = format!("streamfleet:cache:cache-value:{{{name}}}");
        assert!(self.command::<bool>("COPY", blob, &[&to]).await);
        let head = format!("{} {name}", head.rsplit_once(' ').unwrap().0).into_bytes();
        (Stored { head, ..stored.clone() }, to)
    }

    async fn accepts(&self, key: &ValueKey) {
        assert!(get(&self.store, key).await.unwrap() == self.value);
    }

    async fn refuses(&mut self, key: &ValueKey, what: &str) {
        assert!(get(&self.store, key).await.is_none(), "{what}");
        // It is forgotten.
        let there: bool = self.command("HEXISTS", &format!("{INDEX}values"), &[&id(key)]).await;
        assert!(!there, "{what}");
    }
}

/// What a command takes.
trait Argument: Sync {
    fn add_to(&self, command: &mut redis::Cmd);
}

impl<T: ToRedisArgs + Sync> Argument for T {
    fn add_to(&self, command: &mut redis::Cmd) {
        command.arg(self);
    }
}

/// Everything that differs from some bytes in one bit, or is shorter or longer.
fn altered(data: &[u8]) -> Vec<Vec<u8>> {
    let flipped = (0..data.len()).map(|at| {
        let mut data = data.to_vec();
        data[at] ^= 1;
        data
    });
    let cut = (0..data.len()).map(|length| data[..length].to_vec());
    flipped.chain(cut).chain([[data, b"x"].concat()]).collect()
}

/// Lengths of values that are in the index, and that have a blob of two parts.
const INLINE: usize = 40;
const LARGE: usize = (1 << 20) + 100;

#[tokio::test]
async fn every_byte_of_a_small_value_counts() {
    let mut it = Tampering::begin(INLINE).await;
    let key = key("f", "call");
    let right = it.stored(&key).await;
    it.accepts(&key).await;
    for content in altered(&right.content) {
        it.store(&key, &Stored { content, ..right.clone() }).await;
        it.refuses(&key, "content").await;
    }
    it.store(&key, &right).await;
    it.accepts(&key).await;
}

#[tokio::test]
async fn every_byte_of_a_large_value_counts() {
    let mut it = Tampering::begin(LARGE).await;
    let key = key("f", "call");
    let right = it.stored(&key).await;
    let blob = it.blob(&key).await;
    // Where the blob is doesn't matter, so each of these has one of its own: what is refused is deleted.
    let moved = it.move_blob(&right, &blob).await.0;
    it.store(&key, &moved).await;
    it.accepts(&key).await;
    for content in altered(&right.content) {
        let moved = it.move_blob(&right, &blob).await.0;
        it.store(&key, &Stored { content, ..moved }).await;
        it.refuses(&key, "content").await;
    }
    for field in ["0", "1"] {
        let data: Vec<u8> = it.command("HGET", &blob, &[&field]).await;
        let flipped = (0..data.len()).step_by(data.len() / 13).map(|at| {
            let mut data = data.clone();
            data[at] ^= 1;
            data
        });
        let wrong = flipped.chain([data[..data.len() - 1].to_vec(), Vec::new(), vec![1], [&data[..], b"x"].concat()]);
        for wrong in wrong {
            let (moved, own) = it.move_blob(&right, &blob).await;
            it.command::<i64>("HSET", &own, &[&field, &wrong]).await;
            it.store(&key, &moved).await;
            it.refuses(&key, "a part").await;
        }
        let (moved, own) = it.move_blob(&right, &blob).await;
        it.command::<i64>("HDEL", &own, &[&field]).await;
        it.store(&key, &moved).await;
        it.refuses(&key, "a part is missing").await;
    }
    let parts: Vec<Vec<u8>> = it.command("HMGET", &blob, &[&"0", &"1"]).await;
    let (moved, own) = it.move_blob(&right, &blob).await;
    it.command::<i64>("HSET", &own, &[&"0", &parts[1], &"1", &parts[0]]).await;
    it.store(&key, &moved).await;
    it.refuses(&key, "parts are swapped").await;
    // What nobody has signed isn't even read.
    let (moved, own) = it.move_blob(&right, &blob).await;
    it.command::<i64>("HSET", &own, &[&"2", &"evil"]).await;
    it.store(&key, &moved).await;
    it.accepts(&key).await;
}

#[tokio::test]
async fn values_of_other_places_are_refused() {
    for length in [INLINE, LARGE] {
        let mut it = Tampering::begin(length).await;
        let key = key("f", "call");
        let right = it.stored(&key).await;
        for other in [super::stores::key("f", "other"), super::stores::key("g", "call")] {
            let others = it.stored(&other).await;
            let (signature, parts) = right.content.split_at(32);
            let own_parts = Stored { content: [&others.content[..32], parts].concat(), head: right.head.clone() };
            let own_signature =
                Stored { content: [signature, &others.content[32..]].concat(), head: others.head.clone() };
            for wrong in [own_parts, own_signature, others] {
                it.store(&key, &wrong).await;
                it.refuses(&key, "of another call").await;
            }
        }
        // The whole index of another revision.
        let options = CacheOptions { revision: "r2".to_owned(), max_bytes: PLENTY };
        let other = connect(&it.redis.url(), "cache", options, signer(&[KEY]), &Arc::<Ear>::default()).await;
        compute(&other, &function("f"), "call", &it.value).await;
        for name in ["values", "content", "used", "used:f", "totals"] {
            let (from, to) = (format!("streamfleet:cache:cache:{{r2}}:{name}"), format!("{INDEX}{name}"));
            it.redis.command::<()>(&["COPY", &from, &to, "REPLACE"]).await.unwrap();
        }
        assert_eq!(it.stored(&key).await.content.len(), right.content.len());
        it.refuses(&key, "of another revision").await;
    }
}

#[tokio::test]
async fn nonsense_in_the_index_is_nothing() {
    for length in [INLINE, LARGE] {
        let mut it = Tampering::begin(length).await;
        let key = key("f", "call");
        let right = it.stored(&key).await;
        let head = String::from_utf8(right.head.clone()).unwrap();
        let words: Vec<_> = head.split(' ').collect();
        let mut heads = vec![String::new(), "x".to_owned(), " ".repeat(3), format!("{head} x"), words[..3].join(" ")];
        for (at, wrong) in [
            (0, "0"),
            (0, "39"),
            (0, "1e3"),
            (0, "nan"),
            (0, "99999999999999999999"),
            (0, "4611686018427387904"),
            (0, "-1"),
            (1, "0"),
            (1, "1"),
            (1, "inf"),
            (1, "18446744073709551615"),
            (3, "abc-def"),
            (3, "-"),
            (3, "x}{y"),
        ] {
            let mut words = words.clone();
            words[at] = wrong;
            heads.push(words.join(" "));
        }
        for head in heads {
            it.store(&key, &Stored { head: head.clone().into(), ..right.clone() }).await;
            it.refuses(&key, &head).await;
            // Whoever is to compute it then can.
            it.store(&key, &Stored { head: head.clone().into(), ..right.clone() }).await;
            let Acquired::Lease(lease) = it.store.acquire(&key, "o", None).await.unwrap() else {
                panic!("{head} is taken")
            };
            let value = it.value.clone();
            let stored = it.store.put(&lease, &function("f"), &Packed::of(&value)).await.unwrap();
            assert_eq!(stored, streamfleet_cluster::Stored::Yes);
            it.accepts(&key).await;
        }
        for (name, nonsense) in
            [("totals", "count:f"), ("totals", "size:f"), ("totals", "packed"), ("leases", "1:fcall")]
        {
            for value in ["", "x", "-5", "1e300", "99999999999999999999", "a b c"] {
                it.command::<i64>("HSET", &format!("{INDEX}{name}"), &[&nonsense, &value]).await;
                let limited = CachedFunction { max_entries: Some(2), max_bytes: Some(PLENTY), ..function("f") };
                let value = it.value.clone();
                assert_eq!(compute(&it.store, &limited, "call", &value).await, streamfleet_cluster::Stored::Yes);
                it.accepts(&key).await;
            }
        }
        for score in ["inf", "-inf", "1e300"] {
            it.command::<i64>("ZADD", &format!("{INDEX}used"), &[&score, &id(&key)]).await;
            get(&it.store, &key).await;
            let value = it.value.clone();
            compute(&it.store, &function("f"), "call", &value).await;
            it.accepts(&key).await;
        }
    }
}

#[tokio::test]
async fn only_the_clusters_keys_are_good() {
    let it = Tampering::begin(INLINE).await;
    let key = key("f", "call");
    let open = async |signer: CacheSigner| {
        let options = CacheOptions { revision: "r1".to_owned(), max_bytes: PLENTY };
        let store = connect(&it.redis.url(), "cache", options, signer, &Arc::<Ear>::default()).await;
        get(&store, &key).await
    };
    // An old key is good for as long as it is named.
    assert!(open(signer(&["new", KEY])).await.is_some());
    for wrong in [signer(&["another"]), CacheSigner::new("another", [KEY]).unwrap()] {
        assert!(open(wrong).await.is_none());
        compute(&it.store, &function("f"), "call", &it.value).await;
    }
}
