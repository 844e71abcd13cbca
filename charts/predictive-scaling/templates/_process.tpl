{{/*
All objects of a process that runs permanently. Expects what the pod template expects, with a port; service, the suffix
of its Service's name: no variable that Kubernetes derives from that name is a setting; and optionally alone, if two pods
must not run at the same time.
*/}}
{{- define "predictive-scaling.process" -}}
{{- include "predictive-scaling.check" .root -}}
{{- $values := get .root.Values .name -}}
{{- $fullname := printf "%s-%s" (include "predictive-scaling.fullname" .root) .name -}}
{{- $replicas := $values.replicas | default 1 -}}
{{- if $values.serviceAccount.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "predictive-scaling.serviceAccountName" . | quote }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "predictive-scaling.labels" . | nindent 4 }}
  {{- with $values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $fullname }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "predictive-scaling.labels" . | nindent 4 }}
spec:
  replicas: {{ $replicas }}
  revisionHistoryLimit: 3
  strategy:
    {{- if .alone }}
    type: Recreate
    {{- else }}
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
    {{- end }}
  selector:
    matchLabels:
      {{- include "predictive-scaling.selectorLabels" . | nindent 6 }}
  template:
    {{- include "predictive-scaling.podTemplate" . | nindent 4 }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "predictive-scaling.fullname" .root }}-{{ .service }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "predictive-scaling.labels" . | nindent 4 }}
spec:
  selector:
    {{- include "predictive-scaling.selectorLabels" . | nindent 4 }}
  ports:
    - {name: http, port: {{ .port }}, targetPort: http}
{{- if and (gt (int $replicas) 1) $values.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $fullname }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "predictive-scaling.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ $values.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "predictive-scaling.selectorLabels" . | nindent 6 }}
{{- end }}
{{- if .root.Values.networkPolicy.enabled }}
---
{{ include "predictive-scaling.networkPolicy" . }}
{{- end }}
{{- with .root.Values.serviceMonitor }}
{{- if .enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ $fullname }}
  namespace: {{ $.root.Release.Namespace | quote }}
  labels:
    {{- include "predictive-scaling.labels" $ | nindent 4 }}
    {{- with .additionalLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "predictive-scaling.selectorLabels" $ | nindent 6 }}
  endpoints:
    - port: http
      interval: {{ .interval }}
      {{- with $.tls }}
      scheme: https
      tlsConfig:
        serverName: {{ include "predictive-scaling.fullname" $.root }}-{{ $.service }}.{{ $.root.Release.Namespace }}.svc
        ca: {secret: {name: {{ . | quote }}, key: ca.crt}}
      {{- end }}
      relabelings:
        # The alerts select by these names, independent of the release's name.
        - {targetLabel: job, replacement: predictive-scaling-{{ $.name }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* The connections of a process. Expects root, name, secrets, and optionally port, token, reviews and sources. */}}
{{- define "predictive-scaling.networkPolicy" -}}
{{- $policy := .root.Values.networkPolicy -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "predictive-scaling.fullname" .root }}-{{ .name }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "predictive-scaling.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "predictive-scaling.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- if .port }}
  ingress:
    - ports:
        - {protocol: TCP, port: {{ .port }}}
      {{- with $policy.ingressFrom }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- if and .token .root.Values.externalMetrics.enabled }}
    # The API server, whose address a NetworkPolicy cannot name.
    - ports:
        - {protocol: TCP, port: 8443}
    {{- end }}
    {{- if .remoteWrite }}
    - ports:
        - {protocol: TCP, port: 8004}
      {{- with $policy.ingressFrom }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
  {{- else }}
  ingress: []
  {{- end }}
  egress:
    - ports:
        - {protocol: UDP, port: 53}
        - {protocol: TCP, port: 53}
    - ports:
        {{- range .secrets }}
        - {protocol: TCP, port: {{ get $policy (printf "%sPort" .) }}}
        {{- end }}
        {{- if .sources }}
        {{- range $policy.sourcePorts }}
        - {protocol: TCP, port: {{ . }}}
        {{- end }}
        {{- end }}
        {{- if or .token .reviews }}
        {{- range $policy.apiServerPorts }}
        - {protocol: TCP, port: {{ . }}}
        {{- end }}
        {{- end }}
    {{- with $policy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
