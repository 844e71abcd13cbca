{{/*
The pod template of a process. Expects root; name, the component; args; secrets, the values with its Secrets; and
optionally port, tls (the Secret with the certificate of that port), models (it reads models), token (it sends requests to the API server), reviews (it only asks the API
server who a caller is and what they may do), remoteWrite (it receives remote write), sources (it
reads pull sources), account (a ServiceAccount other than its own) and restartPolicy.
*/}}
{{- define "predictive-scaling.podTemplate" -}}
{{- $values := .root.Values -}}
{{- $options := mergeOverwrite (deepCopy $values.pods) (deepCopy (get $values .name)) -}}
metadata:
  labels:
    {{- include "predictive-scaling.labels" . | nindent 4 }}
    {{- with $options.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if or $options.podAnnotations .sources }}
  annotations:
    {{- with $options.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with .sources }}
    # The file is read at the start.
    checksum/sources: {{ toJson . | sha256sum }}
    {{- end }}
  {{- end }}
spec:
  {{- if .account }}
  serviceAccountName: {{ .account | quote }}
  {{- else if hasKey $options "serviceAccount" }}
  serviceAccountName: {{ include "predictive-scaling.serviceAccountName" . | quote }}
  {{- end }}
  automountServiceAccountToken: {{ or .token .reviews | default false }}
  # Without it a Service named like a setting would set that setting.
  enableServiceLinks: false
  terminationGracePeriodSeconds: 30
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $options.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with $options.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .name }}
      image: {{ include "predictive-scaling.image" .root | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args:
        {{- toYaml .args | nindent 8 }}
      env:
        {{- include "predictive-scaling.settings" .root | trim | nindent 8 }}
        {{- if .sources }}
        - name: PREDICTIVE_SCALING_SOURCES
          value: /run/sources/sources.yaml
        {{- end }}
        {{- with $options.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $options.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if .port }}
      ports:
        - name: http
          containerPort: {{ .port }}
        {{- if and .token $values.externalMetrics.enabled }}
        - name: metrics-https
          containerPort: 8443
        {{- end }}
        {{- if .remoteWrite }}
        - name: remote-write
          containerPort: 8004
        {{- end }}
      livenessProbe:
        httpGet: {path: /health/live, port: http{{ with .tls }}, scheme: HTTPS{{ end }}}
        {{- toYaml $options.livenessProbe | nindent 8 }}
      readinessProbe:
        httpGet: {path: /health/ready, port: http{{ with .tls }}, scheme: HTTPS{{ end }}}
        {{- toYaml $options.readinessProbe | nindent 8 }}
      {{- end }}
      {{- with $options.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $options.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - {name: secrets, mountPath: /run/secrets/predictive-scaling, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        {{- if .tls }}
        - {name: tls, mountPath: /run/tls, readOnly: true}
        {{- end }}
        {{- if .models }}
        - {name: models, mountPath: /app/models}
        {{- end }}
        {{- if and .token $values.externalMetrics.enabled }}
        - {name: external-metrics, mountPath: /run/external-metrics, readOnly: true}
        {{- end }}
        {{- if .remoteWrite }}
        - {name: remote-write, mountPath: /run/remote-write, readOnly: true}
        {{- if $values.ingest.remoteWrite.tlsSecret }}
        - {name: remote-write-tls, mountPath: /run/remote-write-tls, readOnly: true}
        {{- end }}
        {{- end }}
        {{- if .sources }}
        - {name: sources, mountPath: /run/sources, readOnly: true}
        {{- range $values.sourceSecrets }}
        - {name: {{ printf "source-%s" . | sha256sum | trunc 20 | printf "source-%s" }}, mountPath: {{ printf "/run/source-secrets/%s" . | quote }}, readOnly: true}
        {{- end }}
        {{- end }}
        {{- with $options.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: secrets
      projected:
        sources:
          {{- include "predictive-scaling.secrets" . | trim | nindent 10 }}
    - name: tmp
      emptyDir: {}
    {{- with .tls }}
    - name: tls
      secret: {secretName: {{ . | quote }}}
    {{- end }}
    {{- if .models }}
    - name: models
      {{- with include "predictive-scaling.modelsClaim" .root }}
      persistentVolumeClaim: {claimName: {{ . | quote }}}
      {{- else }}
      emptyDir: {}
      {{- end }}
    {{- end }}
    {{- if and .token $values.externalMetrics.enabled }}
    - name: external-metrics
      secret: {secretName: {{ $values.externalMetrics.certificateSecret | quote }}}
    {{- end }}
    {{- if .remoteWrite }}
    - name: remote-write
      secret:
        secretName: {{ $values.ingest.remoteWrite.existingSecret | quote }}
        items: [{key: {{ $values.ingest.remoteWrite.key | quote }}, path: token}]
    {{- with $values.ingest.remoteWrite.tlsSecret }}
    - name: remote-write-tls
      secret: {secretName: {{ . | quote }}}
    {{- end }}
    {{- end }}
    {{- if .sources }}
    - name: sources
      configMap: {name: {{ include "predictive-scaling.fullname" .root }}-ingest-sources}
    {{- range $values.sourceSecrets }}
    # The name of a Secret may be longer than that of a volume.
    - name: {{ printf "source-%s" . | sha256sum | trunc 20 | printf "source-%s" }}
      secret: {secretName: {{ . | quote }}}
    {{- end }}
    {{- end }}
    {{- with $options.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $options.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $options.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $options.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $options.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml $options.topologySpreadConstraints | nindent 4 }}
  {{- else if gt (int $options.replicas) 1 }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "predictive-scaling.selectorLabels" . | nindent 10 }}
  {{- end }}
{{- end -}}
