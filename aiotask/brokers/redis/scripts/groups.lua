-- KEYS: prefix.  ARGV: group, lanes… Makes the consumer group of each stream that has none (on a full server too).
allow_writes()
for n = 2, #ARGV do redis.pcall('XGROUP', 'CREATE', key(ARGV[n]), ARGV[1], '0', 'MKSTREAM') end
return 1
