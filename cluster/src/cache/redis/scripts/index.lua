-- Common to all scripts. KEYS: those of the index. ARGV: 1 for how many ms an unused value is kept, 2 the channel.
local values, content, used, expiring, totals, leases, waits, nodes = unpack(KEYS)
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = math.floor(micros / 1000)
local unused = ARGV[1] * 1000

-- Whole numbers of a sane length. Whatever else somebody has written is as good as 0.
local function number(text)
  return text and #text < 16 and string.match(text, '^%d+$') and tonumber(text) or 0
end

local function digits(value)
  return string.format('%.0f', value)
end

-- An id is the function's length, a colon, the function and the call.
local function split(id)
  local length, rest = string.match(id, '^(%d+):(.*)$')
  length, rest = number(length), rest or id
  return string.sub(rest, 1, length), string.sub(rest, length + 1)
end

local function join(f, call)
  return #f .. ':' .. f .. call
end

-- Calls of a function by their last use.
local function used_of(f)
  return used .. ':' .. f
end

-- What an entry of `values` says: bytes as they are and packed, when it expires (0: never), and the blob ('': none).
local function head_of(text)
  local size, packed, expires, blob = string.match(text or '', '^(%d+) (%d+) (%d+) ([%x-]*)$')
  return { size = number(size), packed = number(packed), expires = number(expires), blob = blob or '' }
end

-- Keys are kept twice as long as a value that nobody uses: all that is in them is out of date when they go. It is also a write
-- that a server without memory allows, and afterwards it lets us finish.
local function keep(f)
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, digits(2 * ARGV[1]))
  end
  if f then
    redis.call('PEXPIRE', used_of(f), digits(2 * ARGV[1]))
  end
end

local function total(field)
  return number(redis.call('HGET', totals, field))
end

local function add(field, change)
  local sum = math.max(0, total(field) + change)
  if sum == 0 then
    redis.call('HDEL', totals, field)
  else
    redis.call('HSET', totals, field, digits(sum))
  end
end

-- Blobs that nobody needs any more. They are in other slots, so the caller must delete them.
local blobs = {}

-- Forgets values that are there, or parts of them.
local function forget(ids)
  for first = 1, #ids, 500 do
    local chunk = { unpack(ids, first, math.min(first + 499, #ids)) }
    local heads = redis.call('HMGET', values, unpack(chunk))
    local packed, functions = 0, {}
    for i, id in ipairs(chunk) do
      local f, call = split(id)
      local of = functions[f] or { size = 0, count = 0, calls = {} }
      functions[f] = of
      table.insert(of.calls, call)
      if heads[i] then
        local head = head_of(heads[i])
        packed, of.size, of.count = packed + head.packed, of.size + head.size, of.count + 1
        if head.blob ~= '' then
          table.insert(blobs, head.blob)
        end
      end
    end
    redis.call('HDEL', values, unpack(chunk))
    redis.call('HDEL', content, unpack(chunk))
    redis.call('ZREM', used, unpack(chunk))
    redis.call('ZREM', expiring, unpack(chunk))
    for f, of in pairs(functions) do
      redis.call('ZREM', used_of(f), unpack(of.calls))
      add('size:' .. f, -of.size)
      add('count:' .. f, -of.count)
    end
    add('packed', -packed)
  end
end

-- Whether Redis has thrown out none of the keys that belong together, as far as this function is concerned.
local function whole(f)
  local count = redis.call('ZCARD', used)
  return redis.call('HLEN', values) == count
    and redis.call('HLEN', content) == count
    and (count == 0) == (redis.call('EXISTS', totals) == 0)
    and redis.call('ZCARD', used_of(f)) == total('count:' .. f)
end

local function forget_all()
  for _, text in ipairs(redis.call('HVALS', values)) do
    local blob = head_of(text).blob
    if blob ~= '' then
      table.insert(blobs, blob)
    end
  end
  for _, field in ipairs(redis.call('HKEYS', totals)) do
    local f = string.match(field, '^count:(.*)$')
    if f then
      redis.call('UNLINK', used_of(f))
    end
  end
  redis.call('UNLINK', values, content, used, expiring, totals)
end

-- Counts a use. No two are counted as if they were at the same time.
local function use(id)
  local last = redis.call('ZREVRANGE', used, 0, 0, 'WITHSCORES')
  local stamp = digits(math.max(micros, (tonumber(last[2] or 0) or 0) + 1))
  local f, call = split(id)
  redis.call('ZADD', used, stamp, id)
  redis.call('ZADD', used_of(f), stamp, call)
end

local function alive(id, head)
  local last = redis.call('ZSCORE', used, id)
  return last and micros - last < unused and (head.expires == 0 or now < head.expires)
end

-- What there is of a value, and how many ms it is still good for (-1: for ever). It is forgotten if it isn't good any more.
local function find(id)
  local text = redis.call('HGET', values, id)
  if not text then
    return false
  end
  keep((split(id)))
  local head, data = head_of(text), redis.call('HGET', content, id)
  if not (data and alive(id, head)) then
    forget({ id })
    return false
  end
  use(id)
  return { text, data, head.expires == 0 and -1 or head.expires - now }
end

-- A lease's token, when it ends, and who has it.
local function lease_of(id)
  local token, ends, owner = string.match(redis.call('HGET', leases, id) or '', '^(%S+) (%d+) (.*)$')
  return token, number(ends), owner
end

-- Looks at two fields of a hash and drops those that are older than so many ms: more often than they are added.
local function sweep(hash, pattern, age)
  local some = redis.call('HRANDFIELD', hash, 2, 'WITHVALUES')
  for i = 1, #some, 2 do
    if number(string.match(some[i + 1], pattern)) + age < now then
      redis.call('HDEL', hash, some[i])
    end
  end
end

-- Publishes that something has become of these values.
local function publish(what, ids)
  for first = 1, #ids, 200 do
    local list = {}
    for i = first, math.min(first + 199, #ids) do
      table.insert(list, { split(ids[i]) })
    end
    redis.call('PUBLISH', ARGV[2], cjson.encode({ [what] = list }))
  end
end

