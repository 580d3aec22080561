-- Write what the books say of an account, unless what is here is newer; its sums are counted afresh.
-- KEYS[3], where there is one, is a key with a limit.
-- ARGV: the standing (see `stand`); of the key: limit, spent, starts, ends.
-- Gives 1, or 0 where what is here is newer: read the books again.
local now = now_ms()
local version = redis.call('HGET', KEYS[1], 'version')
if version and tonumber(version) > tonumber(ARGV[1]) then return 0 end
stand()
redis.call('HSET', KEYS[1], 'loaded', now)
local generation = redis.call('HINCRBY', KEYS[1], 'generation', 0)
local share = tonumber(redis.call('HGET', KEYS[1], 'share') or PPM)
local count, all_list, all_price, wake, of_key = 0, 0, 0, 0, 0
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local list, _, expires, key = parse(all[i + 1])
  if expires <= now then
    redis.call('HDEL', KEYS[2], all[i])
  else
    local price = discounted(list, share)  -- the discount may have changed since it was placed
    redis.call('HSET', KEYS[2], all[i], hold(list, price, expires, key))
    count, all_list, all_price = count + 1, all_list + list, all_price + price
    if wake == 0 or expires < wake then wake = expires end
    if KEYS[3] and key ~= '' and key_hash(key) == KEYS[3] then of_key = of_key + list end
  end
end
redis.call('HSET', KEYS[1], 'count', count, 'list', all_list, 'discounted', all_price, 'wake', wake)
if KEYS[3] then
  redis.call('HSET', KEYS[3], 'limit', ARGV[10], 'spent', ARGV[11], 'starts', ARGV[12], 'ends', ARGV[13],
             'held', of_key, 'generation', generation)
  redis.call('EXPIRE', KEYS[3], KEPT_S)
end
redis.call('EXPIRE', KEYS[1], KEPT_S)
redis.call('EXPIRE', KEYS[2], KEPT_S)
return 1
