#!/bin/sh
# Looks, before the switch, whether volmover can take over every restic mover of the cluster: the switch is for all
# of them at once. Changes nothing, prints no secret, and ends with 1 when something would stop working.
set -eu

bad=0
# A kubectl field; nothing where it is not there.
get() { kubectl get "$@" 2>/dev/null || true; }

image=$(get deployment -A -l app.kubernetes.io/name=volsync \
  -o 'jsonpath={.items[0].spec.template.spec.containers[?(@.name=="manager")].image}')
version=$(printf '%s' "$image" | sed -n 's/.*:v\{0,1\}\([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p')
minor=${version#*.}
if [ -z "$version" ]; then
  echo "?? the version of VolSync is not known (${image:-no deployment with the label app.kubernetes.io/name=volsync})"
  minor=0
else
  echo "VolSync $version"
fi
if [ -n "$version" ] && [ "${version%%.*}" = 0 ] && [ "$minor" -lt 14 ]; then
  echo "?? before 0.14 no variable of volmover's own reaches the mover: moverVolumes do not exist"
fi

kinds='replicationsource replicationdestination'
for kind in $kinds; do
  kubectl get "$kind" -A -o 'jsonpath={range .items[*]}{.metadata.namespace}{"|"}{.metadata.name}{"|"}{.spec.restic.repository}{"|"}{.spec.restic.moverVolumes[*].volumeSource.nfs.server}{"\n"}{end}' |
    while IFS='|' read -r namespace name secret nfs; do
      [ -n "$secret" ] || continue
      url=$(get secret "$secret" -n "$namespace" -o 'jsonpath={.data.RESTIC_REPOSITORY}' | base64 -d 2>/dev/null || true)
      # The scheme alone: what follows may hold a password.
      case $url in
        '') echo "?? $kind $namespace/$name: secret $secret has no RESTIC_REPOSITORY that can be read" ;;
        s3:*) echo "ok $kind $namespace/$name: s3" ;;
        rest:* | b2:* | azure:* | gs:* | swift:* | sftp:* | rclone:*)
          echo "!! $kind $namespace/$name: ${url%%:*} is not served yet"
          ;;
        /* | local:*) echo "ok $kind $namespace/$name: a path" ;;
        *) echo "?? $kind $namespace/$name: neither s3 nor an absolute path" ;;
      esac
      if [ -n "$nfs" ] && [ "$minor" -lt 15 ]; then
        echo "!! $kind $namespace/$name: NFS in moverVolumes needs VolSync 0.15"
      fi
    done
done >"${TMPDIR:-/tmp}/preflight.$$" || { rm -f "${TMPDIR:-/tmp}/preflight.$$"; echo "!! cannot list" >&2; exit 1; }
sort -u "${TMPDIR:-/tmp}/preflight.$$"
grep -q '^!!' "${TMPDIR:-/tmp}/preflight.$$" && bad=1
rm -f "${TMPDIR:-/tmp}/preflight.$$"
if [ "$bad" = 1 ]; then
  echo "Do not switch yet: what is marked !! would stop working"
else
  echo "Nothing speaks against the switch; look at what is marked ??"
fi
exit "$bad"
