-- After a debit: drop the holds of its records, and write the new standing if it is newer. Repeating it changes
-- nothing. An account that was never loaded stays so.
-- ARGV: the standing (see `stand`), number of holds, the holds, and for each record under a key with a limit that
-- key, its charge and its time in ms.
local version = redis.call('HGET', KEYS[1], 'version')
local last_hold = 10 + tonumber(ARGV[10])
local dropped = {}
for i = 11, last_hold do
  dropped[ARGV[i]] = redis.call('HGET', KEYS[2], ARGV[i]) or nil
end
drop(dropped)
if not version or tonumber(version) >= tonumber(ARGV[1]) then return 0 end
if tonumber(version) == tonumber(ARGV[1]) - 1 then
  for i = last_hold + 1, #ARGV, 3 do
    local key = key_hash(ARGV[i])
    local period = redis.call('HMGET', key, 'starts', 'ends')
    local time, ends = tonumber(ARGV[i + 2]), tonumber(period[2])
    if ends and time >= tonumber(period[1]) and (ends == 0 or time < ends) then
      redis.call('HINCRBY', key, 'spent', ARGV[i + 1])
    end
  end
else
  redis.call('HINCRBY', KEYS[1], 'generation', 1)  -- a change was missed: what keys spent is read again
end
stand()
return 1
