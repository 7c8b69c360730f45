-- KEYS: 5 the roll. ARGV: 5 holder, 6 lease in ms.
-- Returns whether the caller has the lock, its generation, who has it otherwise, and the last roll ('' for none).
local held = redis.call('HMGET', KEYS[5], 'until', 'generation', 'holder', 'roll')
local roll = held[4] or ''
if now < tonumber(held[1] or 0) then
  finish()
  return { 0, '0', held[3] or '', roll }
end
local generation = math.max(time[1] * 1000000 + time[2], tonumber(held[2] or 0) + 1)
generation = string.format('%d', generation)
redis.call('HSET', KEYS[5], 'until', now + ARGV[6], 'generation', generation, 'holder', ARGV[5])
finish()
return { 1, generation, ARGV[5], roll }
