-- Let holds live for so long from now, those that are still there and would not live longer anyway.
-- ARGV: life in ms, whether their records have arrived, holds… Gives when each expires in ms, 0 for one that is gone.
local now = now_ms()
local expiries = {}
for i = 3, #ARGV do
  local _, holds = keys_of(account_of_hold(ARGV[i]))
  local found = redis.call('HGET', holds, ARGV[i])
  local list, price, expires, settling, key = parse(found or '')
  if not list or expires <= now then
    expiries[i - 2] = 0
  else
    expiries[i - 2] = math.max(expires, now + tonumber(ARGV[1]))
    redis.call('HSET', holds, ARGV[i], hold(list, price, expiries[i - 2], settling or ARGV[2] == '1', key))
  end
end
return expiries
