-- ARGV: 5 runner.
if redis.call('HDEL', KEYS[1], ARGV[5]) == 1 then
  changed = true
end
redis.call('HDEL', KEYS[2], ARGV[5])
redis.call('ZREM', KEYS[3], ARGV[5])
finish()
