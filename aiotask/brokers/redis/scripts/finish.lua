-- KEYS: prefix.  ARGV: incarnation, epoch, repeat ('1' or ''), the jobs as rows of the history ('': look into the lanes for
-- what is to be recorded), then groups of jobs that have the first six in common: lane, status, result TTL (ms, 0: not
-- stored), reply address, facts of the dead letter ('': it becomes none), how many, and per job: entry, id, outcome.
-- Returns liveness (2: live, and jobs are recorded), then per job 1 (done), 2 (done before by you) or 0 (not yours). XACK is
-- the proof of ownership: an incarnation that takes a job over gives it another entry.
-- Needs: core index history results
local reply, replies = { 0 }, 1
local again = ARGV[3] == '1'

-- Everything is checked before the first write; one XACK for all of a lane, since nearly always all are ours.
local entries = {}
local n, jobs = 5, 0
while n <= #ARGV do
  local lane, count = ARGV[n], tonumber(ARGV[n + 5])
  local list = entries[lane]
  if list == nil then
    list = {}
    entries[lane] = list
    redis.call('XLEN', key(lane))
  end
  for job = n + 6, n + 3 + 3 * count, 3 do list[#list + 1] = ARGV[job] end
  n, jobs = n + 6 + 3 * count, jobs + count
end
local endings = open_endings()
local recording, all = endings.recording, true
local whole = {}
for lane, list in pairs(entries) do
  whole[lane] = redis.call('XACK', key(lane), GROUP, unpack(list)) == #list
  all = all and whole[lane]
end
-- The caller has sent the rows of the history along; they are written as they are if all jobs are ours.
local has_rows = recording and ARGV[4] ~= '' and all
if has_rows then endings.recording = false end

n = 5
while n <= #ARGV do
  local lane, status, ttl, address, dead = ARGV[n], ARGV[n + 1], ARGV[n + 2], ARGV[n + 3], ARGV[n + 4]
  local count, all_ours, look = tonumber(ARGV[n + 5]), whole[lane], endings.recording or dead ~= ''
  -- As ``counter_of``, which each call would define anew.
  local counted = (string.match(lane, '^q:(.*):%w$') or '') .. '|' .. status
  for job = n + 6, n + 3 + 3 * count, 3 do
    local entry, id, outcome = ARGV[job], ARGV[job + 1], ARGV[job + 2]
    local sealed, meta, _ = '', ''
    if look then _, sealed, meta = read(lane, entry) end
    replies = replies + 1
    -- Where some of the group were not the caller's, those are that can still be removed.
    if all_ours or redis.call('XDEL', key(lane), entry) == 1 then
      conclude(endings, id, outcome, counted, ttl, address, sealed or '', meta or '')
      if dead ~= '' then add_dead_letter(id, sealed or '', outcome, dead) end
      reply[replies] = 1
    else
      local stored = redis.call('GET', key('r:' .. id))
      local gone = again and ttl == '0' and not stored and not place_in_index(id)
      reply[replies] = (stored == outcome or gone) and 2 or 0
    end
  end
  n = n + 6 + 3 * count
end
for lane, list in pairs(entries) do
  if whole[lane] then redis.call('XDEL', key(lane), unpack(list)) end
end
if has_rows then write_rows(jobs, ARGV[4]) end
close_endings(endings)
reply[1] = liveness(ARGV[1], ARGV[2])
if recording and reply[1] == 1 then reply[1] = 2 end
return reply
