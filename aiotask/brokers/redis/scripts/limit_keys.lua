-- KEYS: prefix.  ARGV: limit, how many keys at most. Returns per key of the limit: the key, how many jobs wait in its lines,
-- how many of those that were looked at are admitted, and number and id of the one that waits longest ('': none waits).
-- A key that waits has its turn in a ring, or is held by its rate, or is full: then its jobs are among the admitted ones.
-- Needs: core limits
local LOOKS = 1000
local limit, most = ARGV[1], tonumber(ARGV[2])
local places, parts_of = redis.call('SMEMBERS', key('places:' .. limit)), lines().parts_of
table.sort(places)
local order, running = {}, {}
local function add(by, count)
  if not running[by] then
    if #order >= most then return end
    order[#order + 1], running[by] = by, 0
  end
  running[by] = running[by] + count
end

local ids = redis.call('SRANDMEMBER', key('slots:' .. limit), LOOKS)
if #ids > 0 then
  for _, place in ipairs(redis.call('HMGET', key('admitted'), unpack(ids))) do
    local _, _, _, by = parts_of(place and string.match(place, '^(.*)|') or '')
    if by then add(by, 1) end
  end
end
for _, at in ipairs(places) do
  for _, by in ipairs(redis.call('ZRANGE', key('ring:' .. at .. ':' .. limit), 0, most - 1)) do add(by, 0) end
end
for _, line in ipairs(redis.call('ZRANGE', key('wake'), 0, LOOKS - 1)) do
  local _, _, of, by = parts_of(line)
  if of == limit then add(by, 0) end
end

local reply = {}
for n, by in ipairs(order) do
  local lined, oldest, number = 0, '', nil
  for _, at in ipairs(places) do
    local line = key('l:' .. at .. ':' .. limit .. ':' .. by)
    lined = lined + redis.call('ZCARD', line)
    local first = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
    if first[1] and (not number or tonumber(first[2]) < number) then oldest, number = first[1], tonumber(first[2]) end
  end
  reply[n] = { by, lined, running[by], string.format('%.0f', number or 0), oldest }
end
return reply
