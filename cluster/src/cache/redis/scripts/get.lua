-- ARGV: 3 id. Returns what there is of the value, and blobs.
return { find(ARGV[3]), blobs }
