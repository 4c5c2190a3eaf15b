-- The nodes that can take the group now, in the order of spec.nodes. None while it is not to run, or a move is under
-- way: the controller would refuse the wish, or keep it until that move is over.
local candidates = {}
local assignment = obj.status and obj.status.assignment
local wanted = obj.spec.running ~= false and obj.metadata.deletionTimestamp == nil
if wanted and assignment ~= nil and assignment.state == "Active" then
  for _, node in ipairs(obj.status.nodes or {}) do
    if node.fit and node.name ~= assignment.node then
      table.insert(candidates, node.name)
    end
  end
end
