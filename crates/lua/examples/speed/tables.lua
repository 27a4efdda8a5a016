local queue, head = {}, 1
for i = 1, 300000 do
  table.insert(queue, {id = i, priority = i % 7, data = {i, i + 1}})
  if i % 3 == 0 then queue[head] = nil head = head + 1 end
end
local sum = 0
for i = head, #queue do local job = queue[i] sum = sum + job.priority + job.data[2] end
local counts = {}
for k, job in pairs(queue) do counts[job.priority] = (counts[job.priority] or 0) + 1 end
assert(sum > 0 and counts[3] > 0)
