local n = 0
for i = 1, 150000 do
  local key = "bull:" .. i .. ":state"
  n = n + #key + #string.format("%d:%s", i, key) + #key:sub(3, 8) + (key:byte(4) or 0)
end
assert(n > 0)
