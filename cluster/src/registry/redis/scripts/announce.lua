-- ARGV: 5 runner, 6 member, 7 load. Returns 1 where the runner's lease had ended or never begun.
local until_when = tonumber(redis.call('ZSCORE', KEYS[3], ARGV[5]) or 0)
if redis.call('HGET', KEYS[1], ARGV[5]) ~= ARGV[6] then
  redis.call('HSET', KEYS[1], ARGV[5], ARGV[6])
  changed = true
end
redis.call('HSET', KEYS[2], ARGV[5], ARGV[7])
redis.call('ZADD', KEYS[3], now + ARGV[1], ARGV[5])
finish()
return until_when <= now and 1 or 0
