-- KEYS: prefix.  ARGV: as of ``finish.lua``, but groups of jobs have the first seven in common: lane, status, result TTL (ms, 0:
-- not stored), reply address, facts of the dead letter (''), graph ('' of none), how many, and per job: entry, id, outcome, number in
-- the graph.
-- Returns liveness (2: live, and jobs are recorded), whether work is on the agenda (1 or 0), then per job 1 (done), 2 (done before
-- by you) or 0 (not yours). XACK is the proof of ownership: an incarnation that takes a job over gives it another entry.
-- It shares no part with ``finish.lua`` for this: the server evaluates each definition on every call, and plain jobs would pay.
-- Needs: core nodes index history results repair damage graphs special
local reply, replies = { 0, 0 }, 2
local again = ARGV[3] == '1'

-- Everything is checked before the first write.
check_placing()
local entries = {}
local n, jobs = 5, 0
while n <= #ARGV do
  local lane, count = ARGV[n], tonumber(ARGV[n + 6])
  local list = entries[lane]
  if list == nil then
    list = {}
    entries[lane] = list
    redis.call('XLEN', key(lane))
  end
  for job = n + 7, n + 3 + 4 * count, 4 do list[#list + 1] = ARGV[job] end
  n, jobs = n + 7 + 4 * count, jobs + count
end
local endings = open_all_endings()
local recording, all = endings.recording, true
local whole = {}
for lane, list in pairs(entries) do
  whole[lane] = redis.call('XACK', key(lane), GROUP, unpack(list)) == #list
  all = all and whole[lane]
end
local has_rows = recording and ARGV[4] ~= '' and all
if has_rows then endings.recording = false end

-- What has ended of a graph: numbers, letters, chunks of edges down and up; and their ids.
local over, gone = {}, {}
-- What graphs know of the jobs of a group: how many may want the outcome, and chunks of edges.
local function facts_of(graph, from, to)
  local wanted = {}
  for job = from, to, 4 do
    local number, at = ARGV[job + 3], #wanted
    wanted[at + 1], wanted[at + 2], wanted[at + 3] = 'u' .. number, 'f' .. number .. '.0', 'n' .. number .. '.0'
  end
  return redis.call('HMGET', graph.name, unpack(wanted))
end

n = 5
while n <= #ARGV do
  local lane, status, ttl, address, dead = ARGV[n], ARGV[n + 1], ARGV[n + 2], ARGV[n + 3], ARGV[n + 4]
  local gid, count, all_ours = ARGV[n + 5], tonumber(ARGV[n + 6]), whole[lane]
  local letter, from, to = letter_of(status), n + 7, n + 3 + 4 * count
  local counted = counter_of(lane, status)
  local look = endings.recording or dead ~= '' or letter ~= 's'
  local graph, facts = gid ~= '' and graph_of(gid), nil
  if graph then facts = facts_of(graph, from, to) end
  for job = from, to, 4 do
    local entry, id, outcome, number = unpack(ARGV, job, job + 3)
    local sealed, meta, _ = '', ''
    if look then _, sealed, meta = read(lane, entry) end
    replies = replies + 1
    if all_ours or redis.call('XDEL', key(lane), entry) == 1 then
      local at = (job - from) / 4 * 3
      conclude(endings, id, outcome, counted, ttl, address, sealed or '', meta or '')
      if dead ~= '' then add_dead_letter(id, sealed or '', outcome, dead) end
      if gid ~= '' then gone[#gone + 1] = id end
      if graph then
        local list = over[graph]
        if not list then
          list = { {}, {}, {}, {} }
          over[graph] = list
        end
        local next = #list[1] + 1
        list[1][next], list[2][next], list[3][next], list[4][next] = number, letter, facts[at + 2], facts[at + 3]
        -- An outcome that a node may want stays until that has ended well.
        if facts[at + 1] and (tonumber(facts[at + 1]) or 1) > 0 then
          if ttl == '0' then redis.call('SET', RESULT .. id, outcome) else redis.call('PERSIST', RESULT .. id) end
        end
        if letter ~= 's' and not pcall(note_bad, graph, number, letter, sealed or '') then note_damage(gid) end
      end
      reply[replies] = 1
    else
      local stored = redis.call('GET', RESULT .. id)
      local was_ended = again and ttl == '0' and not stored and not place_in_index(id) and not node_of(id)
      reply[replies] = (stored == outcome or was_ended) and 2 or 0
    end
  end
  n = n + 7 + 4 * count
end
for lane, list in pairs(entries) do
  if whole[lane] then redis.call('XDEL', key(lane), unpack(list)) end
end
if has_rows then write_rows(jobs, ARGV[4]) end
if #gone > 0 then redis.pcall('HDEL', key('nodes'), unpack(gone)) end
for graph, list in pairs(over) do
  -- Where a field of a graph was spoiled, its jobs end all the same.
  if not pcall(go_on, graph, unpack(list)) then note_damage(graph.id) end
end
if #gone > 0 then
  close_graphs(endings)
  local left = redis.pcall('LLEN', key('agenda'))
  reply[2] = type(left) == 'number' and left > 0 and 1 or 0
end
close_endings(endings)
reply[1] = liveness(ARGV[1], ARGV[2])
if recording and reply[1] == 1 then reply[1] = 2 end
return reply
