-- The account at the gate: a hash with what it can spend (a projection of the books, never older than what is
-- there) and the sums of what is held; beside it a hash of its holds, `list:discounted:expires_ms:settling:key`,
-- and for a while `-:expires_ms` of those that are over and might be placed once more.
-- Put in front of every script of the gate. KEYS[1] is an account, KEYS[2] its holds; a script that takes several
-- accounts derives the keys of the others, which a cluster does not allow: there it is given one at a time.
local PPM = 1000000
local KEPT_S = 86400
local OVER_MS = 600000

local function keys_of(account_id)
  return 'payg:{' .. account_id .. '}:account', 'payg:{' .. account_id .. '}:holds'
end

-- How the ids of holds end that were placed in the database.
local function in_database(id)
  return string.sub(id, -3) == '.db'
end

local function account_of_hold(id)
  local account_id = string.match(id, '%.(.*)$') or ''
  return in_database(id) and string.sub(account_id, 1, -4) or account_id
end

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
  local list, price, expires, settling, key = string.match(hold, '^(%d+):(%d+):(%d+):(%d):(.*)$')
  return tonumber(list), tonumber(price), tonumber(expires), settling == '1', key
end

local function hold(list, price, expires, settling, key)
  return string.format('%.0f:%.0f:%.0f:%d:%s', list, price, expires, settling and 1 or 0, key)
end

local function key_hash(account, key)
  return string.sub(account, 1, -8) .. 'key:' .. key  -- in the place of `account`
end

-- Write the standing of the account: version, balance, frozen, the share of list prices that quota pays (PPM less
-- the discount; empty without a plan), quota, fallback, spending limit (empty for none), spent, end of the cycle
-- in ms (0 without one).
local function stand(account, standing)
  local share = redis.call('HGET', account, 'share')
  redis.call('HSET', account, 'version', standing[1], 'balance', standing[2], 'frozen', standing[3],
             'quota', standing[5], 'fallback', standing[6], 'limit', standing[7], 'spent', standing[8],
             'ends', standing[9])
  if tonumber(share or '') == tonumber(standing[4]) then return end
  redis.call('HDEL', account, 'loaded')  -- prices that are held were discounted otherwise
  if standing[4] == '' then redis.call('HDEL', account, 'share')
  else redis.call('HSET', account, 'share', standing[4]) end
end

-- Take holds away; each is a name and a value. The sums of the account are corrected once.
local function drop(account, holds, dropped)
  local count, all_list, all_price = 0, 0, 0
  for name, value in pairs(dropped) do
    redis.call('HDEL', holds, name)
    local list, price, _, _, key = parse(value)
    if list then
      count, all_list, all_price = count + 1, all_list + list, all_price + price
      if key ~= '' and redis.call('HEXISTS', key_hash(account, key), 'held') == 1 then
        redis.call('HINCRBY', key_hash(account, key), 'held', -list)
      end
    end
  end
  if count > 0 and redis.call('HEXISTS', account, 'count') == 1 then
    redis.call('HINCRBY', account, 'count', -count)
    redis.call('HINCRBY', account, 'list', -all_list)
    redis.call('HINCRBY', account, 'discounted', -all_price)
  end
end

-- A hold of the database may be on its way here while it ends: it must not be placed after that.
local function bury(holds, id, now)
  if not in_database(id) then return end
  redis.call('HSET', holds, id, string.format('-:%.0f', now + OVER_MS))
  redis.call('EXPIRE', holds, KEPT_S)
end

-- Return the holds whose time is not over; let the others go, and note when the next one's is.
local function live(account, holds, now)
  local found, over, wake = {}, {}, 0
  local all = redis.call('HGETALL', holds)
  for i = 1, #all, 2 do
    local list, _, expires = parse(all[i + 1])
    expires = expires or tonumber(string.sub(all[i + 1], 3))
    if expires <= now then over[all[i]] = all[i + 1]
    else
      if wake == 0 or expires < wake then wake = expires end
      if list then found[all[i]] = all[i + 1] end
    end
  end
  drop(account, holds, over)
  redis.call('HSET', account, 'wake', wake)
  return found
end
