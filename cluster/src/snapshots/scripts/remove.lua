-- ARGV: 3 the version that this counts as. What was made before it is not taken any more.
local stamp = tonumber(ARGV[3])
if by == epoch then
  stamp = math.max(stamp, version)
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'by', ARGV[2], 'version', string.format('%d', stamp))
keep()
return { 'ok', '' }
