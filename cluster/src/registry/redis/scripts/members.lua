-- Returns whether the registry is settling, the revision for new sessions ('' for any), the runners of it that they go to ('' for
-- all), the members, and their loads.
finish()
return {
  settling and 1 or 0,
  redis.call('HGET', KEYS[4], 'revision') or '',
  redis.call('HGET', KEYS[4], 'admitted') or '',
  redis.call('HGETALL', KEYS[1]),
  redis.call('HGETALL', KEYS[2]),
}
