-- ARGV: 3 'everything', 'function' or 'value', 4 which function or id, 5 what to publish. Returns the nodes that are there, and
-- blobs.
local kind, name = ARGV[3], ARGV[4]
keep()
local ended = {}
if kind == 'value' then
  forget({ name })
  ended = { name }
else
  if kind == 'everything' or not whole(name) then
    forget_all()
    redis.call('UNLINK', used_of(name))
  else
    local ids = redis.call('ZRANGE', used_of(name), 0, -1)
    for i, call in ipairs(ids) do
      ids[i] = join(name, call)
    end
    forget(ids)
  end
  for _, id in ipairs(redis.call('HKEYS', leases)) do
    if kind == 'everything' or split(id) == name then
      table.insert(ended, id)
    end
  end
end
local settled = {}
for _, id in ipairs(ended) do
  if redis.call('HDEL', leases, id) == 1 then
    table.insert(settled, id)
  end
end
redis.call('PUBLISH', ARGV[2], ARGV[5])
publish('settled', settled)
return { redis.call('ZRANGEBYSCORE', nodes, digits(now), '+inf'), blobs }
