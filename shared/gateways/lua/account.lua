-- The account at the gate: a hash with what it can spend (a projection of the books, never older than what is
-- there) and the sums of what is held; beside it a hash of its holds, `list:discounted:expires_ms:key`.
-- Put in front of every script of the gate. KEYS[1] is the account, KEYS[2] its holds.
local PPM = 1000000
local KEPT_S = 86400

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function round_half_even(whole, rest, divisor)
  if 2 * rest > divisor or (2 * rest == divisor and whole % 2 == 1) then return whole + 1 end
  return whole
end

-- round(list * share / PPM), in steps that stay exact in a double
local function discounted(list, share)
  local high = math.floor(list / PPM)
  local product = (list - high * PPM) * share
  local whole = math.floor(product / PPM)
  return round_half_even(high * share + whole, product - whole * PPM, PPM)
end

local function parse(hold)
  local list, price, expires, key = string.match(hold, '^(%d+):(%d+):(%d+):(.*)$')
  return tonumber(list), tonumber(price), tonumber(expires), key
end

local function hold(list, price, expires, key)
  return string.format('%.0f:%.0f:%.0f:%s', list, price, expires, key)
end

local function key_hash(key)
  return string.sub(KEYS[1], 1, -8) .. 'key:' .. key  -- in the place of `account`
end

-- Write the standing of the account. ARGV: version, balance, frozen, the share of list prices that quota pays (PPM
-- less the discount; empty without a plan), quota, fallback, spending limit (empty for none), spent, end of the
-- cycle in ms (0 without one).
local function stand()
  local share = redis.call('HGET', KEYS[1], 'share') or ''
  redis.call('HSET', KEYS[1], 'version', ARGV[1], 'balance', ARGV[2], 'frozen', ARGV[3], 'quota', ARGV[5],
             'fallback', ARGV[6], 'limit', ARGV[7], 'spent', ARGV[8], 'ends', ARGV[9])
  if share == ARGV[4] then return end
  redis.call('HDEL', KEYS[1], 'loaded')  -- prices that are held were discounted otherwise
  if ARGV[4] == '' then redis.call('HDEL', KEYS[1], 'share') else redis.call('HSET', KEYS[1], 'share', ARGV[4]) end
end

-- Take holds away; each is a name and a value. The sums of the account are corrected once.
local function drop(holds)
  local count, all_list, all_price = 0, 0, 0
  for name, hold in pairs(holds) do
    local list, price, _, key = parse(hold)
    count, all_list, all_price = count + 1, all_list + list, all_price + price
    redis.call('HDEL', KEYS[2], name)
    if key ~= '' and redis.call('HEXISTS', key_hash(key), 'held') == 1 then
      redis.call('HINCRBY', key_hash(key), 'held', -list)
    end
  end
  if count > 0 then
    redis.call('HINCRBY', KEYS[1], 'count', -count)
    redis.call('HINCRBY', KEYS[1], 'list', -all_list)
    redis.call('HINCRBY', KEYS[1], 'discounted', -all_price)
  end
  return count
end

-- Let holds go whose time is over, and note when the next one's is.
local function expire(now)
  local gone, wake = {}, 0
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    local _, _, expires = parse(all[i + 1])
    if expires <= now then gone[all[i]] = all[i + 1]
    elseif wake == 0 or expires < wake then wake = expires end
  end
  drop(gone)
  redis.call('HSET', KEYS[1], 'wake', wake)
end
