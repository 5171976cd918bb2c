-- KEYS: prefix.  ARGV: how many milliseconds old the counts may be.
-- Returns the server's time; how many workers are live; how many jobs are due later, and of how many of them the queue was looked
-- up; how many are parked, and claimed in such lanes; how many dead letters; the fields of ``counts``; and a list per queue: name,
-- how many jobs wait, are claimed, have been found among those due, consumers, and the time in ms at which the oldest one that
-- waits came into its lane ('' where none waits in a lane; those in lines are counted alone); at last the ids of pauses.
-- Needs: stats
return counts_of_all(tonumber(ARGV[1]))
