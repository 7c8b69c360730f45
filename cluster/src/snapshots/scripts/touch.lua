if not signature then
  return { 'gone', '' }
end
keep()
redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
return { 'ok', '' }
