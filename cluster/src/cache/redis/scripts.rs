//! The Lua scripts: each of them one atomic step on the index.

use std::sync::LazyLock;

use redis::Script;

/// A script, with what is common to all of them.
fn script(text: &str) -> Script {
    Script::new(&format!("{}{text}", include_str!("scripts/index.lua")))
}

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| script(include_str!($file)));)*
    };
}

scripts! {
    GET = "scripts/get.lua";
    ACQUIRE = "scripts/acquire.lua";
    RENEW = "scripts/renew.lua";
    RELEASE = "scripts/release.lua";
    PUT = "scripts/put.lua";
    CLEAR = "scripts/clear.lua";
    TOUCH = "scripts/touch.lua";
    REMOVE = "scripts/remove.lua";
    WAITS = "scripts/waits.lua";
    ATTEND = "scripts/attend.lua";
}
