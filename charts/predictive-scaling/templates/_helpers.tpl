{{/* The prefix of all names; short enough for the longest suffix. */}}
{{- define "predictive-scaling.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the pods of a process; never the version. Expects root and name. */}}
{{- define "predictive-scaling.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{/* Labels of all objects. Expects root and name, the component. */}}
{{- define "predictive-scaling.labels" -}}
{{ include "predictive-scaling.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: predictive-scaling
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "predictive-scaling.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The ServiceAccount of a process. Expects root and name. */}}
{{- define "predictive-scaling.serviceAccountName" -}}
{{- $account := (get .root.Values .name).serviceAccount -}}
{{- if $account.create -}}
{{- $account.name | default (printf "%s-%s" (include "predictive-scaling.fullname" .root) .name) -}}
{{- else -}}
{{- $account.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The claim of the models; empty without one. */}}
{{- define "predictive-scaling.modelsClaim" -}}
{{- if .Values.models.existingClaim -}}
{{- .Values.models.existingClaim -}}
{{- else if .Values.models.persistence.enabled -}}
{{- include "predictive-scaling.fullname" . }}-models
{{- end -}}
{{- end -}}

{{/* The Secret of `database`, `redis` or `kafka`; empty without one. Expects root and name. */}}
{{- define "predictive-scaling.secretName" -}}
{{- $demo := and .root.Values.demo.enabled (ne .name "kafka") | ternary "demo" "" -}}
{{- (get .root.Values .name).existingSecret | default (and $demo (printf "%s-demo" (include "predictive-scaling.fullname" .root))) -}}
{{- end -}}

{{/* The brokers; empty without any. */}}
{{- define "predictive-scaling.brokers" -}}
{{- $demo := printf "%s-demo-kafka:9092" (include "predictive-scaling.fullname" .) -}}
{{- .Values.kafka.bootstrapServers | default (.Values.demo.enabled | ternary $demo "") -}}
{{- end -}}

{{/* The settings as environment variables, the same for all processes. */}}
{{- define "predictive-scaling.settings" -}}
{{- range $name, $value := .Values.settings }}
- name: PREDICTIVE_SCALING_{{ $name | snakecase | upper }}
  value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
- name: PREDICTIVE_SCALING_SECRETS_DIR
  value: /run/secrets/predictive-scaling
- name: PREDICTIVE_SCALING_NAMESPACES
  value: {{ toJson .Values.namespaces | quote }}
- name: PREDICTIVE_SCALING_LEASE_NAME
  value: {{ include "predictive-scaling.fullname" . | quote }}
- name: PREDICTIVE_SCALING_TRAIN_FROM_OPERATOR
  value: {{ not .Values.trainer.enabled | quote }}
- name: PREDICTIVE_SCALING_PLACEHOLDER_PRIORITY_CLASS
  value: {{ .Values.nodeHeadroom.priorityClassName | quote }}
{{- with include "predictive-scaling.brokers" . }}
- name: KAFKA_BOOTSTRAP_SERVERS
  value: {{ . | quote }}
{{- end }}
{{- if .Values.externalMetrics.enabled }}
- name: PREDICTIVE_SCALING_EXTERNAL_METRICS
  value: "true"
- name: PREDICTIVE_SCALING_EXTERNAL_METRICS_CERTIFICATE
  value: /run/external-metrics/tls.crt
- name: PREDICTIVE_SCALING_EXTERNAL_METRICS_KEY
  value: /run/external-metrics/tls.key
{{- end }}
{{- if .Values.ingest.remoteWrite.enabled }}
- name: PREDICTIVE_SCALING_REMOTE_WRITE
  value: "true"
- name: PREDICTIVE_SCALING_REMOTE_WRITE_TOKEN_FILE
  value: /run/remote-write/token
{{- if .Values.ingest.remoteWrite.tlsSecret }}
- name: PREDICTIVE_SCALING_REMOTE_WRITE_CERTIFICATE
  value: /run/remote-write-tls/tls.crt
- name: PREDICTIVE_SCALING_REMOTE_WRITE_KEY
  value: /run/remote-write-tls/tls.key
{{- end }}
{{- end }}
{{- if .Values.api.tlsSecret }}
- name: PREDICTIVE_SCALING_API_CERTIFICATE
  value: /run/tls/tls.crt
- name: PREDICTIVE_SCALING_API_KEY
  value: /run/tls/tls.key
{{- end }}
{{- end -}}

{{/* The keys of Secrets as files that are named like the settings. Expects root and secrets, a list of their values. */}}
{{- define "predictive-scaling.secrets" -}}
{{- $variables := dict "database" "DATABASE_URL" "redis" "REDIS_URL" "kafka" "PREDICTIVE_SCALING_KAFKA_OPTIONS" -}}
{{- range $name := .secrets }}
{{- with include "predictive-scaling.secretName" (dict "root" $.root "name" $name) }}
- secret:
    name: {{ . | quote }}
    items:
      - key: {{ (get $.root.Values $name).key | quote }}
        path: {{ get $variables $name }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Refuses values that contradict each other; each message names the value and the remedy. */}}
{{- define "predictive-scaling.check" -}}
{{- if not (include "predictive-scaling.secretName" (dict "root" . "name" "database")) -}}
{{- fail "database.existingSecret is required: the name of a Secret whose key DATABASE_URL holds the URL of the PostgreSQL database; for a trial without data of your own set demo.enabled" -}}
{{- end -}}
{{- if and .Values.ingest.enabled (not (or (include "predictive-scaling.brokers" .) .Values.sources .Values.ingest.remoteWrite.enabled)) -}}
{{- fail "kafka.bootstrapServers is required for ingest: set it to HOST:PORT, or set sources (such as a Prometheus server), ingest.remoteWrite.enabled, or ingest.enabled to false" -}}
{{- end -}}
{{- if and .Values.ingest.remoteWrite.enabled (not .Values.ingest.remoteWrite.existingSecret) -}}
{{- fail "ingest.remoteWrite.existingSecret is required for ingest.remoteWrite.enabled: the name of a Secret with the bearer token of the senders" -}}
{{- end -}}
{{- if and .Values.trainer.enabled (not (include "predictive-scaling.modelsClaim" .)) -}}
{{- fail "trainer.enabled needs a claim that operator and trainer share: set models.existingClaim or models.persistence.enabled" -}}
{{- end -}}
{{- if and .Values.externalMetrics.enabled (not .Values.externalMetrics.certificateSecret) -}}
{{- fail "externalMetrics.certificateSecret is required for externalMetrics.enabled: the name of a Secret of type kubernetes.io/tls" -}}
{{- end -}}
{{- end -}}
