//! Everybody reads and clears at random, and what each is shown is checked against what may be shown.
//!
//! The functions read a source whose version only grows. Whoever clears changes the source first. So nobody whose call begins
//! after a clear has returned may be shown an older version than the one that it made. With `STREAMFLEET_SEED` a game is played
//! again, as far as chance on the other side allows.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::wire::WidgetValue;
use tokio::task::JoinSet;

use super::stage::{Stage, USERS, answered};
use crate::outlive::page::put;

/// Sessions that play at once, in all workers.
const PLAYERS: usize = 8;
/// Moves of each.
const MOVES: usize = 60;
const KEYS: u64 = 3;
const FUNCTIONS: [&str; 2] = ["lasting", "fleeting"];
/// How long `fleeting` lasts, and what is lost on the way from where that is counted.
const TTL: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_secs(2);

/// What a player may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    Get(&'static str, u64),
    /// One call, one function, or everything.
    Clear(Option<(&'static str, Option<u64>)>),
}

/// A move that somebody made. Times are nanoseconds of the machine's clock, in the app.
#[derive(Debug, Clone)]
struct Made {
    what: Move,
    asked: u64,
    done: u64,
    /// What was shown; or the least that may be shown to those who come later.
    version: u64,
    /// When the source was read.
    read: u64,
}

impl Move {
    fn any(chance: &mut Chance) -> Self {
        let (function, key) = (FUNCTIONS[usize::from(chance.one_in(3))], chance.below(KEYS));
        match chance.below(20) {
            0 => Self::Clear(None),
            1 => Self::Clear(Some((function, None))),
            2 | 3 => Self::Clear(Some((function, Some(key)))),
            _ => Self::Get(function, key),
        }
    }

    fn call(self) -> String {
        match self {
            Self::Get(function, key) => format!("get({function}, {key})"),
            Self::Clear(None) => "clear(st.cache_data)".to_owned(),
            Self::Clear(Some((function, None))) => format!("clear({function})"),
            Self::Clear(Some((function, Some(key)))) => format!("clear({function}, {key})"),
        }
    }

    /// Whether it clears what that call returns.
    fn clears(self, function: &str, key: u64) -> bool {
        match self {
            Self::Get(..) => false,
            Self::Clear(scope) => {
                scope.is_none_or(|(of, keys)| of == function && keys.is_none_or(|cleared| cleared == key))
            }
        }
    }
}

/// Numbers as if by chance, the same for the same seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

fn seed() -> u64 {
    let given = std::env::var("STREAMFLEET_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed = given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) ^ now.as_secs()
    });
    eprintln!("play it again with STREAMFLEET_SEED={seed}");
    seed
}

/// What is wrong with a game, if anything.
fn check(game: &[Made]) -> Result<(), String> {
    for got in game {
        let Move::Get(function, key) = got.what else { continue };
        let cleared = game.iter().filter(|other| other.what.clears(function, key) && other.done < got.asked);
        if let Some(clear) = cleared.max_by_key(|clear| clear.version)
            && got.version < clear.version
        {
            return Err(format!("{got:?} shows what had been cleared by {clear:?}"));
        }
        if function == "fleeting" {
            // It was stored before anybody was shown it.
            let same = game.iter().filter(|other| other.what == got.what && other.read == got.read);
            let stored_by = same.map(|other| other.done).min().unwrap();
            let expired = stored_by + u64::try_from((TTL + SLACK).as_nanos()).unwrap();
            if got.asked > expired {
                return Err(format!("{got:?} shows what had expired at {expired}"));
            }
        }
    }
    Ok(())
}

/// Asserts that what stays until it is cleared was not computed more often than it was cleared.
fn check_runs(stage: &Stage, game: &[Made]) {
    for key in 0..KEYS {
        let clears = game.iter().filter(|other| other.what.clears("lasting", key)).count();
        let runs = stage.runs(&format!("lasting {key}")).len();
        assert!(runs <= clears + 1, "lasting({key}) ran {runs} times, and was cleared {clears} times");
    }
}

fn report(game: &[Made]) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for made in game {
        let kind = match made.what {
            Move::Clear(_) => "clears",
            // The source had been read before this one asked.
            Move::Get(..) if made.read < made.asked => "hits",
            Move::Get(..) => "misses",
        };
        *counts.entry(kind).or_default() += 1;
    }
    eprintln!("{counts:?}");
    assert!(counts.get("hits").is_some_and(|hits| *hits > game.len() / 10), "hardly anything is cached");
}

async fn make(browser: &mut Browser, next: Move) -> Made {
    let call = next.call();
    put(browser, "call", WidgetValue::Text(call.clone())).await;
    let answer = answered(browser, &call).await;
    let numbers: [u64; 4] = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{call} shows {answer}"));
    let [asked, done, version, read] = numbers;
    Made { what: next, asked, done, version, read }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_what_was_cleared() {
    let seed = seed();
    let mut stage = Stage::fleet("model").await;
    let mut browsers = std::mem::take(&mut stage.users);
    while browsers.len() < PLAYERS {
        browsers.push(Browser::open(&stage.endpoint()).await.unwrap());
    }
    let mut players = JoinSet::new();
    for (player, mut browser) in browsers.into_iter().enumerate() {
        let mut chance = Chance(seed ^ u64::try_from(player).unwrap());
        players.spawn(async move {
            let mut moves = Vec::new();
            for _ in 0..MOVES {
                moves.push(make(&mut browser, Move::any(&mut chance)).await);
            }
            moves
        });
    }
    let game: Vec<Made> = players.join_all().await.into_iter().flatten().collect();
    report(&game);
    check(&game).unwrap();
    check_runs(&stage, &game);
}

/// One move after the other, so that plain Streamlit passes too.
#[tokio::test]
async fn a_slow_game_is_the_same_as_on_one_process() {
    let seed = seed();
    for plain in [true, false] {
        let mut stage = if plain { Stage::plain("model").await } else { Stage::fleet("model").await };
        let mut chance = Chance(seed);
        let mut game = Vec::new();
        for _ in 0..2 * MOVES {
            let player = usize::try_from(chance.below(u64::try_from(USERS).unwrap())).unwrap();
            let next = Move::any(&mut chance);
            game.push(make(&mut stage.users[player], next).await);
        }
        report(&game);
        check(&game).unwrap();
        check_runs(&stage, &game);
    }
}

fn made(what: Move, asked: u64, version: u64) -> Made {
    Made { what, asked, done: asked + 1, version, read: asked }
}

#[test]
fn the_check_notices_what_was_cleared() {
    let get = |key, asked, version| made(Move::Get("lasting", key), asked, version);
    let clear = |scope, asked, version| made(Move::Clear(scope), asked, version);
    check(&[get(0, 10, 0), clear(Some(("lasting", Some(0))), 20, 1), get(0, 30, 1)]).unwrap();
    // Another's, and one that returns only after the call has begun.
    check(&[get(0, 10, 0), clear(Some(("lasting", Some(1))), 20, 1), get(0, 30, 0)]).unwrap();
    check(&[get(0, 10, 0), clear(Some(("fleeting", None)), 20, 1), get(0, 30, 0)]).unwrap();
    check(&[get(0, 10, 0), clear(None, 30, 1), get(0, 30, 0)]).unwrap();
    for scope in [None, Some(("lasting", None)), Some(("lasting", Some(0)))] {
        check(&[get(0, 10, 0), clear(scope, 20, 1), get(0, 30, 0)]).unwrap_err();
    }
}

#[test]
fn the_check_notices_what_has_expired() {
    let limit = u64::try_from((TTL + SLACK).as_nanos()).unwrap();
    let shown = |asked| Made { read: 10, ..made(Move::Get("fleeting", 0), asked, 0) };
    check(&[shown(10), shown(11 + limit)]).unwrap();
    check(&[shown(10), shown(12 + limit)]).unwrap_err();
}
