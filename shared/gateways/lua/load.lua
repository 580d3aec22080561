-- Write what the books say of an account, unless what is here is newer; its sums are counted afresh.
-- KEYS[3], where there is one, is a key with a limit.
-- ARGV: the standing (see `stand`), whether only an account that can be asked about is told; of the key: limit,
-- spent, starts, ends.
-- Gives 1, or 0 where it was not written: ask again, and read the books again.
local EARLIER_MS = 20000
local now = now_ms()
local version, told = tonumber(redis.call('HGET', KEYS[1], 'version') or ''), tonumber(ARGV[1])
-- Who was not asked about before the books were read may have been debited since, and nobody would know.
if not version then return 0 end
if ARGV[10] == '1' and redis.call('HEXISTS', KEYS[1], 'loaded') == 0 then return 0 end
if version > told and KEYS[3] then return 0 end
if version < told then
  redis.call('HINCRBY', KEYS[1], 'generation', 1)  -- a change was missed: what other keys spent is read again
end
if version <= told then stand(KEYS[1], ARGV) end
-- Not all that are loaded at once are to be loaded again at once.
redis.call('HSET', KEYS[1], 'loaded', now - redis.call('TIME')[2] % EARLIER_MS)
local generation = redis.call('HINCRBY', KEYS[1], 'generation', 0)
local share = tonumber(redis.call('HGET', KEYS[1], 'share') or PPM)
local count, all_list, all_price, of_key = 0, 0, 0, 0
for id, value in pairs(live(KEYS[1], KEYS[2], now)) do
  local list, _, expires, settling, key = parse(value)
  local price = discounted(list, share)  -- the discount may have changed since it was placed
  redis.call('HSET', KEYS[2], id, hold(list, price, expires, settling, key))
  count, all_list, all_price = count + 1, all_list + list, all_price + price
  if KEYS[3] and key ~= '' and key_hash(KEYS[1], key) == KEYS[3] then of_key = of_key + list end
end
redis.call('HSET', KEYS[1], 'count', count, 'list', all_list, 'discounted', all_price)
if KEYS[3] then
  redis.call('HSET', KEYS[3], 'limit', ARGV[11], 'spent', ARGV[12], 'starts', ARGV[13], 'ends', ARGV[14],
             'held', of_key, 'generation', generation)
  redis.call('EXPIRE', KEYS[3], KEPT_S)
end
redis.call('EXPIRE', KEYS[1], KEPT_S)
redis.call('EXPIRE', KEYS[2], KEPT_S)
return 1
