-- KEYS: prefix.  ARGV: address ('' registers none), how many bytes of outcomes to return at most, ids…
-- The first ids are answered, one at least: once their outcomes reach the limit in bytes, the script leaves the others to the next
-- call, since it keeps all other clients waiting. Returns per id: status ('' unknown, 'DOUBT' unknown, but the index has not been put right yet, 'DONE' when an outcome is
-- stored, 'REFUSED' when a worker set it aside, 'SAME' where it is another job, 'EXISTS' where it was refused because of one),
-- and the sealed outcome, the need of a parked one, the reason, or the id of the other job.
-- Needs: core nodes index repair
local reply = {}
local ADDRESS, room = ARGV[1], tonumber(ARGV[2])
local spoiled
-- Whether the index was deleted and not put right yet (perhaps the server takes no writes), or something else
-- was put in its place, or in that of a key without which audit.lua cannot do its work.
local function is_spoiled()
  if spoiled == nil then
    local whole = redis.pcall('SISMEMBER', key('index'), '.') == 1
    spoiled = not whole and redis.call('EXISTS', key('index'), key('queues')) > 0
    for name, kind in pairs({ queues = 'set', parked = 'set', live = 'hash', due = 'zset' }) do
      local found = redis.call('TYPE', key(name)).ok
      if found ~= kind and found ~= 'none' then spoiled = true end
    end
  end
  return spoiled
end
-- The end of this job will be told to the caller too.
local function watch(id)
  allow_writes()
  local watchers = redis.call('HGET', key('watch'), id)
  if not watchers then redis.call('HSET', key('watch'), id, ADDRESS)
  elseif not string.find(',' .. watchers .. ',', ',' .. ADDRESS .. ',', 1, true) then
    redis.call('HSET', key('watch'), id, watchers .. ',' .. ADDRESS)
  end
end
for n = 3, #ARGV do
  local id = ARGV[n]
  local outcome, at = redis.call('GET', key('r:' .. id)), place_in_index(id)
  local status, extra = '', ''
  -- What is unfinished has no outcome yet, whatever was put there by hand.
  if outcome and not (at and is_there(id, at)) then status, extra = 'DONE', outcome
  else
    if at then
      local lane, entry = place_of(at)
      if is_foreign(at) then status = 'PENDING'
      elseif not lane then forget(id)
      elseif lane == 'due' then
        status = entry == 'R' and 'RETRYING' or 'SCHEDULED'
        if not is_there(id, at) then
          -- Half of it was deleted by hand.
          status = ''
          forget(id)
        end
      elseif string.byte(lane) == 108 then
        status = 'PENDING'
        if not is_there(id, at) then
          status = ''
          forget(id)
        end
      else
        local pending = redis.pcall('XPENDING', key(lane), GROUP, entry, entry, 1)
        if type(pending) == 'table' and not pending.err and #pending > 0 then status = 'RUNNING'
        elseif string.sub(lane, 1, 7) == 'parked:' then status, extra = 'PARKED', string.sub(lane, 8)
        else
          status = 'PENDING'
          if #redis.call('XRANGE', key(lane), entry, entry) == 0 then
            -- Its lane was deleted by hand.
            status = ''
            forget(id)
          end
        end
      end
    elseif waiting_node(id) then status = 'WAITING'
    else
      local reason = redis.call('GET', key('refused:' .. id))
      if reason then status, extra = 'REFUSED', reason
      elseif string.sub(id, 1, 3) == '00u' then
        -- From a replaced job to the first one of its row, and from there to the last.
        local other = id
        for _ = 1, 5 do
          local next_one = redis.call('GET', key('same:' .. other))
          if not next_one then break end
          status, other = 'SAME', next_one
        end
        if status == 'SAME' then extra = other end
        if string.sub(extra, 1, 1) == '!' then status, extra = 'EXISTS', string.sub(extra, 2) end
      end
    end
    if ADDRESS ~= '' and status ~= '' and status ~= 'REFUSED' and status ~= 'SAME' and status ~= 'EXISTS' then watch(id) end
  end
  if status == '' and is_spoiled() then status = 'DOUBT' end
  reply[#reply + 1] = status
  reply[#reply + 1] = extra
  room = room - #extra
  if room <= 0 then break end
end
return reply
