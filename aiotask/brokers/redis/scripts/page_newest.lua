-- KEYS: prefix.  ARGV: status ('' of any, else PENDING or PARKED), queue of parked jobs ('' any), task ('' any), first characters of the
-- id, text in the envelope ('' any), how many jobs, the entry behind which it begins ('' at the latest one), how many of the lanes had
-- their turn at that entry, lanes…
-- Returns the position of the lane and the entry behind which it goes on (0 and '': nothing is left), how many entries it has looked
-- at, then a list per job, that of the latest entry first and of equal ones that of the first lane: lane, entry, consumer that has
-- claimed it (''), envelope, meta. It looks at a bounded number of entries, whatever they are.
-- Needs: core pages
-- Entries that are looked at; how many of a lane at first, and later at most.
local LOOK, FIRST, MOST = 160, 8, 64
local status, conditions = ARGV[1], { queue = ARGV[2], task = ARGV[3], start = ARGV[4], text = ARGV[5] }
local wanted, after, turns = tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
local reply, heads, bytes = { 0, '', 0 }, {}, 0

-- The first entry of a lane that was not listed becomes its head.
local function step(head)
  local entry = head.entries[head.at]
  if not entry then return end
  local ms, n = string.match(entry[1], '^(%d+)%-(%d+)$')
  head.ms, head.n = tonumber(ms), tonumber(n)
end

local function fill(head)
  head.entries = redis.call('XREVRANGE', key(head.lane), head.to, head.from, 'COUNT', head.count)
  head.at, head.is_more, head.owners = 1, #head.entries == head.count, {}
  reply[3] = reply[3] + #head.entries
  if #head.entries > 0 then
    local first, last = head.entries[#head.entries][1], head.entries[1][1]
    if status ~= 'PENDING' then head.owners = claims_in(head.lane, first, last, head.count) end
    for _, entry in ipairs(head.entries) do bytes = bytes + #(fields_of(entry) or '') end
    head.to, head.count = '(' .. first, math.min(2 * head.count, MOST)
    step(head)
  end
end

local share = math.max(1, math.min(FIRST, wanted, math.floor(LOOK / (#ARGV - 8))))
for n = 9, #ARGV do
  local head = { lane = ARGV[n], position = n - 8, from = '-', to = '+', count = share }
  if after ~= '' then head.to = (n - 8 <= turns and '(' or '') .. after end
  if status == 'PENDING' then
    local last = delivered_in(head.lane)
    if last ~= '' then head.from = '(' .. last end
  end
  fill(head)
  if #head.entries > 0 then heads[#heads + 1] = head end
end

while #heads > 0 do
  local at = 1
  for n = 2, #heads do
    local one, other = heads[n], heads[at]
    if one.ms > other.ms or one.ms == other.ms and one.n > other.n then at = n end
  end
  local head = heads[at]
  local entry = head.entries[head.at]
  local sealed, meta = fields_of(entry)
  local owner = head.owners[entry[1]] or ''
  if (owner == '' or status == '') and is_on_page(conditions, head.lane, sealed) then
    reply[#reply + 1] = { head.lane, entry[1], owner, sealed, meta }
    wanted = wanted - 1
  end
  head.at = head.at + 1
  local is_over = wanted <= 0
  if head.entries[head.at] then
    step(head)
  elseif not head.is_more then
    table.remove(heads, at)
  elseif reply[3] >= LOOK or bytes > BATCH_BYTES then
    is_over = true
  elseif not is_over then
    fill(head)
    if #head.entries == 0 then table.remove(heads, at) end
  end
  if is_over and #heads > 0 then
    reply[1], reply[2] = head.position, entry[1]
    return reply
  end
end
return reply
