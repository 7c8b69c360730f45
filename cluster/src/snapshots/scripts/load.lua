-- Returns all fields. First what a server without memory allows, so that it lets us raise the epoch: a session must be able to
-- go on while nothing more can be saved.
keep()
redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
keep()
return { 'ok', redis.call('HGETALL', KEYS[1]) }
