-- Place holds that were weighed elsewhere, while Redis was away. ARGV: for each its id, list price, expiry in ms
-- and key, which may be empty. The account is loaded again before it is asked. One that is there may live longer
-- by now; one that is over stays so.
for i = 1, #ARGV, 4 do
  local account, holds = keys_of(account_of_hold(ARGV[i]))
  local list, expires, there = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), redis.call('HGET', holds, ARGV[i])
  local settling = false
  if there then
    local _, _, until_ms, is_settling = parse(there)
    list, expires, settling = until_ms and list, math.max(expires, until_ms or 0), is_settling
  end
  if list then
    redis.call('HSET', holds, ARGV[i], hold(list, 0, expires, settling, ARGV[i + 3]))
    redis.call('EXPIRE', holds, KEPT_S)
    redis.call('HDEL', account, 'loaded')
  end
end
return 1
