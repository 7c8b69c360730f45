-- ARGV: 3 id, 4 what its entry of `values` was, 5 and of `content`. Forgets a value that is no good, unless there is another by now.
-- Returns blobs.
if redis.call('HGET', values, ARGV[3]) == ARGV[4] and redis.call('HGET', content, ARGV[3]) == ARGV[5] then
  forget({ ARGV[3] })
end
return blobs
