{{- /* What a release is called: its own name, which ends with the region where it says it. */ -}}
{{- define "homeport.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}

{{- /* What a release's pods are selected by. Not by their region: Helm changes Services before it comes
to the Deployment, and a Service that selects another region has no pods. */ -}}
{{- define "homeport.selector" -}}
app.kubernetes.io/name: homeport
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* A release stays in its region for life (RUNBOOK.md, "What is impossible, by design"). While
templates are rendered, nothing has been changed yet. `helm template` sees no cluster: there the
Deployment's selector, which can't be changed, is what refuses. */ -}}
{{- define "homeport.refuseAnotherRegion" -}}
{{- $found := lookup "apps/v1" "Deployment" .Release.Namespace (include "homeport.name" .) -}}
{{- with dig "spec" "selector" "matchLabels" "homeport/region" "" $found -}}
{{- if ne . $.Values.region -}}
{{- fail (printf "release %s is of region %s and can't become one of %s: install another release for %s (RUNBOOK.md, \"What is impossible, by design\")" $.Release.Name . $.Values.region $.Values.region) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "homeport.labels" -}}
{{ include "homeport.selector" . }}
homeport/region: {{ .Values.region }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "homeport.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- /* As in the Dockerfile: not root, and a root file system that nobody writes to. */ -}}
{{- define "homeport.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}
