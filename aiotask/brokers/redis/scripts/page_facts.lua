-- KEYS: prefix.  ARGV: score and id of the dead letter behind which it begins ('' and '' at the latest), how many.
-- Returns a list per dead letter, the latest first: id, score, facts ('' where there are none).
-- Needs: core sorted
local first = rank_behind('dead', 'ZREVRANGE', ARGV[1], ARGV[2])
local page = redis.call('ZREVRANGE', key('dead'), first, first + tonumber(ARGV[3]) - 1, 'WITHSCORES')
local ids, reply = {}, {}
for n = 1, #page, 2 do ids[#ids + 1] = page[n] end
local facts = #ids > 0 and redis.pcall('HMGET', key('dead:facts'), unpack(ids)) or {}
for n = 1, #ids do reply[n] = { ids[n], page[2 * n], not facts.err and facts[n] or '' } end
return reply
