-- ARGV: 5 revision for new sessions, '' for any.
redis.call('HSET', KEYS[4], 'revision', ARGV[5], 'admitted', '')
changed = true
finish()
