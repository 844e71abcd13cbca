-- Health of a ScalingPolicy in Argo CD.
-- Degraded: the policy cannot work as written, its target is missing, or another writer holds the minimum.
-- Suspended: a person paused or pinned it. Fallback and a failed raise are Healthy with a message: the floor is held.
local status = obj.status
if status == nil or status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for the operator to observe this version" }
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function has(type, value)
  return conditions[type] ~= nil and conditions[type].status == value
end

local function health(name, type)
  local condition = conditions[type]
  return { status = name, message = condition.reason .. ": " .. (condition.message or "") }
end

if has("Stalled", "True") then
  return health("Degraded", "Stalled")
end
if has("Ready", "False") then
  return health("Degraded", "Ready")
end
if not has("Ready", "True") then
  return { status = "Progressing", message = "Waiting for the first reconciliation" }
end
if conditions.ScalingActive ~= nil and conditions.ScalingActive.reason == "Off" then
  return health("Healthy", "ScalingActive")
end
if has("Conflict", "True") then
  return health("Degraded", "Conflict")
end
if has("Paused", "True") then
  return health("Suspended", "Paused")
end
if has("Verified", "False") then
  return health("Healthy", "Verified")
end
if has("Fallback", "True") then
  return health("Healthy", "Fallback")
end
if conditions.Ready.reason ~= "TargetObserved" or conditions.ScalingActive == nil then
  return health("Healthy", "Ready")
end
return health("Healthy", "ScalingActive")
