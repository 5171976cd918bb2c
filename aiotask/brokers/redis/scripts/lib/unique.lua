-- Unique jobs: of the calls of a task with the same key, which is the job that another one is.
-- Needs: core nodes index due limits history results special

-- What becomes of the unique jobs of a push. One function, which makes the others: most batches have no such job.
-- ``told``: opened endings, for notices. ``at``: now. ``groups``: as of ``put``. ``known``: gets ids, each followed by that of
-- the job that it is. ``jobs``: ids and envelopes. Returns a function that is called with a group of calls and the position of a
-- job; it returns false where the job had no room.
local function open_unique(told, at, groups, known, jobs)
  -- Jobs that this batch has placed, by id: position in ``groups``.
  local placed = {}
  local has_nodes = redis.call('EXISTS', key('nodes')) == 1

  -- ``unique.verdict`` is the same.
  local function verdict(policy, on_conflict, place)
    local is_known = place ~= 'none'
    if policy == 'pending' then is_known = place == 'pending' or place == 'node'
    elseif policy == 'unfinished' then is_known = is_known and place ~= 'gone' and place ~= 'ended'
    elseif policy == 'kept' then is_known = is_known and place ~= 'gone' end
    if not is_known then return 'new' end
    if on_conflict == 'error' then return 'refused' end
    return on_conflict == 'replace' and place == 'pending' and 'replace' or 'existing'
  end

  -- Where a job is: its place as ``unique.verdict`` has it.
  local function place_of_job(id)
    if placed[id] then return 'pending' end
    local ok, place = pcall(place_in_index, id)
    if ok and place and is_there(id, place) then
      if has_nodes and node_of(id) then
        local lane, entry = place_of(place)
        local claims = lane and lane ~= 'due' and redis.pcall('XPENDING', key(lane), GROUP, entry, entry, 1)
        return claims and not claims.err and #claims > 0 and 'running' or 'node'
      end
      local lane, entry = place_of(place)
      -- What a later release, or a limit, holds back waits.
      if not lane then return 'node' end
      if lane == 'due' then return 'pending' end
      local claims = redis.pcall('XPENDING', key(lane), GROUP, entry, entry, 1)
      return type(claims) == 'table' and not claims.err and #claims > 0 and 'running' or 'pending'
    end
    if has_nodes and waiting_node(id) then return 'node' end
    return redis.call('EXISTS', key('r:' .. id)) == 1 and 'ended' or 'gone'
  end

  -- Takes a job that waits out of its place. Returns when it is due (nil: now), its kind of due, its envelope,
  -- and line and number if it stood in one.
  local function take_out(id)
    local at_index = place_in_index(id)
    local lane, entry = place_of(at_index)
    if lane == 'due' then
      local _, _, sealed = unpack_held(redis.call('HGET', key('held'), id))
      local due = tonumber(redis.call('ZSCORE', key('due'), id))
      redis.call('ZREM', key('due'), id)
      redis.call('HDEL', key('held'), id)
      return due > at and due or nil, entry, sealed
    end
    if string.byte(lane) == 108 then return nil, nil, lines().take_out(lane, id) or '', at_index end
    local _, sealed = read(lane, entry)
    redis.call('XDEL', key(lane), entry)
    return nil, nil, sealed or ''
  end

  local function point(id, target, rule, due)
    if rule.ttl == 0 or not rule.ttl or id == target then return end
    local ms = 1000 * (rule.ttl + math.max(0, (due or at) - at))
    redis.call('SET', key('same:' .. id), target, 'PX', string.format('%.0f', math.max(1, ms)))
  end

  -- The job that has the key: id, the first of the jobs that it has replaced, and when that was accepted.
  local function holder_of(rule, hash)
    local held
    if rule.policy == 'period' then held = redis.pcall('GET', key('once:' .. hash))
    else held = redis.pcall('HGET', key('unique'), hash) end
    if type(held) ~= 'string' then return nil end
    local id, root, since = string.match(held, '^(%S+) (%S+) ([%d.]+)$')
    return id, root, tonumber(since)
  end

  local function give(rule, hash, id, root, since, is_new)
    local held = id .. ' ' .. root .. ' ' .. string.format('%.3f', since)
    if rule.policy ~= 'period' then redis.call('HSET', key('unique'), hash, held)
    elseif is_new then redis.call('SET', key('once:' .. hash), held, 'PX', string.format('%.0f', math.max(1, 1000 * rule.seconds)))
    else redis.call('SET', key('once:' .. hash), held, 'KEEPTTL') end
  end

  -- A job of this batch gives way to a later one of it.
  local function give_way(id)
    local group = groups[placed[id]]
    local sealed = jobs[group[2] + 1]
    placed[id], group[3] = nil, group[2] - 2
    return group[5], group[6], sealed
  end

  -- Ends all that there is of a job which another one replaces, and tells those who wait for it to ask again.
  local function replace(id, is_same_id)
    local is_placed = placed[id] ~= nil
    local due, kind, sealed, place
    if is_placed then due, kind, sealed = give_way(id) else due, kind, sealed, place = take_out(id) end
    local address = address_of(sealed)
    if is_same_id then
      local watchers = redis.call('HGET', key('watch'), id)
      if address ~= '' and not string.find(',' .. (watchers or '') .. ',', ',' .. address .. ',', 1, true) then
        redis.call('HSET', key('watch'), id, watchers and watchers .. ',' .. address or address)
      end
    else
      notify(told, address, id, nil)
      notify_watchers(told, id, nil)
    end
    if not is_placed then ended({ id }, { marks = true, begun = true, watch = not is_same_id, undo = undo_special }) end
    add_up('replaced', 1)
    return due, kind, place
  end

  local function say(id, other, rule)
    point(id, other, rule)
    known[#known + 1], known[#known + 2] = id, other
    return true
  end

  -- Whether the sender repeats a send that the broker has accepted. The job may have been found to be another one then.
  local function is_repeat(id, rule)
    local place = place_of_job(id)
    if place ~= 'gone' then return true end
    local other = redis.call('GET', key('same:' .. id))
    return other and say(id, other, rule)
  end

  return function(call, job)
    local id, rule = jobs[job], call.rule
    local hash = string.match(id, '^00u(%x+)%-')
    if hash and call.custom and is_repeat(id, rule) then return true end
    rule.on_conflict, rule.ttl = rule.on_conflict or 'existing', rule.ttl or 0
    local holder, root, since = id, id, at
    if hash then holder, root, since = holder_of(rule, hash) end
    local place = holder and place_of_job(holder) or 'none'
    local found = verdict(rule.policy, rule.on_conflict, place)
    if found == 'refused' then return say(id, '!' .. holder, rule) end
    if found == 'existing' then return say(id, holder, rule) end
    if found == 'new' then root, since = id, at end

    local lane, due, kind = call.lane, call.due, call.kind
    local old_due, old_kind, old_place, is_in_due
    if found == 'replace' then
      -- A place in a queue that becomes free has room for what takes it.
      is_in_due = placed[holder] and groups[placed[holder]][5] or string.sub(place_in_index(holder) or '', 1, 4) == 'due|'
      if not due and is_in_due and call.says_when and call.room <= 0 then return false end
      old_due, old_kind, old_place = replace(holder, not hash)
      if not is_in_due then call.room = call.room + 1 end
      if not call.says_when then due, kind = old_due, old_kind == 'R' and 'S' or old_kind end
    elseif not due and call.room <= 0 then return false end
    local last = rule.max_wait and rule.max_wait > 0 and since + rule.max_wait
    if due and last and due > last then due = last > at and last or nil end
    -- One that has waited as long as it may does not go to the end of its lane or line with each call: it is
    -- claimed first, and has its old place in the line.
    if not due and last and found == 'replace' and not is_in_due then
      if string.byte(lane) ~= 108 then lane = 'q:' .. call.queue .. ':r'
      elseif old_place and string.match(old_place, '^.*|') == lane then lane = old_place end
    end
    if not due then call.room = call.room - 1 end
    groups[#groups + 1] = { lane, job, job, '', due, due and kind or nil, call.expires }
    placed[id] = #groups
    if hash then
      if found == 'replace' then
        point(holder, root, rule, due)
        point(root, id, rule, due)
      end
      give(rule, hash, id, root, since, found == 'new')
    end
    return true
  end
end
