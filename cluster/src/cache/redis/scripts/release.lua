-- ARGV: 3 id, 4 token. Returns whether it was still had.
if lease_of(ARGV[3]) ~= ARGV[4] then
  return 0
end
redis.call('HDEL', leases, ARGV[3])
publish('settled', { ARGV[3] })
return 1
