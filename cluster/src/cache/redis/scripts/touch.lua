-- ARGV: 3 and on: ids. Returns the blobs of those that don't expire.
local kept = {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local text = redis.call('HGET', values, id)
  local head = head_of(text)
  if text and alive(id, head) then
    keep((split(id)))
    use(id)
    if head.blob ~= '' and head.expires == 0 then
      table.insert(kept, head.blob)
    end
  end
end
return kept
