-- Health of a ScalingDecision in Argo CD, which shows it in the tree below its ScalingPolicy. It is not in Git, and
-- does not count for the health of the Application.
local status = obj.status
if status == nil or status.phase == nil then
  return { status = "Progressing", message = "Waiting for the operator" }
end

local healths = {
  Pending = "Progressing",
  Executing = "Progressing",
  Verifying = "Progressing",
  Succeeded = "Healthy",
  Recommended = "Healthy",
  Superseded = "Healthy",
  Cancelled = "Healthy",
  Failed = "Degraded",
  RolledBack = "Degraded",
}
local message = status.phase
if status.message ~= nil and status.message ~= "" then
  message = message .. ": " .. status.message
end
return { status = healths[status.phase] or "Unknown", message = message }
