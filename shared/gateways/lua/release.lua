-- Give a hold back, unless its record has arrived: then it waits for its debit. ARGV: the hold. Gives whether it was
-- there and not over.
local id, now = ARGV[1], now_ms()
local found = redis.call('HGET', KEYS[2], id)
local list, _, expires, settling = parse(found or '')
if settling then return 0 end
if found then drop(KEYS[1], KEYS[2], {[id] = found}) end
bury(KEYS[2], id, now)
return list and expires > now and 1 or 0
