#!/bin/sh
# Looks, before the switch, whether volmover can take over every restic mover of the cluster: the switch is for all
# of them at once. Changes nothing, prints no secret.
#
# Ends with 0 when nothing speaks against it, 1 when something would stop working, 2 when the cluster cannot be read.
set -eu

bad=0
told() {
  case $1 in !!) bad=1 ;; esac
  echo "$*"
}
# A kubectl field; nothing where it is not there or may not be read.
get() { kubectl get "$@" 2>/dev/null || true; }

version=
minor=
image=$(get deployment -A -l app.kubernetes.io/name=volsync \
  -o 'jsonpath={.items[0].spec.template.spec.containers[?(@.name=="manager")].image}')
version=$(printf '%s' "$image" | sed -n 's/.*:v\{0,1\}\([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p')
if [ -z "$version" ]; then
  told '??' "the version of VolSync is not known (${image:-no deployment with the label app.kubernetes.io/name=volsync})"
else
  told ok "VolSync $version"
  minor=${version#*.}
  [ "${version%%.*}" = 0 ] || minor=999
  if [ "$minor" -lt 14 ]; then
    told '??' "before 0.14 no variable of volmover's own reaches the mover: moverVolumes do not exist"
  fi
fi

# kind, namespace, name, secret, NFS servers of moverVolumes
look_at() {
  url=$(get secret "$4" -n "$2" -o 'jsonpath={.data.RESTIC_REPOSITORY}' | base64 -d 2>/dev/null || true)
  # The scheme alone: what follows may hold a password.
  case $url in
    '') told '??' "$1 $2/$3: secret $4 has no RESTIC_REPOSITORY that can be read" ;;
    s3:*) told ok "$1 $2/$3: s3" ;;
    rest:* | b2:* | azure:* | gs:* | swift:* | sftp:* | rclone:*) told '!!' "$1 $2/$3: ${url%%:*} is not served yet" ;;
    /* | local:*) told ok "$1 $2/$3: a path" ;;
    *) told '??' "$1 $2/$3: neither s3 nor an absolute path" ;;
  esac
  [ -n "$5" ] || return 0
  if [ -z "$minor" ]; then
    told '??' "$1 $2/$3: NFS in moverVolumes needs VolSync 0.15"
  elif [ "$minor" -lt 15 ]; then
    told '!!' "$1 $2/$3: NFS in moverVolumes needs VolSync 0.15"
  fi
}

for kind in replicationsource replicationdestination; do
  if ! lines=$(kubectl get "$kind" -A -o 'jsonpath={range .items[*]}{.metadata.namespace}{"|"}{.metadata.name}{"|"}{.spec.restic.repository}{"|"}{.spec.restic.moverVolumes[*].volumeSource.nfs.server}{"\n"}{end}'); then
    echo "preflight: cannot list every $kind: nothing is known of them" >&2
    exit 2
  fi
  while IFS='|' read -r namespace name secret nfs; do
    # Those of other movers have no restic section.
    [ -z "$secret" ] || look_at "$kind" "$namespace" "$name" "$secret" "$nfs"
  done <<EOF
$lines
EOF
done

if [ "$bad" = 1 ]; then
  echo "Do not switch yet: what is marked !! would stop working"
else
  echo "Nothing speaks against the switch; look at what is marked ??"
fi
exit "$bad"
