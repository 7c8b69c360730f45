-- ARGV: 4 runner and 5 epoch of the pin to be replaced, 6 new runner. Returns the pin that holds.
if not runner or (epoch == tonumber(ARGV[5]) and runner == ARGV[4]) then
  set(ARGV[6], next_epoch(tonumber(ARGV[5])))
  tell()
end
return keep()
