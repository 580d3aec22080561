-- Believe nothing of an account until the books are read again; its holds stay.
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HDEL', KEYS[1], 'loaded')
  redis.call('HSET', KEYS[1], 'version', 0)
  redis.call('HINCRBY', KEYS[1], 'generation', 1)
end
return 1
