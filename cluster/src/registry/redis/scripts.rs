//! The Lua scripts: each of them one atomic step on keys of one hash slot.

use std::sync::LazyLock;

use redis::Script;

/// A script about members, with what is common to those.
fn about_members(text: &str) -> Script {
    Script::new(&format!("{}{text}", include_str!("scripts/settle.lua")))
}

/// A script about one pin, with what is common to those.
fn about_pin(text: &str) -> Script {
    Script::new(&format!("{}{text}", include_str!("scripts/pins.lua")))
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $make:path, $file:literal;)*) => {
        $($(#[$doc])* pub(super) static $name: LazyLock<Script> = LazyLock::new(|| $make(include_str!($file)));)*
    };
}

scripts! {
    ANNOUNCE = about_members, "scripts/announce.lua";
    WITHDRAW = about_members, "scripts/withdraw.lua";
    MEMBERS = about_members, "scripts/members.lua";
    REVISION = about_members, "scripts/revision.lua";
    TAKE_ROLL = about_members, "scripts/take_roll.lua";
    HOLD_ROLL = about_members, "scripts/hold_roll.lua";
    PIN = about_pin, "scripts/pin.lua";
    MOVE_PIN = about_pin, "scripts/move_pin.lua";
    CLAIM = about_pin, "scripts/claim.lua";
    UNPIN = about_pin, "scripts/unpin.lua";
    LINE = Script::new, "scripts/line.lua";
    ADD_MEDIA = Script::new, "scripts/add_media.lua";
}
