-- Common to all scripts about one snapshot. KEYS: 1 the snapshot. ARGV: 1 its life in ms, 2 the caller's epoch.
-- Returns a word and what belongs to it. The same as in fence.rs.
local held = redis.call('HMGET', KEYS[1], 'epoch', 'by', 'version', 'signature')
local function number(text)
  -- What is no number is as good as nothing.
  return tonumber(text or 0) or 0
end
local by, version, signature = number(held[2]), number(held[3]), held[4]
local epoch = tonumber(ARGV[2])
if epoch < number(held[1]) then
  return { 'fenced', held[1] }
end
local function keep()
  return redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
