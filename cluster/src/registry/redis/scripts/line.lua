-- The line of visitors, in one step. KEYS: 1 who waits (by arrival), 2 when they asked last, 3 until when places are kept or
-- counted, 4 until when visitors are inside. ARGV: 1 what is done, 2 how long a place is kept, 3 a taken one counted, 4 an active
-- visitor waited for, 5 its place in the line kept, 6 a visitor inside, each in ms, 7 how many places are free, then visitors.
-- Returns a number: 0 for in, -1 for out, else the place in the line; and how many wait. The same as in memory_line.rs.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local visitor = ARGV[8]

local function forget(key, before, also)
  local gone = redis.call('ZRANGEBYSCORE', key, '-inf', before, 'LIMIT', 0, 1000)
  if #gone > 0 then
    redis.call('ZREM', key, unpack(gone))
    if also then
      redis.call('ZREM', also, unpack(gone))
    end
  end
end
forget(KEYS[2], now - ARGV[5], KEYS[1])
forget(KEYS[3], now)
forget(KEYS[4], now)

local function finish(answer)
  for i = 1, 4 do
    redis.call('PEXPIRE', KEYS[i], 2 * ARGV[5])
  end
  return { answer, redis.call('ZCARD', KEYS[1]) }
end

if ARGV[1] == 'leave' then
  redis.call('ZREM', KEYS[3], 'taken:' .. visitor)
end
if ARGV[1] == 'stay' or ARGV[1] == 'leave' then
  for i = 8, #ARGV do
    redis.call('ZADD', KEYS[4], now + ARGV[6], ARGV[i])
  end
  return finish(0)
end

local room = ARGV[7] - redis.call('ZCARD', KEYS[3])

-- Whether fewer than there is room for would go before. Looks at no more than so many who are passed over.
local function is_next(rank)
  if room <= 0 or rank >= room + 256 then
    return false
  end
  local active = 0
  for _, other in ipairs(rank > 0 and redis.call('ZRANGE', KEYS[1], 0, rank - 1) or {}) do
    local seen = redis.call('ZSCORE', KEYS[2], other)
    if seen and now - seen < tonumber(ARGV[4]) then
      active = active + 1
      if active >= room then
        return false
      end
    end
  end
  return true
end

local is_inside = redis.call('ZSCORE', KEYS[4], visitor)
local has_place = redis.call('ZSCORE', KEYS[3], visitor)
local function leave_line()
  redis.call('ZREM', KEYS[1], visitor)
  redis.call('ZREM', KEYS[2], visitor)
end

if ARGV[1] == 'ask' then
  if is_inside then
    return finish(0)
  end
  if not has_place then
    if not redis.call('ZSCORE', KEYS[1], visitor) then
      -- As precise as a double is: two who come within a microsecond go by their names.
      redis.call('ZADD', KEYS[1], time[1] * 1000000 + time[2], visitor)
    end
    redis.call('ZADD', KEYS[2], now, visitor)
    local rank = redis.call('ZRANK', KEYS[1], visitor)
    if not is_next(rank) then
      return finish(rank + 1)
    end
    leave_line()
  end
  redis.call('ZADD', KEYS[3], now + ARGV[2], visitor)
  return finish(0)
end

-- It enters.
if not (is_inside or has_place) then
  local rank = redis.call('ZRANK', KEYS[1], visitor) or redis.call('ZCARD', KEYS[1])
  if not is_next(rank) then
    return finish(-1)
  end
end
leave_line()
redis.call('ZREM', KEYS[3], visitor)
redis.call('ZADD', KEYS[3], now + ARGV[3], 'taken:' .. visitor)
redis.call('ZADD', KEYS[4], now + ARGV[6], visitor)
return finish(0)
