-- KEYS: prefix.  ARGV: status ('' of any, else PENDING, RUNNING or PARKED), queue of parked jobs ('' any), task ('' any), first
-- characters of the id, text in the envelope ('' any), how many jobs, the entry of the first lane behind which it begins ('' at its
-- beginning), lanes…
-- Returns the position of the lane in which it goes on (0: nothing is left) and the entry behind which, how many entries it has
-- looked at, then a list per job: lane, entry, consumer that has claimed it (''), envelope, meta. It looks at a bounded number of
-- entries, whatever they are.
-- Needs: core
-- Entries that are looked at, and how many of the first lane before their size is known; bytes of an envelope within which are its
-- id and task.
local LOOK, FIRST, HEAD = 400, 8, 2048
local status, queue, task, start, part = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local wanted, after = tonumber(ARGV[6]), ARGV[7]
local reply, room, bytes = { 0, '', 0 }, LOOK, 0

local function is_wanted(lane, sealed)
  if start ~= '' and string.sub(id_of(sealed), 1, #start) ~= start then return false end
  if task ~= '' then
    local ok, _, _, _, named = pcall(cmsgpack.unpack_limit, string.sub(sealed, SEAL_BYTES + 1, SEAL_BYTES + HEAD), 3, 1)
    if not ok or named ~= task then return false end
  end
  if part ~= '' and not string.find(sealed, part, SEAL_BYTES + 1, true) then return false end
  return queue == '' or string.sub(lane, 1, 2) == 'q:' or peek(sealed) == queue
end

-- Number of milliseconds and number within of an entry, to compare.
local function is_later(one, other)
  local ms, n = string.match(one, '^(%d+)%-(%d+)$')
  local other_ms, other_n = string.match(other, '^(%d+)%-(%d+)$')
  if not ms or not other_ms then return other == '' end
  if ms ~= other_ms then return tonumber(ms) > tonumber(other_ms) end
  return tonumber(n) > tonumber(other_n)
end

-- The entry behind which jobs wait that no worker has had.
local function delivered(lane)
  local groups = redis.pcall('XINFO', 'GROUPS', key(lane))
  for _, group in ipairs(not groups.err and groups or {}) do
    local facts = {}
    for n = 1, #group, 2 do facts[group[n]] = group[n + 1] end
    if facts.name == GROUP then return facts['last-delivered-id'] end
  end
  return ''
end

-- The consumers that have claimed entries, by entry.
local function claims(lane, from, to, count)
  local owners, order = {}, {}
  local rows = redis.pcall('XPENDING', key(lane), GROUP, from, to, count)
  for _, row in ipairs(not rows.err and rows or {}) do
    owners[row[1]], order[#order + 1] = row[2], row[1]
  end
  return owners, order
end

-- Some entries of a lane, with their consumers, and the last one that was looked at ('' where the lane is at its end).
local function some(lane, count)
  local from = after == '' and '-' or '(' .. after
  if status == 'RUNNING' then
    local owners, order = claims(lane, from, '+', count)
    local entries = {}
    for _, entry in ipairs(order) do entries[#entries + 1] = redis.call('XRANGE', key(lane), entry, entry)[1] end
    return entries, owners, #order == count and order[#order] or ''
  end
  if status == 'PENDING' then
    local last = delivered(lane)
    if last ~= '' and (after == '' or is_later(last, after)) then from = '(' .. last end
  end
  local entries = redis.call('XRANGE', key(lane), from, '+', 'COUNT', count)
  local last = #entries > 0 and entries[#entries][1] or ''
  local owners = last ~= '' and status ~= 'PENDING' and claims(lane, entries[1][1], last, count) or {}
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
      if (owner == '' or status == '' or status == 'RUNNING') and is_wanted(lane, sealed) then
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
