{{/* A Role and its binding; a ClusterRole without a namespace. Expects process, name, namespace, subjects, rules. */}}
{{- define "predictive-scaling.role" }}
{{- $kind := hasKey . "namespace" | ternary "Role" "ClusterRole" }}
{{- range $isBinding := list false true }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}{{ $isBinding | ternary "Binding" "" }}
metadata:
  name: {{ $.name }}
  {{- with $.namespace }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "predictive-scaling.labels" $.process | nindent 4 }}
{{- if $isBinding }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: {{ $kind }}, name: {{ $.name }}}
subjects:
  {{- toYaml $.subjects | nindent 2 }}
{{- else }}
rules:
  {{- $.rules | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* A ClusterRole that Kubernetes adds to the ClusterRoles for users. Expects root, name, to, resources, verbs. */}}
{{- define "predictive-scaling.aggregated" }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ .root.Release.Namespace }}-{{ include "predictive-scaling.fullname" .root }}-{{ .name }}
  labels:
    {{- include "predictive-scaling.labels" (dict "root" .root "name" "users") | nindent 4 }}
    {{- range .to }}
    rbac.authorization.k8s.io/aggregate-to-{{ . }}: "true"
    {{- end }}
rules:
  - apiGroups: [predictive-scaling.io]
    resources: {{ toJson .resources }}
    verbs: {{ toJson .verbs }}
{{- end }}

{{/* The leader election. */}}
{{- define "predictive-scaling.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, update]
{{- end }}

{{/* The Job that stops the operator before the release is uninstalled. */}}
{{- define "predictive-scaling.restoreRules" -}}
- apiGroups: [apps]
  resources: [deployments/scale]
  resourceNames: [{{ include "predictive-scaling.fullname" . }}-operator]
  verbs: [get, patch]
{{- end }}

{{/* The certificate authority of the aggregation layer. */}}
{{- define "predictive-scaling.externalMetricsRules" -}}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [extension-apiserver-authentication]
  verbs: [get]
{{- end }}

{{/* The access control of the HTTP API; a test compares them with config/api-roles.yaml. */}}
{{- define "predictive-scaling.accessReviewRules" -}}
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end }}

{{/* Kinds that are installed while the operator runs, and the path of the replicas of custom resources. */}}
{{- define "predictive-scaling.kindRules" -}}
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [get, list, watch]
{{- end }}

{{/* The rights of the operator in a namespace with policies; a test compares all rules with config/cluster-role.yaml. */}}
{{- define "predictive-scaling.policyRules" -}}
# Policies and events: to read them, and to keep finalizers and annotations of a policy.
- apiGroups: [predictive-scaling.io]
  resources: [scalingpolicies]
  verbs: [get, list, watch, patch]
- apiGroups: [predictive-scaling.io]
  resources: [businessevents]
  verbs: [get, list, watch]
# The record of each decision, of which the newest are kept.
- apiGroups: [predictive-scaling.io]
  resources: [scalingdecisions]
  verbs: [get, list, create, delete]
# Backtests; deleted after ttlSecondsAfterFinished.
- apiGroups: [predictive-scaling.io]
  resources: [scalingbacktests]
  verbs: [get, list, delete]
- apiGroups: [predictive-scaling.io]
  resources: [scalingpolicies/status, businessevents/status, scalingdecisions/status, scalingbacktests/status]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
# Causes of failed raises, roll-backs, and starts that waited for a node.
- apiGroups: [""]
  resources: [pods, events]
  verbs: [list]
# Targets: the minimum of HPAs, and the replicas of workloads without an HPA.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, patch]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, patch]
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale]
  verbs: [patch]
{{- if .Values.rbac.keda }}
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, watch, patch]
{{- end }}
{{- range .Values.rbac.scalableKinds }}
- apiGroups: [{{ .apiGroup }}]
  resources: [{{ .resource }}, {{ .resource }}/scale]
  verbs: [get, patch]
{{- end }}
{{- if .Values.nodeHeadroom.enabled }}
# CapacityBuffers, or Deployments of placeholder pods, which a ResourceQuota may refuse.
- apiGroups: [autoscaling.x-k8s.io]
  resources: [capacitybuffers]
  verbs: [list, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [create, delete]
- apiGroups: [""]
  resources: [resourcequotas]
  verbs: [list]
{{- end }}
{{- end }}
