-- Tell what is known of an account, at one moment; nothing where it would be asked for again anyway.
-- ARGV: its keys with limits. Gives its fields, what its holds come to, and of each key that is known its name, its
-- fields and what its holds come to.
local now = now_ms()
local got = redis.call('HMGET', KEYS[1], 'version', 'balance', 'frozen', 'share', 'quota', 'fallback', 'limit', 'spent',
                       'ends', 'count', 'list', 'discounted', 'loaded', 'generation')
if not got[13] or (tonumber(got[9]) > 0 and tonumber(got[9]) <= now) then return {} end
local share = tonumber(got[4] or PPM)
local count, all_list, all_price, of_key = 0, 0, 0, {}
local all = redis.call('HGETALL', KEYS[2])
for i = 2, #all, 2 do
  local list, _, _, _, key = parse(all[i])
  if list then
    count, all_list, all_price = count + 1, all_list + list, all_price + discounted(list, share)
    of_key[key] = (of_key[key] or 0) + list
  end
end
local fields, keys = {}, {}
for i = 1, 12 do fields[i] = got[i] or '' end
for _, id in ipairs(ARGV) do
  local key = redis.call('HMGET', key_hash(KEYS[1], id), 'limit', 'spent', 'starts', 'ends', 'held', 'generation')
  local ends = tonumber(key[4])
  if ends and key[6] == got[14] and (ends == 0 or now < ends) then
    keys[#keys + 1] = {id, key[1], key[2], key[3], key[4], key[5], string.format('%.0f', of_key[id] or 0)}
  end
end
return {fields, {tostring(count), string.format('%.0f', all_list), string.format('%.0f', all_price)}, keys}
