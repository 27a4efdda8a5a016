local list, seed = {}, 42
for i = 1, 100000 do seed = (seed * 1103515245 + 12345) % 2147483648 list[i] = seed end
table.sort(list)
table.sort(list, function(a, b) return a > b end)
assert(list[1] >= list[2])
