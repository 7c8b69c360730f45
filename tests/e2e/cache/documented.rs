//! What Streamlit documents of `st.cache_data`: the same on plain Streamlit, on one server and on a fleet, where the users are in
//! different workers.

use http::HeaderMap;
use streamfleet_testkit::browser::Browser;

use super::stage::{Stage, USERS, compare};

#[tokio::test]
async fn a_value_is_there_for_all_sessions() {
    compare("values", async |stage| {
        stage.expect_everywhere("square(2)", "4").await;
        stage.assert_ran("square 2", 1);
        // And for a session that comes later.
        let endpoint = stage.endpoint();
        stage.users[0] = Browser::open(&endpoint).await.unwrap();
        stage.expect(0, "square(2)", "4").await;
        stage.assert_ran("square 2", 1);
    })
    .await;
}

#[tokio::test]
async fn each_call_has_a_value_of_its_own() {
    compare("values", async |stage| {
        for round in 0..2 {
            for user in 0..USERS {
                let number = (user + round) % USERS;
                stage.expect(user, &format!("square({number})"), &(number * number).to_string()).await;
            }
        }
        for number in 0..USERS {
            stage.assert_ran(&format!("square {number}"), 1);
        }
        // 1 and 1.0 are equal, but not the same; a name is no difference.
        stage.expect(0, "square(1.0)", "1.0").await;
        stage.expect(1, "square(number=3)", "9").await;
        stage.assert_ran("square 1.0", 1);
        stage.assert_ran("square 3", 1);
    })
    .await;
}

#[tokio::test]
async fn arguments_with_an_underscore_make_no_difference() {
    compare("values", async |stage| {
        stage.expect(0, "scaled(10, 2)", "20").await;
        for user in 1..USERS {
            stage.expect(user, &format!("scaled({user}, 2)"), "20").await;
        }
        stage.expect(1, "scaled(10, 3)", "30").await;
        stage.assert_ran("scaled 2", 1);
        stage.assert_ran("scaled 3", 1);
    })
    .await;
}

#[tokio::test]
async fn arguments_are_hashed_as_the_app_says() {
    compare("values", async |stage| {
        stage.expect(0, "across(Point(1, 2))", "(1, 2)").await;
        stage.expect(1, "across(Point(2, 2))", "(2, 2)").await;
        stage.expect(2, "across(Point(1, 3))", "(1, 2)").await;
        stage.expect(3, "across(Point(2, 3))", "(2, 2)").await;
        stage.assert_ran("across 1", 1);
        stage.assert_ran("across 2", 1);
        // By the type's name.
        stage.expect(0, "upwards(Point(1, 2))", "(1, 2)").await;
        stage.expect(2, "upwards(Point(5, 2))", "(1, 2)").await;
        stage.assert_ran("upwards 2", 1);
    })
    .await;
}

#[tokio::test]
async fn an_argument_that_cannot_be_hashed_is_refused() {
    compare("values", async |stage| {
        for user in 0..USERS {
            let answer = stage.call(user, "locked(threading.Lock())").await;
            assert!(answer.contains("Cannot hash argument 'lock'"), "{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_object_of_the_scripts_own_class_is_one_everywhere() {
    compare("values", async |stage| {
        stage.expect_everywhere("(lambda p: (p.x, p.y, isinstance(p, Point)))(point(3))", "(3, -3, True)").await;
        stage.assert_ran("point 3", 1);
    })
    .await;
}

#[tokio::test]
async fn none_is_a_value() {
    compare("values", async |stage| {
        stage.expect_everywhere("nothing()", "None").await;
        stage.assert_ran("nothing", 1);
    })
    .await;
}

#[tokio::test]
async fn an_exception_is_none() {
    compare("values", async |stage| {
        for user in 0..USERS {
            stage.expect(user, "failing('so bad')", "ValueError: so bad").await;
            stage.assert_ran("failing", user + 1);
        }
        stage.expect(0, "failing('so bad')", "ValueError: so bad").await;
        stage.assert_ran("failing", USERS + 1);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_pickled_is_refused() {
    compare("values", async |stage| {
        for (function, what) in [("stream", "genexpr"), ("lock", "lock")] {
            for user in 0..USERS {
                let answer = stage.call(user, &format!("{function}()")).await;
                assert!(answer.contains("Cannot serialize the return value") && answer.contains(what), "{answer}");
                stage.assert_ran(function, user + 1);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn everybody_has_a_copy() {
    compare("values", async |stage| {
        for _ in 0..2 {
            stage.expect_everywhere("changed_letters()", "['a', 'b', 'c']").await;
            stage.expect_everywhere("letters()", "['a', 'b']").await;
        }
        stage.expect(1, "letters() is letters()", "False").await;
        stage.assert_ran("letters", 1);
    })
    .await;
}

#[tokio::test]
async fn functions_call_each_other() {
    compare("values", async |stage| {
        stage.expect(0, "outer(1)", "4").await;
        stage.expect(2, "outer(1)", "4").await;
        stage.expect(3, "inner(1)", "2").await;
        stage.expect(1, "inner(2)", "3").await;
        stage.expect(2, "outer(2)", "6").await;
        for what in ["outer 1", "inner 1", "outer 2", "inner 2"] {
            stage.assert_ran(what, 1);
        }
        // The one doesn't know that the other has been cleared.
        stage.expect(3, "inner.clear()", "None").await;
        stage.expect(0, "outer(1)", "4").await;
        stage.assert_ran("outer 1", 1);
        stage.assert_ran("inner 1", 1);
        stage.expect(1, "outer.clear()", "None").await;
        stage.expect(2, "outer(1)", "4").await;
        stage.assert_ran("outer 1", 2);
        stage.assert_ran("inner 1", 2);
    })
    .await;
}

#[tokio::test]
async fn functions_and_methods_of_modules_are_shared() {
    compare("values", async |stage| {
        stage.expect_everywhere("library.cube(2)", "8").await;
        stage.assert_ran("cube 2", 1);
        // The same name and the same arguments, in two modules.
        stage.expect(0, "library.square(2)", "4").await;
        stage.expect(1, "square(2)", "4").await;
        stage.assert_ran("library square 2", 1);
        stage.assert_ran("square 2", 1);

        stage.expect(0, "library.Shelf('red').book(2)", "'red 2'").await;
        stage.expect(2, "library.Shelf('blue').book(2)", "'red 2'").await;
        stage.assert_ran("book 2", 1);
        stage.expect(0, "library.Shelf('red').page(2)", "'red 2'").await;
        stage.expect(2, "library.Shelf('blue').page(2)", "'blue 2'").await;
        stage.expect(3, "library.Shelf('red').page(2)", "'red 2'").await;
        stage.assert_ran("page red 2", 1);
        stage.expect(1, "library.Shelf('red').page.clear(2)", "None").await;
        stage.expect(3, "library.Shelf('red').page(2)", "'red 2'").await;
        stage.expect(2, "library.Shelf('blue').page(2)", "'blue 2'").await;
        stage.assert_ran("page red 2", 2);
        stage.assert_ran("page blue 2", 1);
        stage.expect(0, "library.Shelf.size(2)", "20").await;
        stage.expect(2, "library.Shelf('any').size(2)", "20").await;
        stage.assert_ran("size 2", 1);
    })
    .await;
}

#[tokio::test]
async fn functions_of_the_same_name_are_not_mixed_up() {
    compare("values", async |stage| {
        stage.expect(0, "twin('one')", "'the one'").await;
        stage.expect(2, "twin('other')", "'the other'").await;
        stage.expect(1, "twin('other')", "'the other'").await;
        stage.expect(3, "twin('one')", "'the one'").await;
        stage.assert_ran("twin one", 1);
        stage.assert_ran("twin other", 1);
    })
    .await;
}

#[tokio::test]
async fn a_data_frame_is_the_same_everywhere() {
    compare("values", async |stage| {
        for user in 0..USERS {
            stage.call(user, "shown_frame(6)").await;
            stage.note_page(user);
        }
        stage.assert_ran("frame 6", 1);
        stage.expect_everywhere("frame(6).equals(frame.__wrapped__(6))", "True").await;
    })
    .await;
}

#[tokio::test]
async fn coroutines_are_awaited_once() {
    compare("values", async |stage| {
        if stage.is_modern().await {
            stage.expect_everywhere("asyncio.run(awaited(2))", "2.5").await;
            stage.assert_ran("awaited 2", 1);
            stage.expect(3, "awaited.clear(2)", "None").await;
            stage.expect_everywhere("asyncio.run(awaited(2))", "2.5").await;
            stage.assert_ran("awaited 2", 2);
        }
    })
    .await;
}

#[tokio::test]
async fn a_thread_without_a_session_has_the_same_values() {
    compare("values", async |stage| {
        stage.expect(0, "in_thread(square, 5)", "[25]").await;
        stage.expect(2, "square(5)", "25").await;
        stage.expect(3, "in_thread(square, 5)", "[25]").await;
        stage.assert_ran("square 5", 1);
        stage.expect(1, "in_thread(square.clear, 5)", "[None]").await;
        stage.expect_everywhere("square(5)", "25").await;
        stage.assert_ran("square 5", 2);
    })
    .await;
}

/// Has everybody clear once, and asserts that it holds at once in the next run of each of the others.
async fn clear_in_turn(stage: &mut Stage, clear: &str, cleared: &str, kept: &str) {
    for call in [cleared, kept] {
        stage.expect_everywhere(&format!("square({call})"), &square(call)).await;
    }
    for user in 0..USERS {
        stage.expect(user, clear, "None").await;
        for other in 1..=USERS {
            stage.expect((user + other) % USERS, &format!("square({cleared})"), &square(cleared)).await;
            stage.assert_ran(&format!("square {cleared}"), user + 2);
        }
    }
}

fn square(number: &str) -> String {
    number.parse::<u32>().unwrap().pow(2).to_string()
}

#[tokio::test]
async fn one_call_is_cleared_for_all_at_once() {
    compare("values", async |stage| {
        clear_in_turn(stage, "square.clear(2)", "2", "3").await;
        stage.expect_everywhere("square(3)", "9").await;
        stage.assert_ran("square 3", 1);
    })
    .await;
}

#[tokio::test]
async fn a_function_is_cleared_for_all_at_once() {
    compare("values", async |stage| {
        stage.expect_everywhere("inner(2)", "3").await;
        clear_in_turn(stage, "square.clear()", "2", "3").await;
        stage.expect_everywhere("square(3)", "9").await;
        stage.assert_ran("square 3", 2);
        stage.expect_everywhere("inner(2)", "3").await;
        stage.assert_ran("inner 2", 1);
    })
    .await;
}

#[tokio::test]
async fn everything_is_cleared_for_all_at_once() {
    compare("values", async |stage| {
        stage.expect_everywhere("inner(2)", "3").await;
        clear_in_turn(stage, "st.cache_data.clear()", "2", "3").await;
        stage.expect_everywhere("square(3)", "9").await;
        stage.assert_ran("square 3", 2);
        stage.expect_everywhere("inner(2)", "3").await;
        stage.assert_ran("inner 2", 2);
    })
    .await;
}

#[tokio::test]
async fn a_callback_may_clear() {
    compare("values", async |stage| {
        for user in 0..USERS {
            stage.expect_everywhere("square(2)", "4").await;
            stage.assert_ran("square 2", user + 1);
            let browser = &mut stage.users[user];
            let button = browser.widget("clear").unwrap();
            // The run that follows makes the user's last call again.
            browser.click(&button).await.unwrap();
            stage.assert_ran("square 2", user + 2);
        }
    })
    .await;
}

#[tokio::test]
async fn a_value_expires() {
    const TTL: i64 = 2_000_000_000;
    compare("limits", async |stage| {
        // For everybody, and again and again.
        for time in 2..=4 {
            let user = time % USERS;
            while stage.runs("brief").len() < time {
                let answer = stage.look(user, "brief()").await;
                let runs = stage.runs("brief").len();
                assert_eq!(answer, runs.to_string(), "somebody still uses an older value");
            }
        }
        for pair in stage.runs("brief").windows(2) {
            let between = pair[1].nanos - pair[0].nanos;
            assert!(between >= TTL, "it was computed again after {between} ns");
        }
        stage.expect_everywhere("lasting()", "1").await;
    })
    .await;
}

#[tokio::test]
async fn the_least_recently_used_goes_when_there_are_too_many() {
    compare("limits", async |stage| {
        stage.expect(0, "few(1)", "-1").await;
        stage.expect(0, "few(2)", "-2").await;
        // Used by somebody whose worker has to ask for it.
        stage.expect(2, "few(1)", "-1").await;
        stage.expect(0, "few(3)", "-3").await;
        stage.expect(3, "few(1)", "-1").await;
        stage.assert_ran("few 1", 1);
        stage.expect(3, "few(2)", "-2").await;
        stage.assert_ran("few 2", 2);
        stage.expect(1, "few(1)", "-1").await;
        stage.expect(1, "few(3)", "-3").await;
        stage.assert_ran("few 1", 1);
        stage.assert_ran("few 3", 2);
    })
    .await;
}

#[tokio::test]
async fn the_least_recently_used_goes_when_there_is_too_much() {
    compare("limits", async |stage| {
        if !stage.is_modern().await {
            return;
        }
        // Two of these have room.
        let letters = |name: &str| format!("'{}'", name.repeat(4000));
        let call = |name: &str| format!("small('{name}', 4000)");
        for (user, name) in [(0, "a"), (0, "b"), (2, "a"), (0, "c"), (3, "a"), (3, "b")] {
            stage.expect(user, &call(name), &letters(name)).await;
        }
        stage.assert_ran("small a", 1);
        stage.assert_ran("small b", 2);
        stage.assert_ran("small c", 1);
    })
    .await;
}

#[tokio::test]
async fn a_value_larger_than_all_that_may_be_kept_is_kept_alone() {
    compare("limits", async |stage| {
        if !stage.is_modern().await {
            return;
        }
        stage.expect(0, "small('a', 4000)[:3]", "'aaa'").await;
        stage.expect(0, "small('b', 40000)[:3]", "'bbb'").await;
        stage.expect_everywhere("small('b', 40000)[:3]", "'bbb'").await;
        stage.assert_ran("small b", 1);
        stage.expect(2, "small('a', 4000)[:3]", "'aaa'").await;
        stage.assert_ran("small a", 2);
        // Another machine hears a moment later that there was no room for it.
        let call = "small('b', 40000)[:3]";
        stage.look_while(3, call, "'bbb'", |stage| stage.runs("small b").len() < 2).await;
        stage.assert_ran("small b", 2);
    })
    .await;
}

#[tokio::test]
async fn a_sessions_own_values_are_for_nobody_else() {
    compare("limits", async |stage| {
        for round in 0..3 {
            stage.expect_everywhere("private(1)", "1").await;
            stage.assert_ran("private 1", if round == 2 { USERS + 1 } else { USERS });
            if round == 1 {
                // For the one who does it.
                stage.expect(2, "private.clear()", "None").await;
            }
        }
        // For everybody.
        stage.expect(1, "st.cache_data.clear()", "None").await;
        stage.expect(1, "private(1)", "1").await;
        stage.assert_ran("private 1", USERS + 2);
    })
    .await;
}

#[tokio::test]
async fn an_old_value_does_until_the_new_one_is_there() {
    compare("limits", async |stage| {
        if !stage.is_modern().await {
            return;
        }
        let mut value = 1;
        stage.expect(0, "refreshed()", "1").await;
        for next in 2..=3 {
            // The old value is there while the new one is being computed, which goes on as long as we like.
            let old = value.to_string();
            stage.look_while(next % USERS, "refreshed()", &old, |stage| stage.runs("refreshed").len() < next).await;
            stage.expect_everywhere("refreshed()", &old).await;
            stage.assert_ran("refreshed", next);
            stage.open_gate(&format!("refresh-{next}"));
            value = next;
            for user in 0..USERS {
                stage.look_until(user, "refreshed()", &value.to_string()).await;
            }
        }
        stage.open_gate("refresh-4");
    })
    .await;
}

#[tokio::test]
async fn values_on_disk_are_found() {
    compare("limits", async |stage| {
        stage.expect_everywhere("persisted(2)", "14").await;
        stage.expect_everywhere("persisted(3)", "21").await;
        // That there is one disk here is chance.
        for what in ["persisted 2", "persisted 3"] {
            assert!((1..=stage.workers).contains(&stage.runs(what).len()), "{:?}", stage.runs(what));
        }
        stage.expect(0, "persisted.clear()", "None").await;
        stage.expect_everywhere("persisted(2)", "14").await;
    })
    .await;
}

#[tokio::test]
async fn resources_stay_where_they_are() {
    compare("limits", async |stage| {
        for _ in 0..2 {
            stage.expect_everywhere("type(resource()).__name__", "'lock'").await;
            stage.expect_everywhere("resource() is resource()", "True").await;
        }
        stage.assert_ran("resource", stage.workers);
    })
    .await;
}

#[tokio::test]
async fn what_a_function_draws_is_drawn_again() {
    compare("elements", async |stage| {
        for call in ["drawn('one')", "drawn_inside('one')", "drawn_by_parts('two')", "drawn('two')"] {
            for user in [0, 2, 1, 3] {
                stage.expect(user, call, "3").await;
                stage.note_page(user);
                assert!(stage.users[user].page.tree.contains("Visitors"), "{call} draws nothing for user {user}");
            }
        }
        stage.assert_ran("drawn one", 1);
        stage.assert_ran("drawn two", 1);
    })
    .await;
}

#[tokio::test]
async fn media_that_a_function_draws_are_there_for_all() {
    compare("elements", async |stage| {
        for user in [0, 2, 1, 3] {
            stage.expect(user, "pictured(7)", "7").await;
            stage.note_page(user);
            let urls = stage.users[user].page.tree.media_urls();
            assert_eq!(urls.len(), 2, "{urls:?}");
            for url in urls {
                let media = stage.users[user].client.get(&url, HeaderMap::new()).await.unwrap();
                assert_eq!(media.status, 200, "{url} for user {user}");
                stage.note(format!("{url} is {}", media.body.escape_ascii()));
            }
            // The next one has it although this one has gone.
            let endpoint = stage.endpoint();
            stage.users[user] = Browser::open(&endpoint).await.unwrap();
        }
        stage.assert_ran("pictured 7", 1);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_drawn_again_is_refused() {
    compare("elements", async |stage| {
        // The first one sees it, and the others see why not.
        stage.expect(0, "drawn_outside()", "1").await;
        for user in 1..USERS {
            let answer = stage.call(user, "drawn_outside()").await;
            assert!(answer.contains("CacheReplayClosureError"), "{answer}");
        }
        stage.assert_ran("drawn_outside", 1);
        for user in 0..USERS {
            let answer = stage.call(user, "with_widget()").await;
            assert!(answer.starts_with('1'), "{answer}");
            stage.note_page(user);
        }
        stage.assert_ran("with_widget", 1);
    })
    .await;
}

/// Two users of different runners make the same call; each sees the spinner while one of them has it computed.
async fn spin(stage: &mut Stage, function: &str, text: &str) {
    let call = format!("{function}('{function}')");
    let what = format!("{function} {function}");
    stage.begin(0, &call).await;
    stage.users[0].wait_for(text).await.unwrap();
    stage.until_ran(&what, 1).await;
    for user in [1, 2] {
        stage.begin(user, &call).await;
        stage.users[user].wait_for(text).await.unwrap();
    }
    stage.open_gate(function);
    for user in 0..3 {
        assert_eq!(stage.finish(user, &call).await, format!("'{function}'"));
        assert!(!stage.users[user].page.tree.contains(text), "the spinner of user {user} goes on");
    }
    stage.assert_ran(&what, 1);
    stage.expect(3, &call, &format!("'{function}'")).await;
    stage.assert_ran(&what, 1);
}

#[tokio::test]
async fn a_spinner_tells_of_computing_anywhere() {
    compare("elements", async |stage| {
        spin(stage, "slow", "Running `slow(...)`.").await;
        spin(stage, "told", "Asking the oracle").await;
    })
    .await;
}

#[tokio::test]
async fn no_spinner_is_shown_where_none_is_wanted() {
    compare("elements", async |stage| {
        for user in [0, 2] {
            stage.begin(user, "quiet('quiet')").await;
            stage.until_ran("quiet quiet", 1).await;
        }
        stage.open_gate("quiet");
        for user in [0, 2] {
            let Browser { client, page, .. } = &mut stage.users[user];
            let watch = |message: &_| {
                page.absorb(message)?;
                assert!(!page.tree.contains("Running `"), "there is a spinner");
                Ok(())
            };
            client.settle(watch).await.unwrap();
            stage.note_page(user);
        }
        stage.expect_everywhere("quiet('quiet')", "'quiet'").await;
        stage.assert_ran("quiet quiet", 1);
    })
    .await;
}
