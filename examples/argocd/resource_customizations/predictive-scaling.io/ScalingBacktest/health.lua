-- Health of a ScalingBacktest in Argo CD: Progressing until it ends, as a Job.
local status = obj.status
if status == nil or status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for the operator to observe this version" }
end

for _, condition in ipairs(status.conditions or {}) do
  if condition.status == "True" and condition.type == "Failed" then
    return { status = "Degraded", message = condition.reason .. ": " .. (condition.message or "") }
  end
  if condition.status == "True" and condition.type == "Complete" then
    return { status = "Healthy", message = condition.message or condition.reason }
  end
end
return { status = "Progressing", message = status.message or status.phase or "Waiting for its turn" }
