-- ARGV: 3 version, 4 the signature of what it builds on ('' if everything is here), 5 manifest, 6 signature, 7 how many fields to
-- set, then each with its value, then the fields to remove.
local new = tonumber(ARGV[3])
if epoch == by and new <= version then
  if new == version and signature == ARGV[6] then
    keep()
    return { 'ok', '' }
  end
  return { 'gone', '' }
end
local full = ARGV[4] == ''
if not full and ARGV[4] ~= signature then
  return { 'gone', '' }
end
-- First what a server without memory refuses: afterwards it lets us finish.
redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
if full then
  redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'by', ARGV[2], 'version', ARGV[3], 'manifest', ARGV[5], 'signature', ARGV[6])
local last = 7 + 2 * ARGV[7]
for i = 8, last, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
for i = last + 1, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[i])
end
keep()
return { 'ok', '' }
