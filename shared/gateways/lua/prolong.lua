-- Let holds live for so long from now, those that are still there and would not live longer anyway.
-- ARGV: life in ms, holds… Gives when each expires in ms, 0 for one that is gone.
local now = now_ms()
local expiries = {}
for i = 2, #ARGV do
  local found = redis.call('HGET', KEYS[2], ARGV[i])
  local list, price, expires, key
  if found then list, price, expires, key = parse(found) end
  if not found or expires <= now then
    expiries[i - 1] = 0
  else
    expiries[i - 1] = math.max(expires, now + tonumber(ARGV[1]))
    redis.call('HSET', KEYS[2], ARGV[i], hold(list, price, expiries[i - 1], key))
  end
end
return expiries
