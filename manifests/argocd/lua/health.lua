-- The health of every kind of pointsman, from its conditions alone. It says what kstatus says, by which Flux and Helm
-- judge: Healthy is Current, Progressing is InProgress, Degraded is Failed. No string library: Argo CD opens none.
local health = { status = "Progressing", message = "the controller has not looked at it yet" }
local status = obj.status or {}
if status.observedGeneration ~= obj.metadata.generation then
  return health
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local function says(name, value)
  return conditions[name] ~= nil and conditions[name].status == value
end
if conditions.Ready == nil then
  return health
end

health.message = conditions.Ready.message
if says("Stalled", "True") then
  health.status = "Degraded"
  health.message = conditions.Stalled.message
elseif says("Reconciling", "True") then
  health.message = conditions.Reconciling.message
elseif says("Ready", "True") then
  health.status = "Healthy"
  -- What does not touch the service now, but may when the next node fails.
  for _, warning in ipairs({
    { "Degraded", "True" },
    { "FencingReady", "False" },
    { "SourceDestCheckOff", "False" },
    { "MixedChannels", "True" },
  }) do
    if says(warning[1], warning[2]) then
      health.message = health.message .. "; " .. conditions[warning[1]].message
    end
  end
elseif says("Ready", "False") then
  health.status = "Degraded"
end
return health
