-- Common to all scripts about one pin. KEYS: 1 the pin. ARGV: 1 its life in ms, 2 channel, 3 session.
local held = redis.call('HMGET', KEYS[1], 'runner', 'epoch')
local runner, epoch = held[1], tonumber(held[2] or 0)
-- Microseconds, which a Lua number holds exactly until the year 2255.
local function next_epoch(after)
  local time = redis.call('TIME')
  return math.max(time[1] * 1000000 + time[2], after + 1)
end
local function set(new_runner, new_epoch)
  runner, epoch = new_runner, new_epoch
  redis.call('HSET', KEYS[1], 'runner', runner, 'epoch', string.format('%d', epoch))
end
local function tell()
  redis.call('PUBLISH', ARGV[2], 'pin ' .. ARGV[3] .. ' ' .. string.format('%d', epoch) .. ' ' .. runner)
end
local function keep()
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  return { runner, string.format('%d', epoch) }
end
