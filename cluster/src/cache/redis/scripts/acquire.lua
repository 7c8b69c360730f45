-- ARGV: 3 id, 4 token, 5 owner, 6 life of the lease in ms, 7 how many ms a value must outlast, and yet
-- expire some time (-1: any will do), 8 for how many ms a lease is remembered that has ended. Returns a word, what belongs to it, and blobs.
local id = ARGV[3]
local fresh = tonumber(ARGV[7])
local function outlasts()
  local expires = head_of(redis.call('HGET', values, id)).expires
  return expires > 0 and expires - now > fresh
end
local found = (fresh < 0 or outlasts()) and find(id)
if found then
  return { 'present', found, blobs }
end
local token, ends = lease_of(id)
if token and now < ends then
  return { 'held', ends - now, blobs }
end
redis.call('HSET', leases, id, ARGV[4] .. ' ' .. digits(now + ARGV[6]) .. ' ' .. ARGV[5])
sweep(leases, '^%S+ (%d+) ', ARGV[8])
keep()
return { 'lease', '', blobs }
