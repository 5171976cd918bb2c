-- What few jobs have besides their lane and their outcome: the ends of such jobs undo it. ``finish.lua``, through which plain jobs
-- end, does without this part.
-- Needs: core results limits

-- What ends with a run that has returned Refs, although its job goes on.
local function undo_run(ids)
  redis.call('ZREM', key('expiring'), unpack(ids))
  redis.call('HDEL', key('progress'), unpack(ids))
  redis.call('HDEL', key('follow'), unpack(ids))
  redis.call('HDEL', key('checkpoints'), unpack(ids))
  if redis.call('EXISTS', key('admitted')) == 1 then lines().let_go(ids) end
end

-- The key of a unique job is free again, unless another job has it by now.
local function undo_special(ids)
  undo_run(ids)
  local hashes, owners = {}, {}
  for n = 1, #ids do
    local hash = string.match(ids[n], '^00u(%x+)%-')
    if hash then hashes[#hashes + 1], owners[#owners + 1] = hash, ids[n] .. ' ' end
  end
  if #hashes == 0 then return end
  local held, freed = redis.pcall('HMGET', key('unique'), unpack(hashes)), {}
  for n = 1, held.err and 0 or #hashes do
    if held[n] and string.sub(held[n], 1, #owners[n]) == owners[n] then freed[#freed + 1] = hashes[n] end
  end
  if #freed > 0 then redis.call('HDEL', key('unique'), unpack(freed)) end
end

-- As ``open_endings``, where the jobs that end may be special. One command where no job of the app is.
--   saved: a job of the app may have a checkpoint.
local function open_all_endings()
  local endings = open_endings()
  if redis.call('EXISTS', key('expiring'), key('progress'), key('follow'), key('admitted'), key('unique'),
    key('checkpoints')) > 0 then
    redis.call('ZCARD', key('expiring'))
    for _, name in ipairs({ 'progress', 'follow', 'admitted', 'unique' }) do redis.call('HLEN', key(name)) end
    endings.saved = redis.call('HLEN', key('checkpoints')) > 0
    endings.undo = undo_special
  end
  return endings
end
