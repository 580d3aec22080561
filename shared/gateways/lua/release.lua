-- Give holds back. ARGV: holds… Gives how many were still there.
local dropped, now, live = {}, now_ms(), 0
for i = 1, #ARGV do
  local found = redis.call('HGET', KEYS[2], ARGV[i])
  if found then
    dropped[ARGV[i]] = found
    local _, _, expires = parse(found)
    if expires > now then live = live + 1 end
  end
end
drop(dropped)
return live
