-- ARGV: 3 id, 4 token, 5 life of the lease in ms. Returns whether it is still had.
local token, _, owner = lease_of(ARGV[3])
if token ~= ARGV[4] then
  return 0
end
keep()
redis.call('HSET', leases, ARGV[3], token .. ' ' .. digits(now + ARGV[5]) .. ' ' .. owner)
return 1
