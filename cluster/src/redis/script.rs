//! Calls of Lua scripts with large arguments: `redis::Script` would copy those once more.

use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, Script, ServerErrorKind, ToRedisArgs};

use super::Connection;

/// A call of a script with these keys, to which its arguments are to be added.
pub(crate) fn script_call(script: &Script, keys: &[impl ToRedisArgs]) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(script.get_hash()).arg(keys.len()).arg(keys);
    command
}

/// Runs a call of a script, which the server need not know yet.
pub(crate) async fn run<T: FromRedisValue>(
    script: &Script,
    call: &Cmd,
    connection: &mut Connection,
) -> Result<T, RedisError> {
    match call.query_async(connection).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            script.load_async(connection).await?;
            call.query_async(connection).await
        }
        outcome => outcome,
    }
}
