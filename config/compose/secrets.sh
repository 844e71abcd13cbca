#!/bin/bash
# Writes the secret files of docker-compose.yml to a folder; files that exist stay. Usage: secrets.sh [FOLDER]
# The containers run as other users, so the files are readable for all. Only the owner can enter the folder.
set -euo pipefail
folder=${1:-secrets}
mkdir -p -m 700 "$folder"
umask 022

password() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }

write() { # NAME: standard input becomes the file, unless it exists
  if [ -e "$folder/$1" ]; then
    echo "$folder/$1 exists" >&2
  else
    cat > "$folder/$1"
    echo "wrote $folder/$1" >&2
  fi
}

write postgres_password < <(password)
write grafana_password < <(password)
write DATABASE_URL \
  <<< "postgresql://predictive_scaling:$(< "$folder/postgres_password")@postgres:5432/predictive_scaling"

cluster=${KUBECONFIG:-$HOME/.kube/config}
if [ -f "$cluster" ]; then
  write kubeconfig < "$cluster"
else
  write kubeconfig <<< '{apiVersion: v1, kind: Config}'
  echo "found no kubeconfig; the operator needs one with the rights of config/cluster-role.yaml in $folder/kubeconfig" >&2
fi
