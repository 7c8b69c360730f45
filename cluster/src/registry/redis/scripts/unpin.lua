-- ARGV: 4 runner, 5 epoch.
if runner == ARGV[4] and epoch == tonumber(ARGV[5]) then
  redis.call('DEL', KEYS[1])
  redis.call('PUBLISH', ARGV[2], 'unpin ' .. ARGV[3])
end
