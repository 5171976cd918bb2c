-- KEYS: prefix.  ARGV: dead incarnation ('' scans for all that are not live), reason, obituary (msgpack), limit, number
-- of blamed ids, blamed ids…, ids to keep…
-- Returns moved, more (1: call again), then per kept delivery: lane, entry, sealed, meta.
-- Needs: core history lanes results meta repair special parking
local dead, limit = ARGV[1], tonumber(ARGV[4])
local blamed, keep = {}, {}
local split = 5 + tonumber(ARGV[5])
for n = 6, split do blamed[ARGV[n]] = true end
for n = split + 1, #ARGV do keep[ARGV[n]] = true end
local moved, more, kept, died = 0, 0, {}, 0
check_placing()
local endings = open_all_endings()
if dead ~= '' then redis.call('HDEL', key('live'), dead) end

-- The next run asks for what an earlier one has saved.
local function noted(id, meta)
  if endings.saved and redis.call('HEXISTS', key('checkpoints'), id) == 1 then return with_checkpoint(meta) end
  return meta
end

-- How many jobs of each lost host were given back; nil: it is no lost one.
local of_lost = {}
local function is_lost(holder)
  local host = dead == '' and string.match(holder, '^(.*)%.[^.]*$')
  if not host then return false end
  if of_lost[host] == nil then of_lost[host] = redis.pcall('HEXISTS', key('lost'), host) == 1 and 0 or false end
  if not of_lost[host] then return false end
  of_lost[host] = of_lost[host] + 1
  return true
end

local function note_lost()
  for host, count in pairs(of_lost) do
    local known = count and redis.call('HGET', key('lost'), host)
    if known and #known >= 16 then
      local at, before = struct.unpack('>I8I8', known)
      redis.call('HSET', key('lost'), host, struct.pack('>I8I8', at, before + count) .. string.sub(known, 17))
    end
  end
end

local function give_back(lane, entry, id, sealed, meta, holder)
  if moved == 0 then check_commands() end
  local line = line_of_parked(lane, entry)
  redis.call('XACK', key(lane), GROUP, entry)
  redis.call('XDEL', key(lane), entry)
  moved = moved + 1
  if marked(endings, id, sealed, meta) then return end
  meta = noted(id, meta)
  if is_lost(holder) then meta = with_loss(meta, holder) end
  local queue, kind = string.match(lane, '^q:(.*):(%w)$')
  if blamed[id] and not queue then queue = peek(sealed) end  -- it was parked
  if not queue or queue == '' then put_one(line or lane, id, sealed, meta)
  elseif blamed[id] then
    put_one(sound('q:' .. queue .. ':s', lane), id, sealed, strike(meta, ARGV[2], ARGV[3], holder))
    died = died + 1
  elseif kind == 's' then put_one(lane, id, sealed, meta)
  else put_one(sound('q:' .. queue .. ':r', lane), id, sealed, meta) end
end

local function empty_out(lane, consumer)
  local start, kept_some = '-', false
  while true do
    local page = redis.call('XPENDING', key(lane), GROUP, start, '+', 50, consumer)
    if #page == 0 then break end
    for n = 1, #page do
      if moved >= limit then more = 1; return end
      local entry = page[n][1]
      local id, sealed, meta = read(lane, entry)
      if not id then redis.call('XACK', key(lane), GROUP, entry)
      elseif keep[id] then
        kept_some = true
        for _, part in ipairs({ lane, entry, sealed, noted(id, meta) }) do kept[#kept + 1] = part end
      else give_back(lane, entry, id, sealed, meta, consumer) end
    end
    start = '(' .. page[#page][1]
  end
  if not kept_some then redis.call('XGROUP', 'DELCONSUMER', key(lane), GROUP, consumer) end
end

local lanes = {}
local function sorted(set)
  local members = redis.call('SMEMBERS', key(set))
  table.sort(members)
  return members
end
if redis.call('EXISTS', key('queues')) == 0 and redis.call('EXISTS', key('index')) == 1 then
  -- Deleted by hand: those that are served, as live workers say.
  for _, facts in ipairs(redis.call('HVALS', key('live'))) do
    local ok, known = pcall(cmsgpack.unpack, facts)
    for _, queue in ipairs(ok and type(known) == 'table' and type(known.queues) == 'table' and known.queues or {}) do
      if type(queue) == 'string' then
        allow_writes()
        redis.call('SADD', key('queues'), queue)
      end
    end
  end
end
for _, queue in ipairs(sorted('queues')) do
  for kind in string.gmatch(LANE_KINDS, '.') do lanes[#lanes + 1] = 'q:' .. queue .. ':' .. kind end
end
for _, need in ipairs(sorted('parked')) do
  -- A need for which no job waits any more leaves no trace.
  if redis.pcall('XLEN', key('parked:' .. need)) == 0 then
    redis.call('SREM', key('parked'), need)
    redis.call('DEL', key('parked:' .. need))
  end
end
for _, need in ipairs(sorted('parked')) do lanes[#lanes + 1] = 'parked:' .. need end
-- Who holds something in a lane, which costs nothing for those who do not.
local function holders(lane)
  local pending = redis.pcall('XPENDING', key(lane), GROUP)
  if type(pending) ~= 'table' or pending.err then return {} end
  return pending[4] or {}
end
for _, lane in ipairs(lanes) do
  local holds = false
  for _, holder in ipairs(holders(lane)) do
    local name = holder[1]
    if name == dead then holds = true end
    if name == dead or dead == '' and redis.call('HEXISTS', key('live'), name) == 0 then
      empty_out(lane, name)
      if more == 1 then break end
    end
  end
  if more == 1 then break end
  if dead ~= '' and not holds then redis.pcall('XGROUP', 'DELCONSUMER', key(lane), GROUP, dead) end
end
if died > 0 then add_up('died', died) end
note_lost()
close_endings(endings)
table.insert(kept, 1, more)
table.insert(kept, 1, moved)
return kept
