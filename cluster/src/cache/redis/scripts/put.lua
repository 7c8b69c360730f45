-- ARGV: 3 id, 4 token, 5 content, 6 bytes, 7 bytes packed, 8 life in ms (0: for ever), 9 blob, 10 and 11 how many values and bytes
-- the function may have ('': any), 12 how many packed bytes there may be in all. Returns whether it was stored, and blobs.
local id = ARGV[3]
if lease_of(id) ~= ARGV[4] then
  return { 0, {} }
end
local f, call = split(id)
local replaces, is_whole = redis.call('HEXISTS', values, id) == 1, whole(f)
-- First what a server without memory refuses: afterwards it lets us finish.
redis.call('HSET', content, id, ARGV[5])
if not is_whole then
  forget_all()
  redis.call('UNLINK', used_of(f))
else
  forget({ id })
end

local life = tonumber(ARGV[8])
local expires = life == 0 and 0 or now + life
redis.call('HSET', content, id, ARGV[5])
redis.call('HSET', values, id, table.concat({ ARGV[6], ARGV[7], digits(expires), ARGV[9] }, ' '))
if life > 0 then
  redis.call('ZADD', expiring, digits(expires), id)
end
use(id)
add('size:' .. f, tonumber(ARGV[6]))
add('count:' .. f, 1)
add('packed', tonumber(ARGV[7]))

-- What nobody can have any more goes first.
forget(redis.call('ZRANGEBYSCORE', expiring, '-inf', digits(now), 'LIMIT', 0, 1000))
forget(redis.call('ZRANGEBYSCORE', used, '-inf', digits(micros - unused), 'LIMIT', 0, 1000))

-- Forgets the least recently used of a set, but not what was just stored, until nothing is over the limits. Returns what it was.
local function trim(set, to_id, weight, count, bytes)
  local gone = {}
  while count > 0 or bytes > 0 do
    local ids, batch = {}, {}
    for i, member in ipairs(redis.call('ZRANGE', set, 0, 99)) do
      ids[i] = to_id(member)
    end
    local heads = redis.call('HMGET', values, unpack(ids))
    for i, other in ipairs(ids) do
      if other == id or (count <= 0 and bytes <= 0) then
        break
      end
      count, bytes = count - 1, bytes - head_of(heads[i])[weight]
      table.insert(batch, other)
      table.insert(gone, other)
    end
    if #batch == 0 then
      break
    end
    forget(batch)
  end
  return gone
end
local function over(sum, limit)
  return limit == '' and 0 or sum - limit
end
local count, bytes = over(total('count:' .. f), ARGV[10]), over(total('size:' .. f), ARGV[11])
local cleared = trim(used_of(f), function(member) return join(f, member) end, 'size', count, bytes)
trim(used, function(member) return member end, 'packed', 0, over(total('packed'), ARGV[12]))

redis.call('HDEL', leases, id)
keep(f)
if replaces then
  publish('cleared', { id })
end
publish('cleared', cleared)
publish('settled', { id })
return { 1, blobs }
