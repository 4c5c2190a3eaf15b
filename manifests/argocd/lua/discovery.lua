-- Which actions a FailoverGroup offers. With one candidate there is nothing to ask for.
local move = { iconClass = "fa fa-fw fa-random", disabled = #candidates == 0 }
if #candidates == 0 then
  move.displayName = "Move: no other node can take it"
else
  move.displayName = "Move to " .. table.concat(candidates, " or ")
end
if #candidates > 1 then
  move.params = { { name = "node" } }
end
return { move = move }
