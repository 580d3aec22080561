-- Place holds that were weighed elsewhere, while Redis was away. ARGV: for each its id, list price, expiry in ms
-- and key, which may be empty. The account is loaded again before it is asked.
for i = 1, #ARGV, 4 do
  redis.call('HSETNX', KEYS[2], ARGV[i], hold(tonumber(ARGV[i + 1]), 0, tonumber(ARGV[i + 2]), ARGV[i + 3]))
end
redis.call('EXPIRE', KEYS[2], KEPT_S)
redis.call('HDEL', KEYS[1], 'loaded')
return 1
