-- Lets everybody see a file whose other parts are in the unfinished one.
-- KEYS: the unfinished file, the file, the session's list of files
-- ARGV: the file's time to live in ms, its id, its head, how many parts are there already, and the last part if there is one
if redis.call('HLEN', KEYS[1]) ~= tonumber(ARGV[4]) then
  return 0 -- Redis has been emptied meanwhile.
end
redis.call('HSET', KEYS[1], 'head', ARGV[3])
if ARGV[5] then
  redis.call('HSET', KEYS[1], ARGV[4], ARGV[5])
end
redis.call('RENAME', KEYS[1], KEYS[2])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
redis.call('SADD', KEYS[3], ARGV[2])
redis.call('PEXPIRE', KEYS[3], ARGV[1])
return 1
