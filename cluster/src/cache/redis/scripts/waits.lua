-- ARGV: 3 owner, 4 id that it waits for, 5 how many owners to ask, 6 for how many ms it is remembered. Returns whether whoever
-- computes that waits for this owner.
local owner, id = ARGV[3], ARGV[4]
keep()
-- First ours is there: of two that come at once, the other sees it.
redis.call('HSET', waits, owner, digits(now) .. ' ' .. id)
sweep(waits, '^(%d+) ', ARGV[6])
keep()
for _ = 1, ARGV[5] do
  local token, ends, by = lease_of(id)
  if not token or ends <= now then
    return 0
  end
  if by == owner then
    redis.call('HDEL', waits, owner)
    return 1
  end
  id = string.match(redis.call('HGET', waits, by) or '', '^%d+ (.*)$')
  if not id then
    return 0
  end
end
return 0
