-- Health of a CustomizationJob and of a ModelDeployment for Argo CD. Their conditions mean the same (kstatus):
-- Stalled or Failed needs somebody, Complete or Ready is done, everything else goes on by itself.
if obj.metadata.deletionTimestamp ~= nil then
  return {status = "Progressing", message = "It is being deleted."}
end
local status = obj.status
if status == nil or status.conditions == nil then
  return {status = "Progressing", message = "The operator has not looked at it yet."}
end
if status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "The operator has not looked at the newest spec yet."}
end

local holds, reasons = {}, {}
for _, condition in ipairs(status.conditions) do
  holds[condition.type] = condition.status == "True"
  reasons[condition.type] = condition.reason
end

local health = "Progressing"
if holds.Failed or holds.Stalled then
  health = "Degraded"
elseif holds.Complete or holds.Ready then
  health = "Healthy"
elseif holds.Suspended or (not holds.Reconciling and (reasons.Ready == "Stopped" or reasons.Admitted == "PlanOnly")) then
  health = "Suspended"
end
return {status = health, message = status.message}
