-- ARGV: 3 node, 4 for how many ms it is there. Forgets those that have been away for longer than that.
keep()
redis.call('ZADD', nodes, digits(now + ARGV[4]), ARGV[3])
redis.call('ZREMRANGEBYSCORE', nodes, '-inf', digits(now - ARGV[4]))
keep()
