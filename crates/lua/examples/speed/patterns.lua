local n = 0
for i = 1, 20000 do
  local line = "user" .. i .. "=alice; age=" .. i % 90 .. "; mail=alice@example.org; tags=a,b,c"
  for key, value in line:gmatch("(%w+)=([^;]*)") do n = n + #key + #value end
  n = n + #line:gsub("%s+", ""):gsub("%d", "#")
  if line:find("mail=(%w+)@") then n = n + 1 end
end
assert(n > 0)
