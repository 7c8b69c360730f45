-- Common to all scripts about members. KEYS: 1 members, 2 loads, 3 leases, 4 state, 5 roll where it is used.
-- ARGV: 1 lease, 2 time after which the registry counts as away, 3 life of the keys (all in ms), 4 channel.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Written by every runner and gateway each second: when it stood still, nobody could renew anything.
local pulse = tonumber(redis.call('HGET', KEYS[4], 'pulse') or 0)
local settled = tonumber(redis.call('HGET', KEYS[4], 'settled') or 0)
if now - pulse > tonumber(ARGV[2]) then
  settled = now + tonumber(ARGV[1])
end
redis.call('HSET', KEYS[4], 'pulse', now, 'settled', settled)
local settling = now < settled
local changed = false
if not settling then
  for _, runner in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now)) do
    redis.call('HDEL', KEYS[1], runner)
    redis.call('HDEL', KEYS[2], runner)
    redis.call('ZREM', KEYS[3], runner)
    changed = true
  end
end
local function finish()
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, ARGV[3])
  end
  if changed then
    redis.call('PUBLISH', ARGV[4], 'members')
  end
end
