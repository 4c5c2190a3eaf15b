-- States the wish; the controller carries it out and takes the annotation off. Without a node, which is all that the
-- argocd command and Argo CD before 3.1 can ask for, the group moves to the first candidate.
local to = actionParams ~= nil and actionParams["node"] or ""
if to == "" then
  to = candidates[1]
end
local known = false
for _, candidate in ipairs(candidates) do
  known = known or candidate == to
end
if not known then
  local others = #candidates == 0 and "no other node" or "only " .. table.concat(candidates, " or ")
  error("Cannot move " .. obj.metadata.name .. (to and " to " .. to or "") .. ": " .. others .. " can take it now", 0)
end
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["pointsman.dev/move-to"] = to
return obj
