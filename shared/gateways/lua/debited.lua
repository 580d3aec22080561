-- After debits: drop the holds of their records, and write each account's new standing if it is newer. Repeating it
-- changes nothing. An account that nobody asked about stays unknown.
-- ARGV: as MessagePack, for each account its id, its standing (see `stand`; nil where it did not change), whether
-- all that its keys spent since the version before is told, holds, and what keys spent: key, charge, time in ms, …
local now = now_ms()

local function count_spent(account, spent)
  for i = 1, #spent, 3 do
    local key = key_hash(account, spent[i])
    local period = redis.call('HMGET', key, 'starts', 'ends')
    local time, ends = spent[i + 2], tonumber(period[2])
    if ends and time >= tonumber(period[1]) and (ends == 0 or time < ends) then
      redis.call('HINCRBY', key, 'spent', spent[i + 1])
    end
  end
end

for _, told in ipairs(cmsgpack.unpack(ARGV[1])) do
  local account, holds = keys_of(told[1])
  local standing, all_told, over, spent = told[2], told[3], told[4], told[5]
  local dropped = {}
  for _, id in ipairs(over) do
    dropped[id] = redis.call('HGET', holds, id) or nil
  end
  drop(account, holds, dropped)
  for _, id in ipairs(over) do bury(holds, id, now) end
  local version = standing and tonumber(redis.call('HGET', account, 'version') or '')
  if version and version < standing[1] then
    if all_told and version == standing[1] - 1 then count_spent(account, spent)
    else redis.call('HINCRBY', account, 'generation', 1) end  -- what keys spent is read again
    stand(account, standing)
  end
end
return 1
