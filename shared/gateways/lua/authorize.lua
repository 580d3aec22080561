-- Weigh one more request and place its hold: `shared.domain.gate.weigh`, in one step that nobody interrupts.
-- ARGV: hold id, list price, life in ms, and its key where that has a limit.
-- Gives when the hold expires in ms; or as a string a refusal, with the ms until waiting helps where it does; or `load`.
local account = KEYS[1]
local holds = string.sub(account, 1, -8) .. 'holds'
local id, list, life, key = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local BELIEVED_MS = 60000  -- what is known of an account is believed for so long, whatever was missed
local now = now_ms()

local function refusal(code, ends)
  return ends > 0 and string.format('%s %.0f', code, ends - now) or code
end

local fields = {'loaded', 'balance', 'frozen', 'share', 'quota', 'fallback', 'limit', 'spent', 'ends', 'wake',
                'count', 'list', 'discounted', 'generation'}
local got = redis.call('HMGET', account, unpack(fields))
if not got[1] or now - got[1] > BELIEVED_MS then
  -- Whatever is debited from here on is told, so that books that were read before are not believed after it.
  redis.call('HSETNX', account, 'version', 0)
  redis.call('EXPIRE', account, KEPT_S)
  return 'load'
end
local ends = tonumber(got[9])
if ends > 0 and now >= ends then return 'load' end
if tonumber(got[10]) > 0 and tonumber(got[10]) <= now then
  live(account, holds, now)
  got = redis.call('HMGET', account, unpack(fields))
end
local balance, share, quota = tonumber(got[2]), tonumber(got[4]), tonumber(got[5])
local limit, spent, wake = got[7], tonumber(got[8]), tonumber(got[10])
local count, held, held_discounted = tonumber(got[11]), tonumber(got[12]), tonumber(got[13])

if got[3] == '1' then return 'account_frozen' end
local key_account
if key then
  key_account = key_hash(account, key)
  local of_key = redis.call('HMGET', key_account, 'limit', 'spent', 'held', 'ends', 'generation')
  if not of_key[1] or of_key[5] ~= got[14] then return 'load' end
  local key_ends = tonumber(of_key[4])
  if key_ends > 0 and now >= key_ends then return 'load' end
  if tonumber(of_key[2]) + tonumber(of_key[3]) + list > tonumber(of_key[1]) then
    return refusal('key_limit_reached', key_ends)
  end
end

-- Whether round(list * short / price), ties to even, is at most `most`: 2 * list * short against (2 * most + 1) * price
local function rounded_fits(price, short)
  -- a * b as a pair (high, low) in base 2^27, exact for factors below 2^54
  local BASE = 134217728
  local function product(a, b)
    local a1, b1 = math.floor(a / BASE), math.floor(b / BASE)
    local a0, b0 = a - a1 * BASE, b - b1 * BASE
    local low, middle = a0 * b0, a1 * b0
    local carry = math.floor(low / BASE)
    local middle_low = middle % BASE + (a0 * b1) % BASE + carry
    local high = a1 * b1 + math.floor(middle / BASE) + math.floor(a0 * b1 / BASE) + math.floor(middle_low / BASE)
    return high, (middle_low % BASE) * BASE + low % BASE
  end

  return function(most)
    if most < 0 then return false end
    if most >= list then return true end
    local high, low = product(2 * list, short)
    local most_high, most_low = product(2 * most + 1, price)
    if high ~= most_high then return high < most_high end
    return low < most_low or (low == most_low and most % 2 == 0)
  end
end

local has_plan, price = share ~= nil, list
if has_plan then price = discounted(list, share) end
if price > 0 then
  local short = held_discounted + price - quota
  local overflow, fits = 0, nil
  if not has_plan then overflow = held + list
  elseif short <= 0 then overflow = 0
  elseif count == 0 then
    if short < price then
      overflow = 1
      fits = rounded_fits(price, short)
    else overflow = list end
  elseif share == PPM then overflow = short
  else
    local parts = math.floor(short / share)
    local bound = parts * PPM + math.ceil((short - parts * share) * PPM / share)
    overflow = math.min(held + list, bound + (count + 1) * (math.ceil(PPM / share) + 1))
  end
  fits = fits or function(most) return overflow <= most end
  if overflow > 0 then
    if has_plan then
      if got[6] ~= '1' or limit == '0' then return refusal('quota_exhausted', ends) end
      if limit ~= '' and not fits(tonumber(limit) - spent) then return refusal('spending_limit_reached', ends) end
    end
    if not fits(balance) then return 'insufficient_balance' end
  end
end

local expires = now + life
if redis.call('HSET', holds, id, hold(list, price, expires, false, key or '')) == 1 then
  redis.call('HSET', account, 'count', count + 1, 'list', held + list, 'discounted', held_discounted + price)
  if wake == 0 or expires < wake then redis.call('HSET', account, 'wake', expires) end
  if key then redis.call('HINCRBY', key_account, 'held', list) end
end
return expires
