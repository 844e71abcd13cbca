-- Health of a BusinessEvent in Argo CD. Degraded: it can never work as written, and raises no floor.
local status = obj.status
if status == nil or status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for the operator to observe this version" }
end

local ready = nil
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Stalled" and condition.status == "True" then
    return { status = "Degraded", message = condition.reason .. ": " .. (condition.message or "") }
  end
  if condition.type == "Ready" then
    ready = condition
  end
end
if ready == nil or ready.status == "Unknown" then
  return { status = "Progressing", message = "Waiting for the first reconciliation" }
end
if ready.status == "False" then
  return { status = "Degraded", message = ready.reason .. ": " .. (ready.message or "") }
end

local message = status.phase or ready.reason
if status.nextStart ~= nil then
  message = message .. ", next start " .. status.nextStart
end
return { status = "Healthy", message = message }
