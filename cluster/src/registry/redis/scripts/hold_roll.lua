-- KEYS: 5 the roll. ARGV: 5 generation, 6 lease in ms (0 gives the lock back), 7 holder; and where the roll is written down: 8 roll,
-- 9 revision for new sessions ('' for any), 10 the runners of it that they go to ('' for all).
-- Returns 0, and does nothing, where somebody else has had the lock since.
if tonumber(redis.call('HGET', KEYS[5], 'generation') or 0) > tonumber(ARGV[5]) then
  finish()
  return 0
end
redis.call('HSET', KEYS[5], 'until', now + ARGV[6], 'generation', ARGV[5], 'holder', ARGV[7])
if ARGV[8] then
  redis.call('HSET', KEYS[5], 'roll', ARGV[8])
  redis.call('HSET', KEYS[4], 'revision', ARGV[9], 'admitted', ARGV[10])
  changed = true
end
finish()
return 1
