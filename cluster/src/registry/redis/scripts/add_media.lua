-- KEYS: 1 the file's runners. ARGV: 1 their life in ms, 2 runner.
redis.call('SADD', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
