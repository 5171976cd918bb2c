-- KEYS: prefix.  ARGV: status ('' of any, else PENDING, RUNNING or PARKED), queue of parked jobs ('' any), task ('' any), first
-- characters of the id, text in the envelope ('' any), how many jobs, the entry of the first lane behind which it begins ('' at its
-- beginning), lanes…
-- Returns the position of the lane in which it goes on (0: nothing is left) and the entry behind which, how many entries it has
-- looked at, then a list per job: lane, entry, consumer that has claimed it (''), envelope, meta. It looks at a bounded number of
-- entries, whatever they are.
-- Needs: core pages
-- Entries that are looked at, and how many of the first lane before their size is known.
local LOOK, FIRST = 400, 8
local status, conditions = ARGV[1], { queue = ARGV[2], task = ARGV[3], start = ARGV[4], text = ARGV[5] }
local wanted, after = tonumber(ARGV[6]), ARGV[7]
local reply, room, bytes = { 0, '', 0 }, LOOK, 0

-- Number of milliseconds and number within of an entry, to compare.
local function is_later(one, other)
  local ms, n = string.match(one, '^(%d+)%-(%d+)$')
  local other_ms, other_n = string.match(other, '^(%d+)%-(%d+)$')
  if not ms or not other_ms then return other == '' end
  if ms ~= other_ms then return tonumber(ms) > tonumber(other_ms) end
  return tonumber(n) > tonumber(other_n)
end

-- Some entries of a lane, with their consumers, and the last one that was looked at ('' where the lane is at its end).
local function some(lane, count)
  local from = after == '' and '-' or '(' .. after
  if status == 'RUNNING' then
    local owners, order = claims_in(lane, from, '+', count)
    local entries = {}
    for _, entry in ipairs(order) do entries[#entries + 1] = redis.call('XRANGE', key(lane), entry, entry)[1] end
    return entries, owners, #order == count and order[#order] or ''
  end
  if status == 'PENDING' then
    local last = delivered_in(lane)
    if last ~= '' and (after == '' or is_later(last, after)) then from = '(' .. last end
  end
  local entries = redis.call('XRANGE', key(lane), from, '+', 'COUNT', count)
  local last = #entries > 0 and entries[#entries][1] or ''
  local owners = last ~= '' and status ~= 'PENDING' and claims_in(lane, entries[1][1], last, count) or {}
  return entries, owners, #entries == count and last or ''
end

for n = 8, #ARGV do
  local lane, count = ARGV[n], FIRST
  local more = redis.call('XLEN', key(lane)) > 0
  while more do
    count = math.max(1, math.min(count, room, wanted))
    local entries, owners, last = some(lane, count)
    room, reply[3] = room - count, reply[3] + #entries
    for _, entry in ipairs(entries) do
      local sealed, meta = fields_of(entry)
      local owner = owners[entry[1]] or ''
      bytes = bytes + #sealed
      if (owner == '' or status == '' or status == 'RUNNING') and is_on_page(conditions, lane, sealed) then
        reply[#reply + 1] = { lane, entry[1], owner, sealed, meta }
        wanted = wanted - 1
      end
    end
    after, more = last, last ~= ''
    if room <= 0 or wanted <= 0 or bytes > BATCH_BYTES then
      reply[1], reply[2] = more and n - 7 or n < #ARGV and n - 6 or 0, after
      return reply
    end
    count = count * 2
  end
  after = ''
end
return reply
