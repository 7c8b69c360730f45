-- ARGV: 4 runner, 5 epoch. Returns the pin that holds.
local claimed = tonumber(ARGV[5])
if not runner then
  set(ARGV[4], claimed)
elseif epoch < claimed then
  set(ARGV[4], claimed)
  tell()
elseif epoch > claimed or runner ~= ARGV[4] then
  -- Somebody else's: not ours to keep alive.
  return { runner, string.format('%d', epoch) }
end
return keep()
